'use strict';
// The page: what a person does, and what is asked for it.

const PAUSE = 300; // milliseconds without a key pressed, after which is asked
const LONGEST_AS_TYPED = 20000; // longer texts are sent when the person says so
const MOST_TRIES = 5;
const COMPARE = ['student', 'teacher'];

const part = Object.fromEntries([...document.querySelectorAll('[id]')].map((element) => [element.id, element]));
const state = { models: null, choice: null, key: '', needsKey: false, lang: '', run: null, timer: 0 };
const refused = new Map(); // of a model: when, by performance.now(), the server wants to be asked again, and why not now

function started() {
  for (const example of EXAMPLES) {
    const button = make('button', { type: 'button', className: 'quiet', textContent: example.name, lang: example.lang || 'en' });
    button.addEventListener('click', () => show(example));
    part.examples.append(button);
  }
  part.docs.href = `${BASE}docs`;
  if (/Mac|iPhone|iPad/.test(navigator.platform)) document.querySelectorAll('kbd').forEach((keys) => { keys.textContent = '⌘ ↵'; });
  part.text.addEventListener('input', typed);
  part.text.addEventListener('compositionend', typed);
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && !event.isComposing) {
      event.preventDefault();
      if (part.similarity.contains(event.target)) compare();
      else tag();
    }
  });
  part.tag.addEventListener('click', tag);
  part.clear.addEventListener('click', () => {
    part.text.value = '';
    part.text.focus();
    tag();
  });
  part['key-form'].addEventListener('submit', keyGiven);
  similarityStarted();
  if (part.text.value) tag(); // a browser that has kept it
  else show(EXAMPLES[0]);
}

function show(example) {
  part.text.value = example.text;
  state.lang = part.text.lang = example.lang;
  tag();
}

function typed(event) {
  clearTimeout(state.timer);
  if (event.isComposing) return;
  state.lang = part.text.lang = '';
  if (!part.text.value) {
    tag();
  } else if (part.text.value.length <= LONGEST_AS_TYPED || event.inputType === 'insertFromPaste') {
    state.timer = setTimeout(tag, PAUSE);
  }
}

/** Ask for the text as it is now. What is under way is given up. */
async function tag() {
  clearTimeout(state.timer);
  if (state.run) state.run.abort();
  const text = part.text.value;
  if (!text.trim()) {
    state.run = null;
    part.results.removeAttribute('aria-busy');
    part.panels.replaceChildren();
    part.summary.replaceChildren();
    part.said.textContent = '';
    return;
  }
  const run = state.run = new AbortController();
  part.results.setAttribute('aria-busy', 'true');
  try {
    if (!state.models) await loadModels(run.signal);
    const jobs = asked().map((model) => jobFor(model, text));
    await Promise.all(jobs.map((job) => work(job, () => render(jobs, run), run)));
    say(jobs);
  } catch (error) {
    if (error.name !== 'AbortError') throw error;
  } finally {
    if (state.run === run) part.results.removeAttribute('aria-busy');
  }
}

/** The models that the person wants to answer. */
function asked() {
  return state.choice === 'compare' ? COMPARE : [state.choice || 'auto'];
}

function jobFor(model, text) {
  const body = JSON.stringify({ text, model, offset_unit: 'utf16' });
  return { path: 'ner', model, text, body, live: part.said, facts: factsOf(model), answer: null, milliseconds: 0, trouble: null, wait: null, clock: null, others: null, otherName: '' };
}

/** Ask one model, again where the server says when; `draw` shows the person how it is. */
async function work(job, draw, run) {
  for (let tries = 1; ; tries += 1) {
    await waited(job, draw, run);
    Object.assign(job, { answer: null, trouble: null });
    try {
      Object.assign(job, await ask(job.path, { body: job.body, key: state.key, signal: run.signal }));
    } catch (error) {
      if (!(error instanceof Trouble)) throw error;
      job.trouble = error;
    }
    const after = job.trouble && job.trouble.retryAfter;
    if (after !== null) {
      const until = performance.now() + 1000 * (after + Math.random() / 2); // not all pages at once
      refused.set(job.model, { until, trouble: job.trouble });
    }
    const over = after === null || tries === MOST_TRIES;
    if (over) draw();
    if (over) return;
  }
}

/** Until the server may be asked again; the person sees for how long that is. */
async function waited(job, draw, run) {
  for (;;) {
    const { until, trouble } = refused.get(job.model) || { until: 0, trouble: null };
    const seconds = (until - performance.now()) / 1000;
    if (seconds <= 0) break;
    job.wait = seconds;
    job.trouble = trouble;
    if (job.clock && job.clock.isConnected) {
      job.clock.textContent = waitOf(seconds);
    } else {
      draw();
      job.live.textContent = `${job.model}: ${inWords(job.trouble)[0]}. ${waitOf(seconds)}`;
    }
    await new Promise((go) => { setTimeout(go, Math.min(1000, 1000 * seconds)); });
    run.signal.throwIfAborted();
  }
  job.wait = job.clock = null;
}

function render(jobs, run) {
  if (state.run !== run) return;
  if (jobs.some(({ trouble }) => trouble && trouble.status === 401)) askForKey();
  const complete = jobs.length === 2 && jobs.every(({ answer }) => answer);
  jobs.forEach((job, place) => {
    if (complete) Object.assign(job, { others: entitiesOf(jobs[1 - place]), otherName: jobs[1 - place].model });
  });
  const labels = state.models ? [...new Set(state.models.models.flatMap((model) => model.labels))] : [];
  const view = { labels, lang: state.lang, needsKey: state.needsKey, retry: tag };
  const shown = jobs.filter(({ answer, trouble }) => answer || (trouble && trouble.status !== 401));
  const troubles = new Set(jobs.map(({ trouble }) => trouble && `${trouble.status} ${trouble.code}`));
  const oneTrouble = shown.length > 0 && troubles.size === 1 && !troubles.has(null);
  part.panels.className = jobs.length > 1 && !oneTrouble ? 'two' : '';
  part.panels.replaceChildren(...(oneTrouble ? [noticeOf(shown[0], tag)] : shown.map((job) => panelOf(job, view))));
  part.summary.textContent = complete ? verdict(jobs) : '';
}

function entitiesOf(job) {
  return job.answer.results[0].entities;
}

function verdict(jobs) {
  const count = differences(...jobs.map(entitiesOf));
  const [first, second] = jobs.map(({ model }) => model);
  if (count === 0) return `The ${first} and the ${second} agree.`;
  return `The ${first} and the ${second} differ in ${count} ${count === 1 ? 'place' : 'places'}, marked *.`;
}

/** For who does not see it. */
function say(jobs) {
  const found = ({ answer }) => {
    const { length } = answer.results[0].entities;
    return length === 1 ? '1 name' : `${length} names`;
  };
  const parts = jobs.map((job) => `${job.model}: ${job.answer ? found(job) : inWords(job.trouble)[0]}.`);
  part.said.textContent = [...parts, part.summary.textContent].join(' ');
}

/** Which models there are; without an answer `auto` is asked, whose error then says why. */
async function loadModels(signal) {
  try {
    const { answer } = await ask('models', { key: state.key, signal });
    state.models = answer;
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    return;
  }
  offerSimilarity(state.models.models);
  const names = state.models.models.filter(({ kind }) => kind !== 'sentence-encoder').map(({ name }) => name);
  const both = COMPARE.every((name) => names.includes(name));
  const choices = [...(both ? [['compare', 'both']] : []), ['auto', 'auto'], ...names.map((name) => [name, name])];
  state.choice = choices[0][0];
  part.choice.hidden = false;
  part.choices.replaceChildren(...choices.map(([value, textContent]) => {
    const radio = make('input', { type: 'radio', name: 'choice', value, checked: value === state.choice });
    radio.addEventListener('change', () => {
      state.choice = value;
      tag();
    });
    return make('label', {}, radio, make('span', { textContent }));
  }));
}

function factsOf(name) {
  if (!state.models) return '';
  if (name === 'auto') {
    const { student, teacher } = state.models.auto;
    return teacher ? `the ${student}, and the ${teacher} where it is unsure or fails` : `the ${student}`;
  }
  const model = state.models.models.find((one) => one.name === name);
  const facts = [
    model.parameters && `${(model.parameters / 1e6).toFixed(1)} million parameters`,
    model.quantization,
    model.languages && `${model.languages.length} languages`,
  ];
  return facts.filter(Boolean).join(', ');
}

function askForKey() {
  state.needsKey = true;
  part.docs.hidden = true; // that page has nowhere to put a key
  part['key-title'].textContent = state.key ? 'The server does not know this key' : 'This server asks for an API key';
  part['key-form'].hidden = false;
  part.key.focus();
}

function keyGiven(event) {
  event.preventDefault();
  const key = part.key.value.trim();
  if (!KEY_FORM.test(key)) {
    part['key-title'].textContent = 'A key is made of ASCII characters without spaces';
    part.key.focus();
    return;
  }
  state.key = key;
  state.models = null;
  part.key.value = '';
  part['key-form'].hidden = true;
  tag();
}

started();
