// Requests to the server. A decision waits here until the server has answered: it is sent again, in order
// and with the same key, for as long as it takes.

import { redraw } from "./state.js";

/** `trouble`: "" | "down" | "denied"; `waiting`: what the server has not answered yet, the oldest first. */
export const connection = { trouble: "", waiting: [] };
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** The server's answer; where there is none this throws, with its `status` if it has refused. */
export async function ask(path, { body, signal } = {}) {
  const limit = AbortSignal.timeout(20_000);
  const options = { signal: signal ? AbortSignal.any([signal, limit]) : limit };
  if (body) Object.assign(options, { method: "POST", headers: { "Content-Type": "application/json" } });
  let status = 0;
  try {
    const answer = await fetch(path, { ...options, body: body && JSON.stringify(body) });
    status = answer.status;
    const content = await answer.json();
    if (answer.ok) return content;
    throw Object.assign(new Error(content.error), { status });
  } finally {
    const trouble = [401, 403].includes(status) ? "denied" : status && status < 500 ? "" : "down";
    if (!signal?.aborted && trouble !== connection.trouble) redraw();
    if (!signal?.aborted) connection.trouble = trouble;
  }
}

/** Asks after a while and gives up what it asked before: null then, and undefined where it failed. */
export function onlyLatest(wait) {
  let control = new AbortController();
  return async (path) => {
    control.abort();
    const { signal } = (control = new AbortController());
    await pause(wait);
    const answer = signal.aborted ? null : await ask(path, { signal }).catch(() => undefined);
    return signal.aborted ? null : answer;
  };
}

async function sendAll() {
  for (let wait = 500; connection.waiting.length; redraw()) {
    const { path, body, settle } = connection.waiting[0];
    const answer = await ask(path, { body }).catch((error) => error);
    if (answer instanceof Error && ![400, 404, 413, 415, 422].includes(answer.status)) {
      await pause(wait);
      wait = Math.min(2 * wait, 4000);
    } else {
      connection.waiting.shift();
      settle(answer);
    }
  }
}

/** The answer, after all that was posted before; an error where the server refuses for good. */
export function post(path, values) {
  const key = Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(16)).join("-");
  return new Promise((settle) => {
    if (connection.waiting.push({ path, body: { key, ...values }, settle }) === 1) sendAll();
  });
}

/** How many decisions the server has not answered yet. */
export const unsaved = () => connection.waiting.reduce((n, { body }) => n + (body.decisions?.length ?? 1), 0);
