// The page begins here: its parts listen and draw, and the server is asked.

import "./header.js";
import "./keys.js";
import { unsaved } from "./api.js";
import { find } from "./dom.js";
import { state } from "./state.js";
import { openQueue, poll } from "./sync.js";

find("who").value = localStorage.getItem("who") ?? "";
find("who").addEventListener("change", ({ target }) => localStorage.setItem("who", target.value.trim()));
find("filter").addEventListener("change", ({ target }) => openQueue(state.queue, target.value));
document.addEventListener("visibilitychange", () => document.hidden || poll());
window.addEventListener("beforeunload", (event) => unsaved() && event.preventDefault());
poll();
find("grid").focus();
