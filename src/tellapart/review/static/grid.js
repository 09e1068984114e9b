// The queue as a grid of cards. Only the cards near the viewport exist, at places computed from their size.

import { connection } from "./api.js";
import { find, percent, write } from "./dom.js";
import { className, labelOf, redraw, state, verdict } from "./state.js";
import { want } from "./sync.js";

const GAP = 12; // between cards, in px
const NARROWEST = 150; // card, in px
const BEYOND = 2; // lines of cards that exist above and below those in view

const box = find("grid");
const sheet = find("sheet");
const nodes = new Map(); // an item's key → its element
let laid = { places: [], at: new Map(), pitch: 1 };
let shownFocus = null;
let soon = 0; // the timer of loadThumbs
let before = 0; // where it was scrolled to then

/** Where items are: each takes a column for each of its pictures, and more lines where that is too wide. */
function layOut(items, width) {
  const columns = Math.max(2, Math.min(10, Math.floor((width + GAP) / (NARROWEST + GAP))));
  const across = Math.floor((width + GAP) / columns);
  const pitch = across + Math.round(3.25 * parseFloat(getComputedStyle(box).fontSize));
  const at = new Map(); // id → the first place with it
  let [line, column, lines] = [0, 0, 0];
  const places = items.map((item) => {
    const span = Math.min(item.length, columns);
    if (column + span > columns) [line, column, lines] = [line + lines, 0, 0];
    lines = Math.max(lines, Math.ceil(item.length / columns));
    const place = { key: item.join("-"), item, line, end: line + lines, column, span };
    for (const id of item) if (!at.has(id)) at.set(id, place);
    column += span;
    return place;
  });
  sheet.style.height = `${(line + lines) * pitch}px`;
  sheet.style.setProperty("--side", `${across - GAP}px`);
  return { items, width, places, at, across, pitch };
}

/** The places in view, and so many lines above and below. */
function inView(beyond) {
  const first = box.scrollTop / laid.pitch - beyond;
  const last = (box.scrollTop + box.clientHeight) / laid.pitch + beyond;
  return laid.places.filter(({ line, end }) => end > first && line < last);
}

/** Lay out anew; the picture in focus, or else the first in view, stays where it is on the screen. */
function layOutAnew(items, width) {
  const seen = inView(0).flatMap(({ item }) => item);
  const old = laid;
  laid = layOut(items, width);
  const anchor = [state.focus, ...seen].find((id) => seen.includes(id) && laid.at.has(id));
  const [from, to] = [old, laid].map(({ at, pitch }) => at.get(anchor)?.line * pitch || 0);
  box.scrollTop += to - from;
}

function create({ key, item }) {
  const node = find("item").content.firstElementChild.cloneNode(true);
  if (item.length > 1) Object.assign(node, { role: "group", ariaLabel: `${item.length} side by side` });
  for (const id of item) {
    const card = find("card").content.firstElementChild.cloneNode(true);
    card.id = `card-${key}-${id}`;
    card.dataset.id = id;
    node.append(card);
  }
  nodes.set(key, node);
  return node;
}

function fill(card, id) {
  const { name = "", given, suggested, probability } = state.pictures.get(id) ?? {};
  const { action = "", pending } = state.decisions.get(id) ?? {};
  const hint = suggested === given || action ? "" : `→ ${className(suggested)} ${percent(probability)}`;
  const texts = { label: className(labelOf(id)), hint, badge: action && verdict(state.decisions.get(id)) };
  write(card, texts);
  card.dataset.action = action;
  card.title = name;
  card.classList.toggle("pending", Boolean(pending));
  card.classList.toggle("focus", id === state.focus);
  card.ariaLabel = [name, ...Object.values(texts), pending && "not saved yet"].filter(Boolean).join(", ");
  card.ariaSelected = String(state.selection.has(id));
  card.ariaPosInSet = state.at.get(id) + 1;
  card.ariaSetSize = state.order.length;
}

function remove(key, node) {
  for (const image of node.querySelectorAll("img")) image.removeAttribute("src"); // need not come any more
  node.remove();
  nodes.delete(key);
}

/** Ask for the thumbnails that are not there, or failed; none while most cards are only passed. */
function loadThumbs() {
  const passing = Math.abs(box.scrollTop - before) > box.clientHeight;
  before = box.scrollTop;
  soon = passing ? setTimeout(loadThumbs, 60) : 0;
  for (const card of passing || connection.trouble ? [] : sheet.querySelectorAll(".card")) {
    const image = card.querySelector("img");
    if (image.complete && !image.naturalWidth) image.src = `/thumb/${card.dataset.id}`;
  }
}

function draw(scrolled) {
  box.ariaBusy = String(!state.items);
  if (!state.items || !sheet.clientWidth) return;
  const moved = state.items !== laid.items || sheet.clientWidth !== laid.width;
  if (moved) layOutAnew(state.items, sheet.clientWidth);
  const focus = laid.at.get(state.focus);
  if (focus && state.focus !== shownFocus) {
    const lowest = focus.end * laid.pitch - box.clientHeight;
    box.scrollTop = Math.min(Math.max(box.scrollTop, lowest), focus.line * laid.pitch);
  }
  shownFocus = state.focus;
  const places = new Set(focus ? [...inView(BEYOND), focus] : inView(BEYOND));
  const keys = new Set([...places].map(({ key }) => key));
  for (const [key, node] of nodes) if (!keys.has(key)) remove(key, node);
  for (const place of places) {
    const known = nodes.get(place.key);
    const node = known ?? create(place);
    const { column, line, span } = place;
    if (!known || moved) sheet.append(node);
    node.style.translate = `${column * laid.across}px ${line * laid.pitch}px`;
    node.style.width = `${span * laid.across - GAP}px`;
    if (!known || !scrolled) place.item.forEach((id, index) => fill(node.children[index], id));
  }
  box.setAttribute("aria-activedescendant", focus ? `card-${focus.key}-${state.focus}` : "");
  soon ||= setTimeout(loadThumbs, scrolled ? 60 : 0);
  want([...places].flatMap(({ item }) => item));
}

/** The picture below (1) or above (-1) the one in focus; undefined at the end. */
export function inNextRow(by) {
  const from = laid.at.get(state.order[state.place]);
  const others = laid.places.filter(({ line }) => by * (line - from?.line) > 0);
  const { line } = others.at(by > 0 ? 0 : -1) ?? {};
  return others.findLast((place) => place.line === line && place.column <= from.column)?.item[0];
}

document.addEventListener("draw", () => draw(false));
box.addEventListener("scroll", () => draw(true), { passive: true });
new ResizeObserver(redraw).observe(box);
