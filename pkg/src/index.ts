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
import { Crew, type Wanted } from "./crew.js";
import type { KernelsProgress, KernelsTuned } from "./kernels.js";
import { gathered, isAtHand, type Sourced } from "./data.js";
import { ClocheError } from "./errors.js";
import { Models, opened, Speaker, type Abortable, type LoadOptions, type ModelInfo, type ModelSource } from "./models.js";
import { Remote } from "./remote.js";
import { Run } from "./run.js";
import { Runs } from "./runs.js";
import { startWorker } from "./start.js";
import type { StageName, StageOptions } from "./teaching.js";
import { Tokenizers } from "./tokenizers.js";
import type { Api, DeviceInfo, Estimate, EstimateOptions, GrowEvent, GrowOptions, MemoryInUse, OpenOptions, StageEstimate } from "./protocol.js";
import type {
  DistillOptions,
  DpoOptions,
  Files,
  GrpoOptions,
  PpoOptions,
  RewardOptions,
  SftOptions,
  TuneEvent,
} from "./tuning.js";

export type { Sourced, Streamed } from "./data.js";
export { ClocheError, type ErrorCode } from "./errors.js";
export type { DownloadProgress } from "./downloads.js";
export {
  Model,
  Models,
  type Abortable,
  type Answer,
  type AskManyOptions,
  type AskOptions,
  type Chat,
  type CopyOptions,
  type CreateModelOptions,
  type LoadOptions,
  type ModelInfo,
  type ModelSource,
  type Speaker,
} from "./models.js";
export type {
  DeviceInfo,
  DeviceKind,
  Estimate,
  EstimateOptions,
  GrowEvent,
  GrowOptions,
  Hyperparameters,
  MemoryInUse,
  Preset,
  Profile,
  SamplingOptions,
  StageEstimate,
  Start,
  TokenPiece,
} from "./protocol.js";
export type { KernelsProgress, KernelsTuned } from "./kernels.js";
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
  /**
   * The most threads that the CPU device may use, in a page that is cross-origin isolated, and in Node: as many as there are
   * processors, up to 8, if it is not given. Results do not depend on it.
   */
  threads?: number;
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

/**
 * A worker with an engine in it, and a current model, which what is asked of a `Cloche` is asked of: the one that has grown,
 * was taught or loaded last. `models` has others beside it.
 */
export class Cloche extends Speaker {
  readonly #remote: Remote<Api>;
  #device: DeviceInfo;
  /** Models beside the current one. */
  readonly models: Models;
  /** What `save` has kept in the browser's own file system. */
  readonly runs: Runs;
  /** Tokenizers apart from any model: to be trained, looked into and saved. */
  readonly tokenizers: Tokenizers;

  private constructor(remote: Remote<Api>, device: DeviceInfo) {
    super(remote);
    this.#remote = remote;
    this.#device = device;
    remote.onNews = (news) => (this.#device = news as DeviceInfo);
    this.models = new Models(remote);
    this.runs = new Runs(remote);
    this.tokenizers = new Tokenizers(remote);
  }

  /** The device in use and why. It is another one after a device was lost and what was going on has gone on elsewhere. */
  get device(): DeviceInfo {
    return this.#device;
  }

  /**
   * The reason, once nothing can be asked any more: `DISPOSED`, or `ENGINE_CRASHED`, whose message says why. The worker has ended
   * then, with all that was in it.
   */
  get closed(): Promise<ClocheError> {
    return this.#remote.closed;
  }

  /** Starts the worker, loads the engine and opens the device. */
  static async create(options: CreateOptions = {}): Promise<Cloche> {
    const worker = options.worker?.() ?? startWorker(options.workerUrl);
    const remote = new Remote<Api>(worker);
    const crew = new Crew();
    remote.onThread = (wanted) => crew.start(wanted as Wanted);
    worker.onerror = (event) => {
      remote.fail(new ClocheError("LOAD_FAILED", event.message || "the worker's script could not be loaded"));
    };
    const abort = () => remote.fail(new ClocheError("ABORTED", "stopped by the caller"));
    options.signal?.addEventListener("abort", abort);
    // Whatever it was that ended it, its memory is not kept.
    void remote.closed.then(() => {
      worker.terminate();
      crew.terminate();
    });
    try {
      if (options.signal?.aborted) throw new ClocheError("ABORTED", "stopped by the caller");
      const device = await remote.request("open", {
        device: options.device ?? "auto",
        threads: options.threads,
        wasmUrl: options.wasmUrl && String(options.wasmUrl),
        teachWasmUrl: options.teachWasmUrl && String(options.teachWasmUrl),
        textWasmUrl: options.textWasmUrl && String(options.textWasmUrl),
        storiesWasmUrl: options.storiesWasmUrl && String(options.storiesWasmUrl),
      });
      return new Cloche(remote, device);
    } catch (error) {
      remote.fail(error as ClocheError);
      throw error;
    } finally {
      options.signal?.removeEventListener("abort", abort);
    }
  }

  /** Trains a tokenizer and a model. Nothing happens before the first event is asked for. */
  grow(options: Sourced<GrowOptions> & Abortable): Run<GrowEvent> {
    return this.#run("grow", options);
  }

  /**
   * What a run will take, before it begins: bytes, arithmetic and kernels are those of the plan that it would follow, nothing
   * of which is allocated; the time follows from what the device was seen to do with two small models, which takes it about a
   * second when it is first asked. What was seen is kept for a week in the browser's own file system, where there is one.
   *
   * Of a stage after pre-training, all of it is seen: a copy of the model makes a few steps, and is forgotten. So a stage cannot be
   * asked about while a run goes on (`BUSY`), and the last run's checkpoint can no longer be had.
   */
  estimate(options?: Sourced<EstimateOptions> & Abortable): Promise<Estimate>;
  estimate<Stage extends Exclude<keyof Runnable, "grow">>(
    stage: Stage,
    options: Sourced<Omit<Runnable[Stage][0], "save" | "resume">> & Abortable,
  ): Promise<StageEstimate>;
  async estimate(asked: StageName | (Sourced<EstimateOptions> & Abortable) = {}, ofStage: object = {}): Promise<Estimate | StageEstimate> {
    if (typeof asked === "string") return this.#rehearsed(asked, ofStage as Sourced<StageOptions> & Abortable);
    const { signal, ...options } = asked;
    return this.#remote.request("estimate", await gathered<EstimateOptions>(options, signal));
  }

  /**
   * Measures which kernels the graphics device runs fastest for a run of this size, and leaves out those that do not compile
   * there or compute something wrong; from then on they are what runs use, on later visits too. It takes some 0.2 s for each of
   * a dozen or two pieces of work. With other kernels sums are rounded otherwise, so a run that is resumed afterwards may differ
   * in the last bits from one that was never stopped.
   *
   * @throws `BUSY` while a run goes on, `ABORTED`
   */
  async tuneKernels(
    options: Sourced<EstimateOptions> & Abortable & { onProgress?: (progress: KernelsProgress) => void } = {},
  ): Promise<KernelsTuned> {
    const { signal, onProgress, ...asked } = options;
    const settings = await gathered<EstimateOptions>(asked as Sourced<EstimateOptions>, signal);
    for await (const event of this.#remote.stream("tuneKernels", settings, signal)) {
      if ("pieces" in event) return event;
      onProgress?.(event);
    }
    throw new ClocheError("ENGINE_CRASHED", "kernels were measured, but nothing is known of it");
  }

  /**
   * Opens a model, which takes the place of the current one. Of a folder at an address, `config.json`, `tokenizer.json` and
   * `model.safetensors` are fetched (or `model.safetensors.index.json` and the files that it names), and what there is of
   * `generation_config.json`, `tokenizer_config.json` and `chat_template.jinja`; or else just the `files` that are named.
   * What has come is kept until all has: a download that breaks off goes on when it is asked for again.
   *
   * @throws `DOWNLOAD` where an address gives no file, a page in the place of one, or other bytes than `sha256` says;
   * `CHECKPOINT` where the files are no model, `ABORTED`
   */
  load(from: ModelSource, options: LoadOptions = {}): Promise<ModelInfo> {
    return opened(this.#remote, "load", from, options);
  }

  /** Teaches the model to answer, from demonstrations. */
  sft(options: Sourced<SftOptions> & Abortable): Run<TuneEvent> {
    return this.#run("sft", options);
  }

  /** Makes a reward model of a copy, from comparisons; it stands beside the model until the next one. */
  reward(options: Sourced<RewardOptions> & Abortable): Run<TuneEvent> {
    return this.#run("reward", options);
  }

  /** Teaches the model what people prefer, from comparisons. */
  dpo(options: Sourced<DpoOptions> & Abortable): Run<TuneEvent> {
    return this.#run("dpo", options);
  }

  /** Teaches the model by rewards for its answers, with a critic. */
  ppo(options: Sourced<PpoOptions> & Abortable): Run<TuneEvent> {
    return this.#run("ppo", judged(options));
  }

  /** Teaches the model by rewards for groups of its answers. */
  grpo(options: Sourced<GrpoOptions> & Abortable): Run<TuneEvent> {
    return this.#run("grpo", judged(options));
  }

  /** Teaches the model what another one thinks. */
  distill(options: Sourced<DistillOptions> & Abortable): Run<TuneEvent> {
    return this.#run("distill", options);
  }

  /** What the worker holds at the moment. */
  memory(): Promise<MemoryInUse> {
    return this.#remote.request("memory", undefined);
  }

  /** Ends the worker and frees all memory; whatever still runs is rejected. Doing it twice does no harm. */
  dispose(): void {
    this.#remote.fail(new ClocheError("DISPOSED", "dispose() has been called on this Cloche"));
  }

  /** As `dispose`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose();
  }

  async #rehearsed(stage: StageName, { signal, ...asked }: Sourced<StageOptions> & Abortable): Promise<StageEstimate> {
    // The verifier's address first, which is no data to be fetched.
    const options = await gathered<StageOptions>(judged(asked as Sourced<StageOptions>), signal);
    for await (const told of this.#remote.stream("estimateStage", { stage, ...options }, signal)) return told;
    throw new ClocheError("ENGINE_CRASHED", "a stage was tried, but nothing is known of it");
  }

  #run<Stage extends keyof Runnable>(stage: Stage, options: Sourced<Runnable[Stage][0]> & Abortable): Run<Runnable[Stage][1]> {
    const { signal, ...settings } = options;
    return new Run(this.#remote, events(this.#remote, stage, settings as Sourced<Runnable[Stage][0]>, signal));
  }
}

/** The runs that a page can begin: what each takes, and its events. */
interface Runnable {
  grow: [GrowOptions, GrowEvent];
  sft: [SftOptions, TuneEvent];
  reward: [RewardOptions, TuneEvent];
  dpo: [DpoOptions, TuneEvent];
  ppo: [PpoOptions, TuneEvent];
  grpo: [GrpoOptions, TuneEvent];
  distill: [DistillOptions, TuneEvent];
}

/** The events of a run. Where there is nothing to fetch first, the worker hears of it as soon as it is asked for. */
async function* events<Stage extends keyof Runnable>(
  remote: Remote<Api>,
  stage: Stage,
  options: Sourced<Runnable[Stage][0]>,
  signal?: AbortSignal,
): AsyncGenerator<Runnable[Stage][1], void, void> {
  const settings = isAtHand(options) ? options : await gathered<Runnable[Stage][0]>(options, signal);
  yield* remote.stream(stage, settings as never, signal) as AsyncGenerator<Runnable[Stage][1], void, void>;
}

/** Options as they cross to the worker, where an address of the page means nothing. */
function judged<Options extends { verifier?: string | URL }>(options: Options): Options {
  if (options.verifier === undefined) return options;
  return { ...options, verifier: new URL(options.verifier, globalThis.location?.href).href };
}
