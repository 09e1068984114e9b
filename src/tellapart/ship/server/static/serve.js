// The server's page: pictures that are chosen, dropped or pasted are sent one by one, and their answers shown.

import { showAnswer } from "/static/answer.js";

const MOST_CARDS = 40;
const MOST_TRIES = 4;
const AT_A_TIME = 2;
const KEY = "tellapart-token";
const SPLITS = {
  valid: "Validation pictures", test: "Test pictures", out_of_fold: "Pictures left out in turn",
};

const at = (id) => document.getElementById(id);
const waiting = [];
let running = 0;
let asked = null; // who waits for the token

function token() {
  return sessionStorage.getItem(KEY) ?? "";
}

/** A request with the token; where the server refuses it, the user is asked for one, as often as it takes. */
async function ask(path, options = {}) {
  for (;;) {
    const used = token();
    const headers = used ? { Authorization: `Bearer ${used}` } : {};
    const answer = await fetch(path, { ...options, headers });
    if (answer.status !== 401) return answer;
    if (used === token()) sessionStorage.removeItem(KEY);
    if (!token()) await newToken(used !== "");
  }
}

function newToken(refused) {
  if (refused) say("The server does not know this token.");
  if (asked === null) {
    asked = {};
    asked.promise = new Promise((resolve) => { asked.resolve = resolve; });
    at("token-form").hidden = false;
    at("token").value = "";
    at("token").focus();
  }
  return asked.promise;
}

at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, at("token").value.trim());
  say("");
  at("token-form").hidden = true;
  const before = asked;
  asked = null;
  before?.resolve();
});

function say(text) {
  at("notice").textContent = text;
}

function add(files) {
  say("");
  for (const file of files) {
    const card = made("article", "card");
    const picture = made("img", "picture");
    picture.alt = file.name ? `The picture ${file.name}` : "The picture that was pasted";
    picture.src = URL.createObjectURL(file);
    picture.addEventListener("error", () => { picture.hidden = true; });
    const place = made("div", "");
    place.setAttribute("role", "status");
    card.append(picture, place);
    at("answers").prepend(card);
    place.append(made("p", "soft", "Waiting for the answer …"));
    waiting.push({ file, place });
  }
  for (const card of [...at("answers").children].slice(MOST_CARDS)) {
    URL.revokeObjectURL(card.querySelector("img").src);
    card.remove();
  }
  work();
}

function work() {
  while (running < AT_A_TIME && waiting.length > 0) {
    const next = waiting.shift();
    running += 1;
    answer(next).finally(() => {
      running -= 1;
      work();
    });
  }
}

/** Send one picture and show what comes back; where the server has too much to do, again after a while. */
async function answer({ file, place }) {
  try {
    for (let tries = 1; ; tries += 1) {
      const form = new FormData();
      form.append("file", file, file.name || "pasted");
      const response = await ask("/v1/predict", { method: "POST", body: form });
      const content = await response.json();
      if (response.ok) {
        showAnswer(place, content.predictions[0]);
        return;
      }
      if (response.status !== 503 || tries === MOST_TRIES) {
        fail(place, content.error);
        return;
      }
      place.replaceChildren(made("p", "soft", "The server has much to do; it is asked again …"));
      const seconds = Number(response.headers.get("Retry-After")) || 1;
      await new Promise((resolve) => { setTimeout(resolve, 1000 * Math.min(seconds, 30)); });
    }
  } catch {
    fail(place, "The server does not answer. Is it still running?");
  }
}

function fail(place, text) {
  place.replaceChildren(made("p", "notice", text));
}

function pictures(transfer) {
  return [...(transfer?.files ?? [])];
}

at("file").addEventListener("change", () => {
  add(at("file").files);
  at("file").value = "";
});
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) at("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  const files = pictures(event.dataTransfer);
  if (files.length === 0) say("There was no file in what was dropped.");
  add(files);
});
document.addEventListener("paste", (event) => {
  const files = pictures(event.clipboardData);
  if (files.length > 0) add(files);
});

async function about() {
  const response = await ask("/v1/model");
  const model = await response.json();
  if (!response.ok) {
    say(model.error);
    return;
  }
  at("summary").textContent = summary(model);
  for (const name of model.classes) at("classes").append(made("li", "", name));
  for (const [split, found] of Object.entries(model.metrics)) {
    if (typeof found?.n === "number") fact(SPLITS[split] ?? split, measured(found));
  }
  if (model.backbone.name) fact("Network", model.backbone.name);
  if (model.backbone.licence) fact("Licence of its weights", model.backbone.licence);
  fact("Precision", model.precision);
  at("about").hidden = false;
}

function summary(model) {
  const n = model.classes.length;
  const shown = model.classes.slice(0, 5).join(", ");
  return `${model.name}: ${n} classes${n > 0 ? ` (${shown}${n > 5 ? ", …" : ""})` : ""}`;
}

function measured({ n, errors, accuracy, accuracy_low: low, accuracy_high: high }) {
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const between = typeof low === "number" ? `; 95 % interval ${percent(low)} to ${percent(high)}` : "";
  return `${percent(accuracy)} right: ${errors} errors in ${n} pictures${between}`;
}

function fact(name, text) {
  at("facts").append(made("dt", "", name), made("dd", "", text));
}

function made(tag, classes, text) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  if (text !== undefined) element.textContent = text;
  return element;
}

about().catch(() => say("The server does not answer. Is it still running?"));
