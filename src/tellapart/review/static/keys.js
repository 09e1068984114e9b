// What can be done, by which key or button. Keys and buttons name a command and its value in index.html.

import { ask } from "./api.js";
import { find } from "./dom.js";
import { inNextRow } from "./grid.js";
import { toDo } from "./header.js";
import { zoom } from "./panel.js";
import { draw, focusOn, isOpen, MOST, redraw, say, state, step } from "./state.js";
import { decide, openQueue, undo } from "./sync.js";

const grid = find("grid");
const typed = find("typed");

const commands = {
  decide: (action) => decide(action),
  relabel(index, _, key) {
    const label = Number(index ?? key - 1);
    typed.value = "";
    if (label < state.server.classes.length) decide("relabel", label);
  },
  step: (by, extend) => step(Number(by), extend),
  row: (by, extend) => focusOn(inNextRow(Number(by)) ?? state.focus, extend),
  show: (id) => focusOn(Number(id)),
  open: (queue) => openQueue(queue),
  zoom: () => zoom(),
  undo,
  help: () => find("help").showModal(),
  rank: () => ask("/api/rank", { body: {} }).catch((error) => say(error.message)),
  select(id = state.focus) {
    const { selection } = state;
    if (!selection.delete(id) && id !== null && selection.size < MOST) selection.add(id);
    state.anchor = id;
  },
  all: () => (state.selection = new Set(state.order.filter(isOpen).slice(0, MOST))),
  find() {
    state.looking = true;
    draw();
    for (const place of [find("classes").querySelector("button"), typed]) place.focus(); // if it is there
  },
  queue() {
    const names = toDo().map(({ name }) => name);
    openQueue(names[(names.indexOf(state.queue) + 1) % names.length]);
  },
  leave() {
    if (document.body.classList.contains("zoomed")) zoom();
    else if (state.selection.size) state.selection.clear();
    else state.looking = false;
  },
};

function run(command, value, extend, key) {
  commands[command](value, extend, key);
  redraw();
}

/** The key as index.html writes it: letters as they stand on the key where they are not Latin. */
function keyOf({ key, code, ctrlKey, metaKey }) {
  const letter = code.startsWith("Key") && /^[^\x20-\x7e]$/.test(key) ? code.slice(3) : key;
  const name = letter === " " ? "Space" : letter.length === 1 ? letter.toUpperCase() : letter;
  return ctrlKey || metaKey ? `Ctrl+${name}` : name;
}

document.addEventListener("keydown", (event) => {
  const { target, altKey, shiftKey, repeat, isComposing } = event;
  const key = isComposing ? "" : keyOf(event);
  const { command, value } = document.querySelector(`[data-keys~="${CSS.escape(key)}"]`)?.dataset ?? {};
  if (target === typed && key === "Enter") find("classes").querySelector("button")?.click();
  if (target.closest("input, select") && ["Enter", "Escape"].includes(key)) grid.focus();
  if (target.closest(".zoomed #stage") && key.startsWith("Arrow")) return; // it scrolls
  const presses = target.closest("button") && ["Enter", "Space"].includes(key);
  if (presses || altKey || !command || !state.items || target.closest("input, select, dialog")) return;
  event.preventDefault();
  if (!repeat || command === "step" || command === "row") run(command, value, shiftKey, key);
});

document.addEventListener("click", ({ target, detail, ctrlKey, metaKey, shiftKey }) => {
  const button = target.closest("[data-do]");
  const id = Number(target.closest(".card")?.dataset.id ?? -1);
  if (button) run(button.dataset.do, button.dataset.value);
  if (button && detail) button.blur(); // pressed by the mouse: the next Enter or Space is not for it
  if (id < 0) return;
  if (target.closest(".tick") || ctrlKey || metaKey) return run("select", id);
  state.looking = !shiftKey;
  focusOn(id, shiftKey);
});

typed.addEventListener("input", draw);
