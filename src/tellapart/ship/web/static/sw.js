// Keeps all of one version of the page, so that it works without a network. What is kept is never mixed with
// another version: each has a place of its own, named after its contents, and every file its digest.

const SITE = "SITE";
const SCOPE = self.registration.scope;
const PREFIX = `tellapart ${SCOPE} `;
const PLACE = PREFIX + SITE.version;

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));
self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET") event.respondWith(answer(event.request));
});

async function install() {
  const kept = await caches.open(PLACE);
  for (const file of SITE.files) {
    const url = new URL(file.path, SCOPE).href;
    if (await kept.match(url)) continue; // the page has loaded and checked it
    const options = { cache: "no-cache", integrity: file.integrity, referrerPolicy: "no-referrer" };
    const response = await fetch(url, options);
    if (!response.ok) throw new Error(`${file.path}: status ${response.status}`);
    await kept.put(url, response);
  }
  const page = await fetch(SCOPE, { cache: "no-cache" }); // no digest: some servers add to it
  if (!page.ok || page.redirected) throw new Error(`the page: status ${page.status}`);
  await kept.put(SCOPE, page);
  await self.skipWaiting();
}

async function activate() {
  const old = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== PLACE);
  await Promise.all(old.map((name) => caches.delete(name)));
  await self.clients.claim();
}

async function answer(request) {
  const kept = await caches.open(PLACE);
  return (await kept.match(place(request), { ignoreVary: true })) ?? fetch(request);
}

/** The page itself has two addresses, and whatever stands behind a question mark. */
function place(request) {
  const url = new URL(request.url);
  const here = url.origin + url.pathname;
  return request.mode === "navigate" && (here === SCOPE || here === `${SCOPE}index.html`) ? SCOPE : request.url;
}
