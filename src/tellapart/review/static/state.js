// What the page knows: the queue on show, its pictures, what was decided, the focus and the selection.

import { find } from "./dom.js";

export const MOST = 500; // decisions in one request

export const state = {
  server: null, // the newest answer of /api/state
  last: 0, // the newest entry of the journal that is known here
  queue: location.hash.slice(1) || "label_errors",
  filter: "", // a class index as text
  shown: "", // of which queue, class and ranking the items are
  items: null, // lists of ids; null until they came
  order: [], // their ids, each once
  at: new Map(), // id → index in order
  pictures: new Map(), // id → what the server says of it
  decisions: new Map(), // id → { action, label, who, pending }
  selection: new Set(),
  anchor: null, // where the selection that Shift extends begins
  focus: null, // the id of the picture in the panel; it need not be in the queue
  place: 0, // where in the order to go on
  looking: false, // on a narrow screen: the panel covers the grid
};

let frame = 0;

/** All parts of the page listen to this. */
export function draw() {
  frame = 0;
  document.dispatchEvent(new Event("draw"));
}

/** Draw in the next frame, once however often this is called. */
export const redraw = () => (frame ||= requestAnimationFrame(draw));

export const say = (sentence) => (find("said").textContent = sentence);
export const who = () => find("who").value.trim() || state.server.who;
export const className = (index) => state.server.classes[index] ?? "";
export const isOpen = (id) => !state.decisions.has(id);

/** The class of a picture after what was decided; undefined while it is not known. */
export function labelOf(id) {
  const { action, label } = state.decisions.get(id) ?? {};
  return action === "relabel" ? label : state.pictures.get(id)?.given;
}

/** A decision in words, with a sign. */
export function verdict({ action, label, who: by = "" }) {
  const relabel = `→ ${className(label)}`;
  const words = { keep: "✓ Kept", remove: "✕ Removed", unsure: "? Not sure", relabel }[action];
  return by && by !== who() ? `${words} · ${by}` : words;
}

/** Show other items. The picture in focus stays in focus, and in the list while it is undecided. */
export function setItems(items) {
  const { focus, order, place, at } = state;
  const stays = at.has(focus) && isOpen(focus) && !items.flat().includes(focus);
  if (stays) items.splice(state.items.findIndex((item) => item.includes(focus)), 0, [focus]);
  Object.assign(state, { items, order: [...new Set(items.flat())] });
  state.at = new Map(state.order.map((id, index) => [id, index]));
  state.selection = new Set([...state.selection].filter((id) => state.at.has(id)));
  state.place = state.at.get([focus, ...order.slice(place)].find((id) => state.at.has(id))) ?? 0;
  if (focus === null) focusOn(state.order.find(isOpen) ?? state.order[0] ?? null);
  redraw();
}

/** Look at a picture; with `extend` select all from where the selection begins. */
export function focusOn(id, extend = false) {
  if (!extend) state.anchor = id;
  const [low, high] = [state.anchor, id].map((end) => state.at.get(end)).sort((a, b) => a - b);
  if (extend) state.selection = new Set(state.order.slice(low, Math.min(high + 1, low + MOST)));
  Object.assign(state, { focus: id, place: state.at.get(id) ?? state.place });
  redraw();
}

/** So many pictures further in the queue, or back. */
export function step(by, extend) {
  const from = state.place + by - (by > 0 && !state.at.has(state.focus) ? 1 : 0);
  const id = state.order[Math.max(0, Math.min(state.order.length - 1, from))];
  if (id !== undefined) focusOn(id, extend);
}

/** To the next undecided picture, at the end to one that was left out; one of two copies may stay so. */
export function goOn() {
  const isThere = (id) => state.decisions.get(id)?.action !== "remove";
  const items = state.items.filter((item) => item.length < 2 || item.filter(isThere).length > 1);
  const open = new Set(items.flat().filter(isOpen));
  const next = [...state.order.slice(state.place), ...state.order].find((id) => open.has(id));
  if (state.queue === "decided") step(1);
  else focusOn(next ?? null);
}
