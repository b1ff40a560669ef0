/** The wasm modules, each loaded when it is first needed. */
import { ClocheError } from "./errors.js";
import type { OpenOptions } from "./protocol.js";
import { fuse, type Products } from "./wasm/gemm.js";

/** Where they lie, if not beside this file. */
type Places = Pick<OpenOptions, "wasmUrl" | "teachWasmUrl" | "textWasmUrl" | "storiesWasmUrl">;

/** What a module with an engine in it offers. */
interface WithProducts extends Products {
  default(options?: { module_or_path: string }): Promise<{ memory: WebAssembly.Memory }>;
}

export class Modules {
  /** The memory of those that have been loaded. */
  readonly #memories = new Set<WebAssembly.Memory>();
  /** Set once, before anything is loaded. */
  places: Places = {};

  /** The engine. */
  engine(): Promise<typeof import("./wasm/engine.js")> {
    return loading(async () => this.#ready(await import("./wasm/engine.js"), this.places.wasmUrl));
  }

  /** The engine with the stages after pre-training, and what looks inside models. */
  teach(): Promise<typeof import("./wasm/teach.js")> {
    return loading(async () => this.#ready(await import("./wasm/teach.js"), this.places.teachWasmUrl));
  }

  /** Tokenizers. */
  text(): Promise<typeof import("./wasm/text.js")> {
    return loading(async () => {
      const text = await import("./wasm/text.js");
      this.#memories.add((await text.default(at(this.places.textWasmUrl))).memory);
      return text;
    });
  }

  /** Stories, lessons and tasks. */
  stories(): Promise<typeof import("./wasm/stories.js")> {
    return loading(async () => {
      const stories = await import("./wasm/stories.js");
      this.#memories.add((await stories.default(at(this.places.storiesWasmUrl))).memory);
      return stories;
    });
  }

  /** Bytes of all memory that the modules have. */
  get bytes(): number {
    return [...this.#memories].reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
  }

  /** Starts a module, and has it compute products with fused multiply-add where the browser can. */
  async #ready<Module extends WithProducts>(module: Module, url: string | undefined): Promise<Module> {
    const { memory } = await module.default(at(url));
    this.#memories.add(memory);
    await fuse(module, memory);
    return module;
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
