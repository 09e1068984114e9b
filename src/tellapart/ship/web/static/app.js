// The page: takes a picture from a camera, a file, a drop or the clipboard; shows what the worker answers.

import { showAnswer } from "./answer.js";
import { watchCamera } from "./camera.js";
import { Unusable, sizeOf } from "./picture.js";
import { refused } from "./verdict.js";

const find = (id) => document.getElementById(id);
const base = new URL("./", import.meta.url).href;

let worker = null;
let ready = false;
let busy = false;
let latest = 0; // the number of the picture that is asked about; answers on earlier ones are not shown
let waiting = null;

/** Begin anew with a worker: at first, and after one that came to grief. */
function start() {
  worker?.terminate();
  [ready, busy] = [false, false];
  trouble("");
  find("loading").hidden = false;
  worker = new Worker(new URL("worker.js", base), { type: "module" });
  worker.onmessage = ({ data }) => heard[data.kind](data);
  worker.onerror = () => heard.failed({ text: "The model cannot run in this browser; a newer one can." });
  worker.postMessage({ kind: "load", base });
}

const heard = {
  progress({ bytes, total }) {
    const [now, all] = [bytes, total].map((n) => (n / 1e6).toFixed(0));
    find("progress").value = bytes / total;
    const loading = `Loading the model: ${now} of ${all} MB`;
    find("loading-text").textContent = bytes < total ? loading : "Starting the model …";
  },
  ready({ milliseconds }) {
    ready = true;
    find("loading").hidden = true;
    document.body.dataset.ready = String(milliseconds);
    next();
    keepForLater();
  },
  failed({ text }) {
    find("loading").hidden = true;
    trouble(text);
  },
  answer({ id, answer, milliseconds, broken }) {
    busy = false;
    if (id === latest) show(answer, milliseconds);
    if (broken) start();
    else next();
  },
};

function trouble(text) {
  find("trouble").textContent = text;
  find("again").hidden = text === "";
}

/** Ask about a picture; while another is computed, the last one chosen waits. */
async function ask(blob, path) {
  const id = (latest += 1);
  preview(blob);
  find("answer").replaceChildren("Looking …");
  find("took").textContent = "";
  find("result").hidden = false;
  try {
    await sizeOf(blob);
  } catch (error) {
    if (!(error instanceof Unusable)) throw error;
    if (id === latest) show(refused(path, error.message));
    return;
  }
  if (id !== latest) return;
  waiting = { kind: "ask", id, blob, path };
  next();
}

function next() {
  if (!ready || busy || waiting === null) return;
  busy = true;
  worker.postMessage(waiting);
  waiting = null;
}

function show(answer, milliseconds) {
  showAnswer(find("answer"), answer);
  find("answer").dataset.done = String(latest);
  if (answer.error !== null) find("picture").hidden = true;
  const took = milliseconds === undefined ? "" : `Answered on this device in ${milliseconds.toFixed(0)} ms.`;
  find("took").textContent = took;
  find("took").dataset.milliseconds = String(milliseconds ?? "");
  find("result").scrollIntoView({ block: "nearest" });
}

function preview(blob) {
  const image = find("picture");
  URL.revokeObjectURL(image.src);
  image.hidden = true;
  image.onload = () => (image.hidden = find("answer").querySelector(".answer-error") !== null);
  image.src = URL.createObjectURL(blob);
}

function askAbout(files) {
  const file = [...files].find((one) => one.type.startsWith("image/")) ?? files[0];
  if (file) ask(file, file.name);
}

function takePictures() {
  for (const id of ["take", "choose"]) {
    find(id).addEventListener("change", ({ target }) => {
      askAbout(target.files);
      target.value = ""; // the same file may be chosen again
    });
  }
  watchCamera(find("take"), (blob) => ask(blob, ""));
  document.addEventListener("paste", ({ clipboardData }) => askAbout(clipboardData.files));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });
  document.addEventListener("dragleave", ({ relatedTarget }) => {
    if (relatedTarget === null) document.body.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    askAbout(event.dataTransfer.files);
  });
}

/** Keep all of the page for when there is no network; a new version is taken when the page is loaded next. */
async function keepForLater() {
  if (!("serviceWorker" in navigator)) return;
  try {
    await navigator.serviceWorker.register(new URL("sw.js", base));
    await navigator.serviceWorker.ready;
    find("offline").textContent = "It is kept on this device now, and works without a network.";
    document.body.dataset.kept = "";
  } catch {
    find("offline").textContent = "This browser does not keep it: it needs a network.";
  }
}

find("again").addEventListener("click", start);
takePictures();
start();
