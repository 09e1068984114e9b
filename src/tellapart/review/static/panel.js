// The picture in focus: large, what the model thinks, what is like it, what was decided about it.

import { counted, find, flag, list, percent, write } from "./dom.js";
import { className, labelOf, redraw, state, verdict } from "./state.js";
import { lookAt } from "./sync.js";

const DIGITS = 9; // classes that have a key
const stage = find("stage");
let shown = null; // the id of the picture on the stage
let ahead = {}; // the next one, loaded before it is asked for
let dragged = 0; // px

function large(id) {
  const image = Object.assign(new Image(), { src: `/full/${id}` });
  return { id, image, ready: image.decode().catch(() => {}) };
}

/** The thumbnail until the large picture is there; then the next large one is loaded ahead. */
async function showPicture(id, next) {
  if (id === shown) return;
  shown = id;
  stage.replaceChildren(Object.assign(new Image(), { src: `/thumb/${id}` }));
  const { image, ready } = ahead.id === id ? ahead : large(id);
  await ready;
  if (shown !== id) return;
  if (!image.naturalWidth) return void (shown = null); // the next drawing tries again
  stage.replaceChildren(image);
  centre(0.5, 0.5);
  if (next !== undefined) ahead = large(next);
  redraw();
}

/** The place (x, y), shares of the picture, in the middle. */
function centre(x, y) {
  stage.scrollLeft = x * stage.scrollWidth - stage.clientWidth / 2;
  stage.scrollTop = y * stage.scrollHeight - stage.clientHeight / 2;
}

/** The whole picture ↔ every pixel of it, over the grid. */
export function zoom(x = 0.5, y = 0.5) {
  find("zoom").ariaPressed = String(document.body.classList.toggle("zoomed"));
  centre(x, y);
}

/** What the model thinks of, then the classes that have digits; or those with the text that is typed. */
function classesShown(shares) {
  const text = find("typed").value.trim().toLocaleLowerCase();
  const names = state.server.classes.map((name) => name.toLocaleLowerCase());
  const rank = (index) => (text && names[index].startsWith(text) ? 1 : 0) + (shares[index] ?? 0);
  const all = [...names.keys()].filter((index) => names[index].includes(text));
  const others = all.filter((index) => text || index >= DIGITS).sort((a, b) => rank(b) - rank(a));
  return text ? others.slice(0, 30) : [...others.slice(0, 5), ...all.slice(0, DIGITS)];
}

function drawClass(button, index, share) {
  const digit = index < DIGITS ? String(index + 1) : "";
  write(button, { digit, name: className(index), share: share === undefined ? "" : percent(share) });
  button.style.setProperty("--share", share ?? 0);
  button.dataset.value = index;
  button.ariaPressed = String(index === labelOf(state.focus));
}

function drawThumb(button, { id, label = labelOf(id) }) {
  write(button, { name: className(label) });
  if (button.dataset.value !== String(id)) button.querySelector("img").src = `/thumb/${id}`;
  button.dataset.value = id;
  button.ariaLabel = button.title = `Show picture ${id}, labelled ${className(label)}`;
  button.classList.toggle("differs", label !== undefined && label !== labelOf(state.focus));
}

function drawPast(entry, { at, who, undone, why, ...decision }) {
  const when = new Date(at).toLocaleString();
  write(entry, { words: verdict(decision), by: who, when, undone: undone ? "undone" : "", why });
}

function drawPicture({ name = "…", why = "", given, split, width, height, ...more }, decision = {}) {
  const { probabilities = [], neighbours = [], copies = [], findings = [], history = [] } = more;
  const size = width ? `${width} × ${height}` : "";
  const badge = verdict(decision) ?? "";
  write(find("panel"), { name, why, given: className(given), badge, split: split ?? "", size });
  find("facts").dataset.action = decision.action ?? "";
  find("facts").classList.toggle("pending", Boolean(decision.pending));
  stage.firstChild.alt = name;
  list(find("classes"), classesShown(probabilities), (b, index) => drawClass(b, index, probabilities[index]));
  list(find("neighbours"), neighbours, drawThumb);
  list(find("copies"), copies.map((id) => ({ id })), drawThumb);
  list(find("findings"), findings, (item, text) => (item.textContent = text));
  list(find("history"), history, drawPast);
}

document.addEventListener("draw", () => {
  const { focus, selection, looking, items, pictures, decisions, order, at, place, server } = state;
  if (!items) return;
  flag({ some: focus !== null, looking: looking && focus !== null, selecting: selection.size > 0 });
  flag({ many: server.classes.length > DIGITS, away: !at.has(focus) && order.length > 0 });
  find("count").textContent = counted(selection.size, "picture");
  if (focus === null) return;
  lookAt(focus);
  showPicture(focus, order[place + 1]);
  drawPicture(pictures.get(focus) ?? {}, decisions.get(focus));
});

stage.addEventListener("mousedown", (event) => {
  event.preventDefault(); // the focus stays where it is
  dragged = 0;
});
stage.addEventListener("pointermove", ({ buttons, pointerType, movementX, movementY }) => {
  if (buttons !== 1 || pointerType !== "mouse") return;
  dragged += Math.abs(movementX) + Math.abs(movementY);
  stage.scrollBy(-movementX, -movementY);
});
stage.addEventListener("click", ({ clientX, clientY }) => {
  const { left, top, width, height } = stage.firstChild.getBoundingClientRect();
  if (dragged < 5) zoom((clientX - left) / width, (clientY - top) / height);
});
