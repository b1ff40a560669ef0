/** Runs the checks in a worker, as the product does, and keeps each outcome where the test's driver reads it. */
import { help } from "./help.js";

const worker = new Worker("worker.js", { type: "module" });
/** @type {import("./list.js").Outcome[]} */
const outcomes = [];
let finished = false;
worker.onmessage = ({ data }) => {
  if (data === "finished") finished = true;
  else if ("task" in data) help(data);
  else outcomes.push(data);
};
worker.onerror = (event) => {
  outcomes.push({ name: "worker", error: event.message || "the worker could not be loaded", ms: 0 });
  finished = true;
};
worker.postMessage(new URLSearchParams(location.search).get("only") ?? "");
Object.assign(globalThis, { takeOutcomes: () => ({ outcomes: outcomes.splice(0), finished }) });
