'use strict';
// Requests: asking the service, its errors in words, the same request for a shell.

// The page is the root of the service, whatever prefix a proxy has put before it, with or without a slash at the end.
const BASE = location.origin + location.pathname.replace(/\/*$/, '/');
const KEY_FORM = /^[!-~]+$/; // what a header can carry
const LONGEST_ARGUMENT = 100000; // bytes; Linux takes 131072

/** Why there is no answer. `retryAfter`: seconds that the server asks to wait, or null. */
class Trouble extends Error {
  constructor({ status, code = '', message = '', requestId = '', retryAfter = null }) {
    super(message);
    Object.assign(this, { status, code, requestId, retryAfter });
  }
}

/** JSON from the service, and the milliseconds it took. Throws Trouble, or AbortError when `signal` says so. */
async function ask(path, { body = null, key = '', signal }) {
  const headers = { accept: 'application/json' };
  if (key) headers['x-api-key'] = key;
  if (body !== null) headers['content-type'] = 'application/json';
  const began = performance.now();
  let response, content;
  try {
    response = await fetch(BASE + path, { method: body === null ? 'GET' : 'POST', headers, body, signal, cache: 'no-store' });
    content = await response.text();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Trouble({ status: 0, message: error.message });
  }
  const milliseconds = performance.now() - began;
  const answer = parsed(content);
  if (!response.ok) throw refusal(response, answer);
  if (answer === null) throw new Trouble({ status: response.status, message: 'the answer is not JSON' });
  return { answer, milliseconds };
}

function parsed(content) {
  try {
    return JSON.parse(content);
  } catch {
    return null; // a proxy's page, perhaps
  }
}

function refusal(response, answer) {
  const { code, message, request_id: requestId } = (answer && answer.error) || {};
  return new Trouble({
    status: response.status, code, message,
    requestId: requestId || response.headers.get('x-request-id') || '',
    retryAfter: waitAsked(response.headers.get('retry-after')),
  });
}

/** Seconds of a Retry-After header, which has seconds or a date; null if it has neither. */
function waitAsked(header) {
  if (header === null) return null;
  if (/^\d+$/.test(header.trim())) return Number(header);
  const date = Date.parse(header);
  return Number.isNaN(date) ? null : Math.max(0, (date - Date.now()) / 1000);
}

const BY_CODE = {
  limit_exceeded: ['This text is too long', 'Send it in several parts.'],
  invalid_text: ['This text has a character that cannot be read', 'Remove the damaged or invisible character and try again.'],
  model_not_loaded: ['This model is not served any more', 'Reload the page to see which models there are.'],
  no_encoder: ['This server compares no texts any more', 'Reload the page to see what it does.'],
  worker_dead: ['The model broke down over this text', 'Other texts are answered as before; please report this one.'],
};
const BY_STATUS = {
  0: ['The server cannot be reached', 'Check your connection, or whether the server is running.'],
  400: ['The server could not read this request', 'Please report it.'],
  401: ['This server asks for an API key', 'Enter it above.'],
  403: ['The server does not allow this', 'Ask whoever runs it.'],
  404: ['There is no onoma at this address', 'Check the address of the page.'],
  413: ['This text is too large', 'Send it in several parts.'],
  422: ['The server does not accept this request', 'The reason is below.'],
  429: ['The server is busy', 'Too many requests came at once.'],
  500: ['The model failed', 'It could not work on this text; please report it.'],
  502: ['The server does not answer', 'A proxy before it says so; it may be starting.'],
  503: ['The server is not ready', 'It is starting or stopping.'],
  504: ['The server took too long and gave up', 'Try a shorter text, or try again later.'],
};

/** [what happened, what to do], for people. */
function inWords({ status, code }) {
  if (status === 0 && !navigator.onLine) return ['You are offline', 'Connect to the network and try again.'];
  return BY_CODE[code] || BY_STATUS[status] || [`The server gave an unexpected answer (${status})`, 'Please report it.'];
}

/** The command that asks the same; the key is left to the shell, so that copying it gives nothing away. */
function curlLine(body, { path = 'ner', needsKey }) {
  const parts = [`curl -s ${quoted(`${BASE}${path}`)}`, "-H 'content-type: application/json'"];
  if (needsKey) parts.push('-H "x-api-key: $ONOMA_KEY"');
  if (new TextEncoder().encode(body).length > LONGEST_ARGUMENT) {
    return `${parts.join(' ')} --data-binary @- <<'END'\n${body}\nEND`;
  }
  return `${parts.join(' ')} -d ${quoted(body)}`;
}

function quoted(word) {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
