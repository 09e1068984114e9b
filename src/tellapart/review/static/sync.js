// The page and the server kept alike: polls, the queue, details of pictures, decisions.

import { ask, onlyLatest, post } from "./api.js";
import { counted } from "./dom.js";
import { focusOn, goOn, redraw, say, setItems, state, verdict, who } from "./state.js";

const EVERY = 1500; // milliseconds between two polls of a visible page
const askQueue = onlyLatest(0);
const askPictures = onlyLatest(50); // while scrolling, many pass
const askPicture = onlyLatest(40);
let timer = 0;
let asking = []; // ids whose details are on their way
let looked = ""; // what was asked of the picture in focus

/** Ask what is new: now, and then every 1.5 s while the page is visible. */
export async function poll() {
  const since = state.last;
  const answer = await ask(`/api/state?since=${since}`).catch(() => null);
  if (answer && since === state.last) learn(answer); // else a newer one came before
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(poll, EVERY);
}

function learn({ decisions, ...facts }) {
  const before = state.server;
  if (before && (facts.data !== before.data || facts.last < state.last)) location.reload(); // another review
  for (const { id, ...decision } of decisions) {
    if (state.decisions.get(id)?.pending) continue;
    if (decision.action === null) state.decisions.delete(id);
    else state.decisions.set(id, decision);
  }
  Object.assign(state, { server: facts, last: facts.last });
  const names = [...facts.queues.map(({ name }) => name), "decided"];
  if (!names.includes(state.queue)) openQueue(names[0]);
  const { sentence } = facts.error.now;
  if (before && sentence !== before.error.now.sentence) say(`Now: ${sentence}`);
  if (JSON.stringify(before) !== JSON.stringify(facts)) redraw();
  loadQueue();
}

/** Fetch the queue on show unless it is there; a new ranking brings it anew. */
async function loadQueue() {
  const { queue, filter, server, last } = state;
  const edition = queue === "decided" ? last : last - server.pending; // pending: not ranked yet
  const name = [queue, filter, server.version, edition].join(" ");
  if (name === state.shown) return;
  state.shown = name;
  const answer = await askQueue(`/api/queue/${encodeURIComponent(queue)}${filter && `?class=${filter}`}`);
  if (answer) setItems(answer.items);
  else if (answer === undefined) state.shown = ""; // the next poll tries again
}

export function openQueue(queue, filter = state.filter) {
  Object.assign(state, { queue, filter, items: null, order: [], at: new Map(), focus: null, looking: false });
  state.selection.clear();
  history.replaceState(null, "", `#${queue}`);
  redraw();
  loadQueue();
}

function remember(pictures, edition) {
  for (const picture of pictures) {
    state.pictures.set(picture.id, { ...state.pictures.get(picture.id), ...picture, edition });
  }
  redraw();
}

/** Fetch what is not known of these pictures, 200 at a time; what was scrolled past is given up. */
export async function want(ids) {
  const { queue, shown: edition, pictures } = state;
  const missing = ids.filter((id) => pictures.get(id)?.edition !== edition).slice(0, 200);
  if (missing.every((id) => asking.includes(id))) return;
  asking = missing;
  const answer = await askPictures(`/api/pictures?queue=${encodeURIComponent(queue)}&ids=${missing.join()}`);
  if (answer !== null) asking = [];
  if (answer) remember(answer.pictures, edition);
}

/** Fetch all that is known of the picture in focus, and again after it was decided. */
export async function lookAt(id) {
  const { queue, shown: edition, decisions } = state;
  const name = JSON.stringify([id, edition, decisions.get(id)]);
  if (name === looked) return;
  looked = name;
  const answer = await askPicture(`/api/picture/${id}?queue=${encodeURIComponent(queue)}`);
  if (answer) remember([answer], edition);
  else if (answer === undefined) looked = ""; // the next drawing asks again
}

/** Decide on the selection, or on the picture in focus, and go on. The class that was given is kept. */
export async function decide(action, label) {
  const { queue, selection, focus, pictures, decisions } = state;
  const ids = selection.size ? [...selection] : [focus];
  if (ids[0] === null) return;
  const isGiven = (id) => action === "relabel" && pictures.get(id)?.given === label;
  const batch = ids.map((id) => (isGiven(id) ? { id, action: "keep" } : { id, action, label }));
  const pending = {}; // this batch
  for (const { id, ...decision } of batch) decisions.set(id, { ...decision, who: who(), pending });
  selection.clear();
  goOn();
  const { last, message } = await post("/api/decisions", { who: who(), queue, decisions: batch });
  const mine = ids.filter((id) => decisions.get(id)?.pending === pending);
  for (const id of mine) {
    if (message) decisions.delete(id);
    else decisions.set(id, { ...decisions.get(id), pending: undefined });
  }
  state.last = message ? 0 : Math.min(state.last, last); // what is newer is asked once more
  const words = ids.length > 1 ? counted(ids.length, "picture") : verdict(batch[0]);
  say(message ? `Not saved, the server refuses: ${message}` : `${words}: saved.`);
  redraw();
  poll();
}

export async function undo() {
  const { ids = [], message } = await post("/api/undo", { who: who() });
  say(message ?? (ids.length ? `Undone: ${counted(ids.length, "picture")}.` : "Nothing is left to undo."));
  for (const id of ids) state.decisions.delete(id);
  if (ids.length) focusOn(ids[0]);
  state.shown = ""; // what is undecided again comes back to the queue
  poll();
}
