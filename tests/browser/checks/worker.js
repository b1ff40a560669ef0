import { runChecks } from "./list.js";

self.onmessage = async ({ data: only }) => {
  const engine = "/pkg/wasm/engine.js";
  for await (const outcome of runChecks(() => import(engine), undefined, only)) self.postMessage(outcome);
  self.postMessage("finished");
};
