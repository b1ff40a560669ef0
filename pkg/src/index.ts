/**
 * Grow a language model in a browser tab.
 *
 * Importing this module touches nothing: no `window`, no `Worker`, no network. `Cloche.create` starts one worker, which
 * owns the engine and the device; the page only talks to it.
 *
 * @example
 * const cloche = await Cloche.create();
 * for await (const event of cloche.grow({ data: "stories", steps: 300 })) {
 *   if (event.event === "step") console.log(event.step, event.loss);
 * }
 * for await (const piece of cloche.generate("Once upon a time")) console.log(piece);
 * cloche.dispose();
 */
import { ClocheError } from "./errors.js";
import { Remote } from "./remote.js";
import type { Api, DeviceInfo, GrowEvent, GrowOptions, OpenOptions, SamplingOptions, Steer } from "./protocol.js";

export { ClocheError, type ErrorCode } from "./errors.js";
export type {
  DeviceInfo,
  DeviceKind,
  GrowEvent,
  GrowOptions,
  Hyperparameters,
  Preset,
  SamplingOptions,
  Start,
} from "./protocol.js";

/** Where to compute, and where the pieces lie if not beside this file. */
export interface CreateOptions {
  /** `auto` takes WebGPU where the adapter is real hardware, else the CPU, which beats software adapters. */
  device?: OpenOptions["device"];
  /** The engine's wasm module. */
  wasmUrl?: string | URL;
  /** The tokenizer's wasm module. */
  textWasmUrl?: string | URL;
  /** The stories' wasm module. */
  storiesWasmUrl?: string | URL;
  /** The worker's script; it must have the page's origin. */
  workerUrl?: string | URL;
  /** Gives up waiting for the engine. */
  signal?: AbortSignal;
}

/** A worker with an engine in it, and at most one model. */
export class Cloche {
  readonly #worker: Worker;
  readonly #remote: Remote<Api>;
  /** The device in use and why. */
  readonly device: DeviceInfo;

  private constructor(worker: Worker, remote: Remote<Api>, device: DeviceInfo) {
    this.#worker = worker;
    this.#remote = remote;
    this.device = device;
  }

  /** Starts the worker, loads the engine and opens the device. */
  static async create(options: CreateOptions = {}): Promise<Cloche> {
    // Written out in one expression, because that is what bundlers look for.
    const worker = options.workerUrl
      ? new Worker(options.workerUrl, { type: "module" })
      : new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    const remote = new Remote<Api>(worker);
    worker.onerror = (event) => {
      remote.fail(new ClocheError("LOAD_FAILED", event.message || "the worker's script could not be loaded"));
    };
    const abort = () => remote.fail(new ClocheError("ABORTED", "stopped by the caller"));
    options.signal?.addEventListener("abort", abort);
    try {
      options.signal?.throwIfAborted();
      const device = await remote.request("open", {
        device: options.device ?? "auto",
        wasmUrl: options.wasmUrl && String(options.wasmUrl),
        textWasmUrl: options.textWasmUrl && String(options.textWasmUrl),
        storiesWasmUrl: options.storiesWasmUrl && String(options.storiesWasmUrl),
      });
      return new Cloche(worker, remote, device);
    } catch (error) {
      worker.terminate();
      throw error;
    } finally {
      options.signal?.removeEventListener("abort", abort);
    }
  }

  /** Trains a tokenizer and a model. Nothing happens before the first event is asked for. */
  grow(options: GrowOptions & { signal?: AbortSignal }): Run {
    const { signal, ...settings } = options;
    return new Run(this.#remote.stream("grow", settings, signal), (action) => this.#remote.request("steer", action));
  }

  /** Continues a text, piece by piece, also while the model is still growing. */
  generate(prompt: string, options: SamplingOptions & { signal?: AbortSignal } = {}): AsyncGenerator<string, void> {
    const { signal, ...sampling } = options;
    return this.#remote.stream("generate", { prompt, ...sampling }, signal);
  }

  /** The model as a Hugging Face folder: each file's name and bytes. */
  async export(): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
    return new Map(Object.entries(await this.#remote.request("files", {})));
  }

  /** Ends the worker and frees all memory; whatever still runs is rejected. Doing it twice does no harm. */
  dispose(): void {
    this.#worker.terminate();
    this.#remote.fail(new ClocheError("DISPOSED", "dispose() has been called on this Cloche"));
  }
}

/** A run under way: an async iterable of events, and its reins. */
export class Run implements AsyncIterable<GrowEvent> {
  readonly #events: AsyncGenerator<GrowEvent, void, void>;
  readonly #steer: (action: Steer) => Promise<void>;

  /** Made by `Cloche.grow`. */
  constructor(events: AsyncGenerator<GrowEvent, void, void>, steer: (action: Steer) => Promise<void>) {
    this.#events = events;
    this.#steer = steer;
  }

  /** Holds the run after the step it is at; the model can be sampled and saved meanwhile. */
  pause(): Promise<void> {
    return this.#steer("pause");
  }

  /** Goes on after `pause`. */
  resume(): Promise<void> {
    return this.#steer("resume");
  }

  /** Ends the run after the step it is at, as if that were the last: `done` follows, the model stays. */
  stop(): Promise<void> {
    return this.#steer("stop");
  }

  /** The events, once: leaving the loop early gives the run up. */
  [Symbol.asyncIterator](): AsyncGenerator<GrowEvent, void, void> {
    return this.#events;
  }
}
