import { runChecks } from "./list.js";
import { start } from "./start.js";

/** @param {unknown} reason */
const crash = (reason) => {
  self.postMessage({ name: "no crash", error: String(/** @type {any} */ (reason)?.message ?? reason), ms: 0 });
  self.postMessage("finished");
};
// A panic inside an asynchronous call of the engine ends up here; what it was asked never gets an answer.
self.addEventListener("error", (event) => crash(event.error ?? event.message));
self.addEventListener("unhandledrejection", (event) => crash(event.reason));

self.onmessage = async ({ data: only }) => {
  const load = (/** @type {string} */ file) => import(`/wasm/${file}`);
  for await (const outcome of runChecks(load, undefined, start, true, only)) self.postMessage(outcome);
  self.postMessage("finished");
};
