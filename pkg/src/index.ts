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
import { ChatCompletions, TextCompletions } from "./completions.js";
import { ClocheError } from "./errors.js";
import type { Probe, ProbeOptions } from "./probes.js";
import { Remote } from "./remote.js";
import { Run } from "./run.js";
import { Runs } from "./runs.js";
import { startWorker } from "./start.js";
import { Tokenizers } from "./tokenizers.js";
import type { Api, DeviceInfo, GrowEvent, GrowOptions, OpenOptions, SamplingOptions, Steer, TokenPiece } from "./protocol.js";
import type {
  DistillOptions,
  DpoOptions,
  Files,
  GrpoOptions,
  Message,
  PpoOptions,
  RewardOptions,
  SftOptions,
  TuneEvent,
} from "./tuning.js";

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
  TokenPiece,
} from "./protocol.js";
export type { NextToken, Probe, ProbeOptions, Spread } from "./probes.js";
export type { PastEvent, SaveEvent, SaveOptions } from "./keeping.js";
export { Run } from "./run.js";
export { Runs, type ResumeOptions, type StorageUsage } from "./runs.js";
export type { SavedRun } from "./storage.js";
export type * from "./completions.js";
export type * from "./tuning.js";
export {
  Tokenizers,
  TokenizerHandle,
  type MergeStep,
  type TokenizerProgress,
  type TokenizerTraining,
  type TokenTrace,
  type TracePiece,
  type TraceToken,
  type TrainStep,
  type TrainTrace,
} from "./tokenizers.js";

/** Where to compute, and where the pieces lie if not beside this file. */
export interface CreateOptions {
  /** `auto` takes WebGPU where the adapter is real hardware, else the CPU, which beats software adapters. */
  device?: OpenOptions["device"];
  /** The engine's wasm module. */
  wasmUrl?: string | URL;
  /** The wasm module that has the stages after pre-training too; it takes the engine's place when one is asked for. */
  teachWasmUrl?: string | URL;
  /** The tokenizer's wasm module. */
  textWasmUrl?: string | URL;
  /** The stories' wasm module. */
  storiesWasmUrl?: string | URL;
  /** The worker's script. */
  workerUrl?: string | URL;
  /** Starts the worker's script in another way; what it gives must be a worker of that script, as an ES module. */
  worker?: () => Worker;
  /** Gives up waiting for the engine. */
  signal?: AbortSignal;
}

/** A signal by which a page gives up what it has asked for. */
interface Abortable {
  signal?: AbortSignal;
}

/** A worker with an engine in it, and at most one model. */
export class Cloche {
  readonly #worker: Worker;
  readonly #remote: Remote<Api>;
  /** The device in use and why. */
  readonly device: DeviceInfo;
  /** The answer to a conversation, piece by piece; `chat.completions.create` gives it in OpenAI's shape. */
  readonly chat: Chat;
  /** What `save` has kept in the browser's own file system. */
  readonly runs: Runs;
  /** Continued texts in OpenAI's shape. */
  readonly completions: TextCompletions;
  /** Tokenizers apart from any model: to be trained, looked into and saved. */
  readonly tokenizers: Tokenizers;

  private constructor(worker: Worker, remote: Remote<Api>, device: DeviceInfo) {
    this.#worker = worker;
    this.#remote = remote;
    this.tokenizers = new Tokenizers(remote);
    this.device = device;
    this.runs = new Runs(remote);
    const answer = (messages: Message[], options: SamplingOptions & Abortable = {}) => {
      const { signal, ...sampling } = options;
      return this.#remote.stream("chat", { messages, ...sampling }, signal);
    };
    this.chat = Object.assign((...asked: Parameters<typeof answer>) => textOf(answer(...asked)), {
      completions: new ChatCompletions((messages, sampling, signal) => answer(messages, { ...sampling, ...(signal && { signal }) })),
    });
    this.completions = new TextCompletions((prompt, sampling, signal) =>
      this.generateTokens(prompt, { ...sampling, ...(signal && { signal }) }),
    );
  }

  /** Starts the worker, loads the engine and opens the device. */
  static async create(options: CreateOptions = {}): Promise<Cloche> {
    const worker = options.worker?.() ?? startWorker(options.workerUrl);
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
        teachWasmUrl: options.teachWasmUrl && String(options.teachWasmUrl),
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
  grow(options: GrowOptions & Abortable): Run<GrowEvent> {
    const { signal, ...settings } = options;
    return new Run(this.#remote, this.#remote.stream("grow", settings, signal));
  }

  /** Opens the model in the files of a Hugging Face folder, which takes the place of the one that is there. */
  load(files: Files): Promise<void> {
    return this.#remote.request("load", files);
  }

  /** Teaches the model to answer, from demonstrations. */
  sft(options: SftOptions & Abortable): Run<TuneEvent> {
    const { signal, ...settings } = options;
    return new Run(this.#remote, this.#remote.stream("sft", settings, signal));
  }

  /** Makes a reward model of a copy, from comparisons; it stands beside the model until the next one. */
  reward(options: RewardOptions & Abortable): Run<TuneEvent> {
    const { signal, ...settings } = options;
    return new Run(this.#remote, this.#remote.stream("reward", settings, signal));
  }

  /** Teaches the model what people prefer, from comparisons. */
  dpo(options: DpoOptions & Abortable): Run<TuneEvent> {
    const { signal, ...settings } = options;
    return new Run(this.#remote, this.#remote.stream("dpo", settings, signal));
  }

  /** Teaches the model by rewards for its answers, with a critic. */
  ppo(options: PpoOptions & Abortable): Run<TuneEvent> {
    const { signal, ...settings } = options;
    return new Run(this.#remote, this.#remote.stream("ppo", judged(settings), signal));
  }

  /** Teaches the model by rewards for groups of its answers. */
  grpo(options: GrpoOptions & Abortable): Run<TuneEvent> {
    const { signal, ...settings } = options;
    return new Run(this.#remote, this.#remote.stream("grpo", judged(settings), signal));
  }

  /** Teaches the model what another one thinks. */
  distill(options: DistillOptions & Abortable): Run<TuneEvent> {
    const { signal, ...settings } = options;
    return new Run(this.#remote, this.#remote.stream("distill", settings, signal));
  }

  /** Continues a text, piece by piece, also while the model is still growing. */
  generate(prompt: string, options: SamplingOptions & Abortable = {}): AsyncGenerator<string, void> {
    return textOf(this.generateTokens(prompt, options));
  }

  /** As `generate`, with each token and its log-probability. */
  generateTokens(prompt: string, options: SamplingOptions & Abortable = {}): AsyncGenerator<TokenPiece, void> {
    const { signal, ...sampling } = options;
    return this.#remote.stream("generate", { prompt, ...sampling }, signal);
  }

  /** Reads a text with the weights of this moment, also while the model is still growing, and shows what happens inside. */
  probe(text: string, options: ProbeOptions = {}): Promise<Probe> {
    return this.#remote.request("probe", { text, ...options });
  }

  /**
   * The model as a Hugging Face folder, or the adapter that has learnt beside it as one of PEFT's: each file's name and
   * bytes. With `judge` it is the reward model.
   */
  async export(options: { judge?: boolean } = {}): Promise<Files> {
    return new Map(Object.entries(await this.#remote.request("files", options)));
  }

  /** Ends the worker and frees all memory; whatever still runs is rejected. Doing it twice does no harm. */
  dispose(): void {
    this.#worker.terminate();
    this.#remote.fail(new ClocheError("DISPOSED", "dispose() has been called on this Cloche"));
  }
}

/** Answers a conversation. */
export interface Chat {
  (messages: Message[], options?: SamplingOptions & Abortable): AsyncGenerator<string, void>;
  completions: ChatCompletions;
}

async function* textOf(pieces: AsyncIterable<TokenPiece>): AsyncGenerator<string, void> {
  for await (const { text } of pieces) if (text !== "") yield text;
}

/** Options as they cross to the worker, where an address of the page means nothing. */
function judged<Options extends { verifier?: string | URL }>(options: Options): Options {
  if (options.verifier === undefined) return options;
  return { ...options, verifier: new URL(options.verifier, globalThis.location?.href).href };
}
