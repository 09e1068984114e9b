// Above the pictures: the queues, the error before and now, and what is not saved.

import { connection, unsaved } from "./api.js";
import { counted, find, flag, list, percent, write } from "./dom.js";
import { state, who } from "./state.js";

/** The queues with how many items are left; what was decided comes last. */
export function queues() {
  const left = Object.values(state.server.decided).reduce((sum, n) => sum + n, 0);
  return [...state.server.queues, { name: "decided", title: "Decided", why: "The latest is first.", left }];
}

/** The queues where something is left to do, and the one on show. */
export const toDo = () => queues().filter((q) => q.name === state.queue || (q.left && q.name !== "decided"));

function drawQueue(tab, { name, title, left }) {
  const current = String(name === state.queue);
  write(tab, { title, left: left.toLocaleString("en") });
  tab.dataset.value = name;
  if (current !== tab.ariaCurrent && current === "true") tab.scrollIntoView({ inline: "center" });
  tab.ariaCurrent = current;
}

function drawError({ before, now }) {
  const most = Math.max(before.high, now.high) || 1;
  for (const [id, { rate, low, high }] of Object.entries({ before, now })) {
    find(id).style.cssText = `--rate: ${rate / most}; --low: ${low / most}; --high: ${high / most}`;
    const interval = `${(100 * low).toFixed(1)}–${percent(high, 1)}`;
    write(find(id), { figure: percent(rate, 1), interval });
  }
  find("error").ariaLabel = find("error").title = `Before: ${before.sentence}. Now: ${now.sentence}.`;
}

function drawFilter(filter, { classes, class_counts: counts }) {
  if (document.activeElement === filter) return; // it may be open
  const options = classes.map((name, index) => new Option(`${name} (${counts[index]})`, index));
  filter.replaceChildren(new Option("All", ""), ...options);
  filter.value = state.filter;
}

function drawBanner({ trouble, waiting }) {
  const lost = waiting.length ? `Not saved yet: ${counted(unsaved(), "decision")}; trying again. ` : "";
  const denied = "This page is no longer let in: open the link that tellapart clean has printed anew.";
  const why = trouble === "denied" ? denied : "tellapart clean does not answer. Is it still running?";
  find("banner").textContent = trouble && lost + why;
}

document.addEventListener("draw", () => {
  drawBanner(connection);
  if (!state.server) return;
  const { data, pictures, training, error, note = "" } = state.server;
  const { why = "" } = queues().find(({ name }) => name === state.queue) ?? {};
  document.title = `${data} – tellapart clean`;
  write(document.body, { data, note, why, size: counted(pictures, "picture") });
  find("who").placeholder = who();
  list(find("queues"), queues(), drawQueue);
  drawFilter(find("filter"), state.server);
  drawError(error);
  flag({ training, empty: state.items?.length === 0, elsewhere: toDo().length > 1 });
});
