'use strict';
// Similarity: two texts, and how alike in meaning a sentence encoder finds them. Hidden where the service has none.

const ENCODER = 'encoder'; // the one that is asked where there are several
const SIDES = ['first', 'second'];
const PAIRS = [
  { name: 'English – Deutsch', langs: ['en', 'de'], texts: ['The library opens at nine in the morning.', 'Die Bibliothek öffnet um neun Uhr morgens.'] },
  { name: 'Русский – 日本語', langs: ['ru', 'ja'], texts: ['Наш поезд опаздывает на два часа.', '私たちの電車は二時間遅れています。'] },
  { name: 'العربية – हिन्दी', langs: ['ar', 'hi'], texts: ['أين يمكنني أن أشتري خبزًا طازجًا؟', 'मुझे ताज़ी रोटी कहाँ मिल सकती है?'] },
  { name: '中文 – Español', langs: ['zh', 'es'], texts: ['明天下午会下大雨。', 'Mañana por la tarde lloverá mucho.'] },
  { name: 'Ελληνικά – 한국어', langs: ['el', 'ko'], texts: ['Η γιατρός είπε ότι πρέπει να ξεκουραστώ.', '의사는 내가 쉬어야 한다고 말했다.'] },
  { name: 'Unrelated', langs: ['fr', 'ru'], texts: ['Le chat dort sur le poêle encore chaud.', 'Центральный банк снова повысил ставку.'] },
];
const likeness = { model: '', run: null, timer: 0 };

function similarityStarted() {
  for (const pair of PAIRS) {
    const button = make('button', { type: 'button', className: 'quiet' }, make('bdi', { textContent: pair.name }));
    button.addEventListener('click', () => showPair(pair));
    part.pairs.append(button);
  }
  for (const side of SIDES) {
    part[side].addEventListener('input', typedInPair);
    part[side].addEventListener('compositionend', typedInPair);
  }
  part.compare.addEventListener('click', compare);
}

/** Show the part, or hide it: as there is a model that answers or not. */
function offerSimilarity(models) {
  const encoders = models.filter(({ kind }) => kind === 'sentence-encoder').map(({ name }) => name);
  likeness.model = encoders.includes(ENCODER) ? ENCODER : encoders[0] || '';
  part.similarity.hidden = !likeness.model;
  if (!likeness.model) return;
  if (SIDES.some((side) => part[side].value)) compare(); // a browser that has kept them, or a key that was missing
  else showPair(PAIRS[0]);
}

function showPair({ texts, langs }) {
  SIDES.forEach((side, place) => Object.assign(part[side], { value: texts[place], lang: langs[place] }));
  compare();
}

function typedInPair(event) {
  clearTimeout(likeness.timer);
  if (event.isComposing) return;
  event.target.lang = '';
  const longest = Math.max(...SIDES.map((side) => part[side].value.length));
  if (longest <= LONGEST_AS_TYPED || event.inputType === 'insertFromPaste') likeness.timer = setTimeout(compare, PAUSE);
}

/** Ask for the two texts as they are now. What is under way is given up. */
async function compare() {
  clearTimeout(likeness.timer);
  if (likeness.run) likeness.run.abort();
  const texts = SIDES.map((side) => part[side].value);
  if (texts.some((text) => !text.trim())) {
    likeness.run = null;
    part.likeness.removeAttribute('aria-busy');
    part.likeness.replaceChildren();
    part['said-likeness'].textContent = '';
    return;
  }
  const run = likeness.run = new AbortController();
  part.likeness.setAttribute('aria-busy', 'true');
  const { model } = likeness;
  const body = JSON.stringify({ pairs: [texts], model });
  const job = { path: 'similarity', model, body, live: part['said-likeness'], answer: null, milliseconds: 0, trouble: null, wait: null, clock: null };
  try {
    await work(job, () => renderLikeness(job, run), run);
    job.live.textContent = job.answer ? `Similarity: ${job.answer.scores[0].toFixed(2)}.` : `${inWords(job.trouble)[0]}.`;
  } catch (error) {
    if (error.name !== 'AbortError') throw error;
  } finally {
    if (likeness.run === run) part.likeness.removeAttribute('aria-busy');
  }
}

function renderLikeness(job, run) {
  if (likeness.run !== run) return;
  if (job.trouble && job.trouble.status === 401) {
    askForKey();
    part.likeness.replaceChildren();
  } else {
    part.likeness.replaceChildren(...(job.trouble ? [noticeOf(job, compare)] : likenessOf(job)));
  }
}

function likenessOf({ model, answer, body, milliseconds }) {
  const [score] = answer.scores;
  const { needsKey } = state;
  return [
    make('p', { className: 'alike', title: String(score) }, barOf(Math.max(0, score)), make('strong', { textContent: score.toFixed(2) })),
    make('p', { className: 'facts', textContent: 'The cosine of the two vectors: 1 for the same text, near 0 for texts that have nothing to do with each other.' }),
    latencyOf(answer.timings_ms, milliseconds, 1),
    folded(`${model} JSON`, 'JSON', () => JSON.stringify(answer, null, 2)),
    folded(`${model} curl`, 'curl', () => curlLine(body, { path: 'similarity', needsKey })),
  ];
}
