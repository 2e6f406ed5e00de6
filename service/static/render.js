'use strict';
// Rendering: an answer, or why there is none, as elements. Texts of users and servers only ever become text nodes.

const FIRST_ROWS = 100;
const MANY = 300;
const STAGES = ['queue', 'tokenize', 'infer', 'decode'];
const opened = new Set(); // which foldable parts of which panels a person has opened
const FALLBACKS = {
  low_confidence: 'The student was unsure, so the teacher answered.',
  student_error: 'The student failed, so the teacher answered.',
};
const DECLINES = {
  budget: 'the teacher had its share of the traffic',
  queue: 'the teacher has too much to do',
  deadline: 'the teacher would not have answered in time',
  circuit_open: 'the teacher is being left alone because it fails',
  teacher_error: 'the teacher failed',
  no_teacher: 'there is no teacher',
};

/** An element; `options` are properties, but those in `attributes` are attributes. */
function make(kind, { attributes = {}, ...options } = {}, ...children) {
  const element = Object.assign(document.createElement(kind), options);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** The panel of a job: {model, text, facts, body, milliseconds, answer, trouble, wait, clock, others, otherName}. */
function panelOf(job, { labels, lang, needsKey, retry }) {
  const head = make('header', {}, make('h2', { textContent: job.model }), make('p', { className: 'facts', textContent: job.facts }));
  const panel = make('article', { className: 'panel', attributes: { 'aria-label': `Answer of ${job.model}` } }, head);
  if (job.trouble) {
    panel.append(noticeOf(job, retry));
  } else if (job.answer) {
    const [result] = job.answer.results;
    const found = job.others ? compared(result.entities, job.others) : result.entities.map(() => null);
    const remark = remarkOn(result, job.model);
    if (remark) panel.append(make('p', { className: 'remark', textContent: remark }));
    panel.append(taggedText(job.text, result.entities, found, { labels, lang }));
    if (result.entities.length) {
      panel.append(legendOf(result.entities, labels), tableOf(result.entities, found, job.otherName, labels));
    } else {
      panel.append(make('p', { className: 'nothing', textContent: 'No names found in this text.' }));
    }
    panel.append(latencyOf(job.answer.timings_ms, job.milliseconds, result.windows));
    panel.append(
      folded(`${job.model} JSON`, 'JSON', () => JSON.stringify(job.answer, null, 2)),
      folded(`${job.model} curl`, 'curl', () => curlLine(job.body, { needsKey })),
    );
  }
  return panel;
}

function remarkOn(result, asked) {
  if (result.fallback) return FALLBACKS[result.fallback] || `Answered by ${result.model}: ${result.fallback}.`;
  if (result.declined) return `The student was unsure, but ${DECLINES[result.declined] || result.declined}.`;
  return asked === result.model ? '' : `Answered by ${result.model}.`;
}

function taggedText(text, entities, found, { labels, lang }) {
  const tagged = make('div', { className: entities.length > MANY ? 'tagged many' : 'tagged', lang });
  let position = 0;
  entities.forEach((entity, place) => {
    const differs = found[place] !== null;
    tagged.append(text.slice(position, entity.start));
    tagged.append(make(
      'mark',
      { className: `${colourOf(entity.label, labels)}${differs ? ' differs' : ''}`, title: `${entity.label}, ${percent(entity.score)}` },
      text.slice(entity.start, entity.end),
      make('span', { className: 'type', dir: 'ltr', lang: 'en', textContent: `${entity.label}${differs ? ' *' : ''}` }),
    ));
    position = entity.end;
  });
  tagged.append(text.slice(position));
  tagged.dir = 'auto'; // with unicode-bidi: plaintext each line goes the way of its own first letter; last, as it is looked for
  return tagged;
}

function legendOf(entities, labels) {
  const list = make('ul', { className: 'legend', attributes: { 'aria-label': 'Names by type' } });
  for (const [label, count] of counted(entities, labels)) {
    list.append(make('li', { className: count ? '' : 'none' }, chip(label, labels), ` ${count}`));
  }
  return list;
}

function chip(label, labels) {
  return make('span', { className: `chip ${colourOf(label, labels)}`, textContent: label });
}

function tableOf(entities, found, otherName, labels) {
  const body = make('tbody');
  const row = (entity, place) => {
    const name = make('td', {}, make('bdi', { className: 'name', textContent: entity.text }));
    if (found[place] !== null) {
      name.append(make('span', { className: 'difference', textContent: `* ${difference(entity, found[place], otherName)}` }));
    }
    return make('tr', {}, name, make('td', {}, chip(entity.label, labels)), make('td', { className: 'score', title: String(entity.score) },
      barOf(entity.score), percent(entity.score)));
  };
  const fill = (from, to) => body.append(...entities.slice(from, to).map((entity, place) => row(entity, from + place)));
  fill(0, FIRST_ROWS);
  const heads = ['Name', 'Type', 'Score'].map((textContent) => make('th', { scope: 'col', textContent }));
  const table = make('div', { className: 'names' }, make('table', {}, make('thead', {}, make('tr', {}, ...heads)), body));
  if (entities.length > FIRST_ROWS) {
    const more = make('button', { type: 'button', className: 'quiet', textContent: `Show all ${entities.length} names` });
    more.addEventListener('click', () => {
      more.remove();
      fill(FIRST_ROWS, entities.length);
    });
    table.append(more);
  }
  return table;
}

function barOf(score) {
  const filled = make('span');
  filled.style.inlineSize = `${100 * score}%`;
  return make('span', { className: 'bar', attributes: { 'aria-hidden': 'true' } }, filled);
}

function latencyOf(timings, milliseconds, windows) {
  const known = STAGES.map((stage) => [stage, timings[stage]]);
  const other = Math.max(0, timings.total - known.reduce((sum, [, value]) => sum + value, 0));
  const stages = [...known, ['other', other], ['network', Math.max(0, milliseconds - timings.total)]];
  const bar = make('div', { className: 'stages', attributes: { 'aria-hidden': 'true' } });
  const list = make('dl');
  for (const [stage, value] of stages) {
    const part = make('span', { className: stage });
    part.style.flexGrow = value;
    bar.append(part);
    list.append(make('div', {}, make('dt', { className: stage, textContent: stage }), make('dd', { textContent: duration(value) })));
  }
  const parts = windows > 1 ? `, in ${windows} windows` : '';
  const title = make('h3', {}, 'Latency ', make('span', { textContent: `${duration(timings.total)} in the server${parts}` }));
  return make('section', { className: 'latency' }, title, bar, list);
}

/** A part to be opened, whose text is made only then. */
function folded(key, title, content) {
  const code = make('pre', { dir: 'ltr', tabIndex: 0, attributes: { 'aria-label': title } });
  const copy = make('button', { type: 'button', className: 'quiet copy', textContent: 'Copy' });
  copy.addEventListener('click', () => copied(code, copy));
  const part = make('details', { open: opened.has(key) }, make('summary', { textContent: title }), copy, code);
  const fill = () => {
    opened[part.open ? 'add' : 'delete'](key);
    if (part.open && !code.firstChild) code.textContent = content();
  };
  part.addEventListener('toggle', fill);
  if (part.open) fill();
  return part;
}

async function copied(code, button) {
  let done = false;
  if (navigator.clipboard) { // only where the page came over HTTPS or from this machine
    done = await navigator.clipboard.writeText(code.textContent).then(() => true, () => false);
  }
  if (!done) {
    getSelection().selectAllChildren(code);
    done = document.execCommand('copy');
  }
  button.textContent = done ? 'Copied' : 'Selected: press Ctrl+C';
  setTimeout(() => { button.textContent = 'Copy'; }, 2000);
}

function noticeOf(job, retry) {
  const { trouble, wait } = job;
  const [what, advice] = inWords(trouble);
  const notice = make('div', { className: 'notice' }, make('h3', { textContent: what }), make('p', { textContent: advice }));
  if (wait !== null) {
    job.clock = make('p', { className: 'wait', textContent: waitOf(wait) });
    notice.append(job.clock);
  } else if (trouble.status === 0 || trouble.status === 429 || trouble.status >= 500) {
    const again = make('button', { type: 'button', textContent: 'Try again' });
    again.addEventListener('click', retry);
    notice.append(again);
  }
  for (const detail of [trouble.message, trouble.requestId && `Request ${trouble.requestId}`]) {
    if (detail) notice.append(make('p', { className: 'details', textContent: detail }));
  }
  return notice;
}

function waitOf(seconds) {
  return `Trying again in ${seconds < 100 ? `${Math.ceil(seconds)} s` : `${Math.round(seconds / 60)} minutes`}.`;
}

function percent(score) {
  return `${(100 * score).toFixed(1)} %`;
}

function duration(milliseconds) {
  return `${milliseconds.toFixed(milliseconds < 1 ? 2 : milliseconds < 100 ? 1 : 0)} ms`;
}
