/** The worker as a thread of Node: what a page's worker finds in its global scope is put there first. */
import { readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { parentPort, workerData } from "node:worker_threads";

const port = parentPort!;
const overHttp = globalThis.fetch;

Object.assign(globalThis, {
  self: globalThis,
  location: new URL(import.meta.url),
  crossOriginIsolated: true,
  postMessage: (message: unknown, transfer: Transferable[] | StructuredSerializeOptions = []) =>
    port.postMessage(message, Array.isArray(transfer) ? transfer : transfer.transfer),
  addEventListener(type: string, listener: (event: object) => void) {
    if (type === "message") port.on("message", (data) => listener({ data }));
    if (type === "error") process.on("uncaughtException", (error) => listener({ error }));
    if (type === "unhandledrejection") process.on("unhandledRejection", (reason) => listener({ reason }));
  },
  // The modules ask for the files beside them, which Node does not fetch.
  async fetch(input: string | URL | Request, init?: RequestInit) {
    const url = String(input instanceof Request ? input.url : input);
    if (!url.startsWith("file:")) return overHttp(input, init);
    return new Response(await readFile(new URL(url)), { headers: { "content-type": "application/wasm" } });
  },
});

const webgpu = (workerData as { webgpu: boolean }).webgpu && (await openWebgpu());
provide("navigator", { ...(webgpu && { gpu: webgpu }), hardwareConcurrency: availableParallelism() });
await import("./worker.js");

/** Dawn, where npm's `webgpu` is installed. wgpu asks whether the global object is a Window before it looks for it. */
async function openWebgpu(): Promise<object | undefined> {
  const name = "webgpu";
  const dawn = (await import(/* @vite-ignore */ name).catch(() => undefined)) as
    | { create(flags: string[]): object; globals: object }
    | undefined;
  if (!dawn) return undefined;
  class Window {
    static [Symbol.hasInstance](value: unknown): boolean {
      return value === globalThis;
    }
  }
  Object.assign(globalThis, dawn.globals, { Window });
  return dawn.create([]);
}

/** In the place of what Node may have itself. */
function provide(name: string, value: unknown): void {
  Object.defineProperty(globalThis, name, { value, configurable: true });
}
