/** The checks in Node: npm's `webgpu` gives it Dawn, and a shim makes the engine believe in a window. */
import { readFile } from "node:fs/promises";
import { create } from "webgpu";
import { runChecks } from "./list.js";
import { start } from "./node-start.js";

// wgpu asks whether the global object is a Window or a WorkerGlobalScope before it looks for navigator.gpu.
class Window {
  static [Symbol.hasInstance](/** @type {unknown} */ value) {
    return value === globalThis;
  }
}
Object.assign(globalThis, { Window });
Object.defineProperty(globalThis, "navigator", { value: { gpu: create([]) }, configurable: true });

// A panic inside an asynchronous call of the engine ends up here; what it was asked never gets an answer.
process.on("uncaughtException", (error) => {
  process.stdout.write(JSON.stringify({ name: "no crash", error: error.message, ms: 0 }) + "\n", () => process.exit(0));
});

const folder = new URL("../../../target/wasm-checks/", import.meta.url);
/** @param {string} file */
const load = (file) => import(new URL(file, folder).href);
// Node has it from version 22 on.
const relaxed = parseInt(process.versions.node) >= 22;
const bytes = new Uint8Array(await readFile(new URL("engine_bg.wasm", folder)));
for await (const outcome of runChecks(load, bytes, start, relaxed, process.argv[2] ?? "")) {
  process.stdout.write(JSON.stringify(outcome) + "\n");
}
// Dawn keeps the process alive as long as anything refers to it.
process.exit(0);
