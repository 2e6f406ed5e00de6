'use strict';
// Spans: what two answers make different of the same text. Offsets are of UTF-16, as those of strings are here.

/** What `other` says of each entity of `entities`: null if the same, else its overlapping entities, maybe none. */
function compared(entities, other) {
  let from = 0; // both are in the order of the text and overlap nothing of their own
  return entities.map((entity) => {
    while (from < other.length && other[from].end <= entity.start) from += 1;
    const found = [];
    for (let place = from; place < other.length && other[place].start < entity.end; place += 1) found.push(other[place]);
    return found.length === 1 && alike(found[0], entity) ? null : found;
  });
}

function alike(one, two) {
  return one.start === two.start && one.end === two.end && one.label === two.label;
}

/** How many places of the text two answers see differently. */
function differences(first, second) {
  const alone = compared(second, first).filter((found) => found !== null && found.length === 0).length;
  return compared(first, second).filter((found) => found !== null).length + alone;
}

/** What the other model makes of an entity, in words. */
function difference(entity, found, name) {
  if (found.length === 0) return `not found by ${name}`;
  return `${name}: ${found.map((one) => (one.text === entity.text ? one.label : `“${one.text}” ${one.label}`)).join(', ')}`;
}

/** Entities by label, the labels of the models first, in their order. */
function counted(entities, labels) {
  const counts = new Map(labels.map((label) => [label, 0]));
  for (const { label } of entities) counts.set(label, (counts.get(label) || 0) + 1);
  return [...counts];
}

const COLOURS = 10; // .c0 to .c9 in page.css

/** The class of a label's colour: by its place among the labels of the models, else by its letters. */
function colourOf(label, labels) {
  const place = labels.indexOf(label);
  if (place >= 0) return `c${place % COLOURS}`;
  let sum = 0;
  for (const letter of label) sum = (sum * 31 + letter.codePointAt(0)) % 65521;
  return `c${sum % COLOURS}`;
}
