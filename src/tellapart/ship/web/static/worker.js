// The computing, away from the page so that it never stands still: fetches the model and the runtime, checks
// that they are those the page was made with, and answers one picture at a time.

import { Unreachable, received, whyNot } from "./download.js";
import { Unusable, pixelsOf } from "./picture.js";
import { judge, refused } from "./verdict.js";

let site, ort, session;

const asked = {
  async load({ base }) {
    const began = performance.now();
    try {
      site = await described(base);
      const [script, binary, model] = await parts(base);
      ort = await imported(script, base);
      ort.env.wasm.numThreads = 1; // more need headers that servers of files do not send
      ort.env.wasm.wasmBinary = binary.buffer;
      session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
      await run({ data: new Uint8Array(64 * 64 * 3), width: 64, height: 64 }); // the first one is slow
      postMessage({ kind: "ready", milliseconds: performance.now() - began });
    } catch (error) {
      postMessage({ kind: "failed", text: error instanceof Unreachable ? error.message : cannotRun(error) });
    }
  },

  async ask({ id, blob, path }) {
    const began = performance.now();
    try {
      const pixels = await pixelsOf(blob, site.shorter_side);
      const answer = await answered(path, pixels);
      postMessage({ kind: "answer", id, answer, milliseconds: performance.now() - began });
    } catch (error) {
      const broken = !(error instanceof Unusable); // the runtime is not to be used after that
      const text = broken ? `cannot be computed (${brief(error)})` : error.message;
      postMessage({ kind: "answer", id, answer: refused(path, text), broken });
    }
  },
};

self.onmessage = ({ data }) => asked[data.kind](data);

/** model.json, newer than what the browser may have kept of it. */
async function described(base) {
  const response = await fetch(new URL("model.json", base), { cache: "no-cache" }).catch(() => null);
  if (!response?.ok) throw new Unreachable(whyNot("model.json", response));
  return response.json();
}

async function parts(base) {
  const files = [site.script, site.wasm, site.model];
  const total = files.reduce((sum, file) => sum + file.bytes, 0);
  let bytes = 0;
  const more = (n) => postMessage({ kind: "progress", bytes: (bytes += n), total });
  return Promise.all(files.map((file) => received(file, base, site.version, more)));
}

/** The runtime as a module; one of another server from the very bytes that were checked. */
async function imported(script, base) {
  const place = new URL(site.script.path, base);
  if (place.origin === self.location.origin) return import(place.href);
  const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  try {
    return await import(url);
  } finally {
    URL.revokeObjectURL(url);
  }
}

async function run({ data, width, height }) {
  const names = site.rule.strange_from === null ? ["probabilities"] : ["probabilities", "novelty"];
  return session.run({ image: new ort.Tensor("uint8", data, [height, width, 3]) }, names);
}

async function answered(path, pixels) {
  const values = await run(pixels);
  const probabilities = [...values.probabilities.data];
  if (!probabilities.every(Number.isFinite)) {
    throw new Unusable("no features (the network's answer is not a finite number)");
  }
  const novelty = values.novelty === undefined ? null : values.novelty.data[0];
  return judge(path, site.classes, probabilities, novelty, site.rule);
}

function cannotRun(error) {
  return `The model cannot run in this browser (${brief(error)}).`;
}

function brief(error) {
  return String(error.message ?? error).slice(0, 200);
}
