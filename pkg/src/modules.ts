/** The wasm modules, each loaded when it is first needed. */
import { ClocheError } from "./errors.js";
import type { Began, Wanted } from "./crew.js";
import { recall } from "./kernels.js";
import type { OpenOptions } from "./protocol.js";
import type { Engine as PlainEngine } from "./wasm/engine.js";
import { fuse, type Products } from "./wasm/gemm.js";
import { Threads, type Exports, type Shared, type Task } from "./wasm/threads.js";

/** Where they lie, if not beside this file, and how many threads they may have. */
type Places = Omit<OpenOptions, "device">;

/** What a module with an engine in it offers. */
interface WithEngine<Engine> extends Products, Shared {
  default(options?: { module_or_path?: string; opening?: Threads["open"] }): Promise<Exports>;
  Engine: { open(kind: OpenOptions["device"]): Promise<Engine> };
}

/** More threads than these gain little on models that fit into a page. */
const MOST_THREADS = 8;

export class Modules {
  /** The memory of those that have been loaded. */
  readonly #memories = new Set<WebAssembly.Memory>();
  /** What has been loaded, or is being. */
  readonly #loaded = new Map<string, Promise<unknown>>();
  /** How threads begin to work in a module's memory. */
  readonly #employ = new Map<object, () => Promise<void>>();
  #places: Places = {};

  /** Said once, before anything is loaded. @throws `SETTINGS` */
  set places(places: Places) {
    const { threads = 1 } = places;
    if (!Number.isInteger(threads) || threads < 1 || threads > 64) {
      throw new ClocheError("SETTINGS", `threads: found ${threads}, expected a whole number from 1 to 64`);
    }
    this.#places = places;
  }

  /** The engine. */
  engine(): Promise<typeof import("./wasm/engine.js")> {
    return this.#once("engine", async () => this.#ready(await import("./wasm/engine.js"), this.#places.wasmUrl));
  }

  /** The engine with the stages after pre-training, and what looks inside models. */
  teach(): Promise<typeof import("./wasm/teach.js")> {
    return this.#once("teach", async () => this.#ready(await import("./wasm/teach.js"), this.#places.teachWasmUrl));
  }

  /**
   * Opens a device. The CPU's work is shared among threads from then on, where the page can have some; a graphics device uses the
   * kernels that were found to be its fastest.
   */
  async device<Engine extends PlainEngine>(module: WithEngine<Engine>, kind: OpenOptions["device"]): Promise<Engine> {
    const engine = await module.Engine.open(kind);
    if (engine.describe().kind === "cpu") {
      const employ = this.#employ.get(module);
      this.#employ.delete(module);
      // Without them it works as well.
      await employ?.().catch(() => {});
    } else {
      await recall(engine);
    }
    return engine;
  }

  /** Tokenizers. */
  text(): Promise<typeof import("./wasm/text.js")> {
    return this.#once("text", async () => {
      const text = await import("./wasm/text.js");
      this.#memories.add((await text.default(at(this.#places.textWasmUrl))).memory);
      return text;
    });
  }

  /** Stories, lessons and tasks. */
  stories(): Promise<typeof import("./wasm/stories.js")> {
    return this.#once("stories", async () => {
      const stories = await import("./wasm/stories.js");
      this.#memories.add((await stories.default(at(this.#places.storiesWasmUrl))).memory);
      return stories;
    });
  }

  /** Bytes of all memory that the modules have. */
  get bytes(): number {
    return [...this.#memories].reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
  }

  /** Loads what has not been loaded yet; what could not be is tried again. */
  #once<Module>(name: string, load: () => Promise<Module>): Promise<Module> {
    const begun = (this.#loaded.get(name) as Promise<Module> | undefined) ?? loading(load);
    this.#loaded.set(name, begun);
    begun.catch(() => this.#loaded.delete(name));
    return begun;
  }

  /** Starts a module, and has it compute products by relaxed SIMD where the browser can. */
  async #ready<Module extends WithEngine<object>>(module: Module, url: string | undefined): Promise<Module> {
    const { threads = Math.min(navigator.hardwareConcurrency, MOST_THREADS) } = this.#places;
    const shared = threads > 1 && globalThis.crossOriginIsolated ? new Threads() : undefined;
    const exports = await module.default({ ...at(url), ...(shared && { opening: (source) => shared.open(source) }) });
    this.#memories.add(exports.memory);
    const gemm = await fuse(module, exports.memory);
    if (shared) this.#employ.set(module, () => shared.employ(module, exports, gemm, threads, start));
    return module;
  }
}

/**
 * Asks the page for a thread: the worker's own script again, which is where it was, whatever has become of its name; resolves when it
 * begins.
 */
function start(task: Task): Promise<void> {
  return new Promise((resolve, reject) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = ({ data: { failed } }: MessageEvent<Began>) => {
      port1.close();
      if (failed === undefined) resolve();
      else reject(new Error(failed));
    };
    const thread: Wanted = { task, script: location.href, type: ownType(), answer: port2 };
    postMessage({ thread }, { transfer: [port2] });
  });
}

/** How this worker was started: a bundler may have made a classic one of it, in which alone scripts can be imported like this. */
function ownType(): WorkerType {
  try {
    (globalThis as { importScripts?(): void }).importScripts!();
    return "classic";
  } catch {
    return "module";
  }
}

function at(url: string | undefined): { module_or_path: string } | undefined {
  return url ? { module_or_path: url } : undefined;
}

/** What the network or the content-security policy says becomes one kind of error. */
async function loading<T>(load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    throw new ClocheError("LOAD_FAILED", error instanceof Error ? error.message : String(error));
  }
}
