// One file of the page, fetched with progress and checked to be the one that the page was made with. What was
// fetched is put where the service worker looks for it, so that nothing is loaded twice.

/** A file that cannot be had; its message is a sentence for people. */
export class Unreachable extends Error {}

/** Why a file cannot be had: `response` is that of the server, or null where there was none. */
export function whyNot(path, response) {
  if (response === null) return `${nameOf(path)} could not be loaded. Is there a network? Then try again.`;
  return `${nameOf(path)} is not on the server (status ${response.status}). Was the whole folder put there?`;
}

/**
 * The bytes of `file`, `{path, bytes, integrity}`, Uint8Array. `more(n)` is told of every n bytes.
 *
 * Throws Unreachable where it cannot be had, or is another one.
 */
export async function received(file, base, version, more) {
  const url = new URL(file.path, base).href;
  let content = await read(file, url, "default", more);
  if (!(await isRight(content, file))) {
    content = await read(file, url, "reload", () => {}); // the browser had kept an old one
    if (!(await isRight(content, file))) throw new Unreachable(otherThanMeant(file.path));
  }
  await keep(url, content, base, version);
  return content;
}

async function read(file, url, cache, more) {
  // Outside of https there is no crypto: the browser checks then, and reads all before it gives a byte.
  const integrity = self.crypto?.subtle ? "" : file.integrity;
  const options = { cache, integrity, referrerPolicy: "no-referrer" };
  const response = await fetch(url, options).catch(() => null);
  if (!response?.ok) throw new Unreachable(whyNot(file.path, response));
  const content = new Uint8Array(file.bytes);
  let at = 0;
  try {
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      if (at + value.length > content.length) return new Uint8Array(0); // another file
      content.set(value, at);
      at += value.length;
      more(value.length);
    }
  } catch {
    throw new Unreachable(whyNot(file.path, null));
  }
  return at === content.length ? content : new Uint8Array(0);
}

async function isRight(content, file) {
  if (content.length !== file.bytes) return false;
  if (!self.crypto?.subtle) return true;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-384", content));
  return `sha384-${btoa(String.fromCharCode(...digest))}` === file.integrity;
}

async function keep(url, content, base, version) {
  if (!self.caches) return;
  try {
    const kept = await caches.open(`tellapart ${base} ${version}`);
    if (!(await kept.match(url))) await kept.put(url, new Response(content, { headers: typeOf(url) }));
  } catch {
    // No room: it is fetched again next time.
  }
}

function otherThanMeant(path) {
  return `${nameOf(path)} is not the one that this page was made with. Load the page again.`;
}

function nameOf(path) {
  return path.split("/").at(-1);
}

function typeOf(url) {
  return url.endsWith("js") ? { "content-type": "text/javascript" } : {};
}
