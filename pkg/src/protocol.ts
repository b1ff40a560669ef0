/** What the page and the worker say to each other: the functions, what they take, and the events of a run. */
import type { Compiling } from "./compiling.js";
import type { Address, DownloadProgress } from "./downloads.js";
import type { PastEvent, SaveEvent, SaveOptions } from "./keeping.js";
import type { KernelsEvent } from "./kernels.js";
import type { CopyOptions, CreateModelOptions, ModelInfo, Whom } from "./models.js";
import type { Probe, ProbeOptions } from "./probes.js";
import type { Asked } from "./prompts.js";
import type { ResumeOptions } from "./runs.js";
import type { SavedRun } from "./storage.js";
import type { StageName, StageOptions } from "./teaching.js";
import type { Named, TokenizerEvent, TokenizerOptions, TokenTrace, TrainTrace, Vocabulary } from "./tokenizers.js";
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

/** Where the engine computes. */
export type DeviceKind = "webgpu" | "cpu";

/** The device in use. */
export interface DeviceInfo {
  kind: DeviceKind;
  /** The adapter's name, or `CPU`. */
  name: string;
  /** Which device it is and why, for the user: `the CPU, because there is no WebGPU`. */
  why: string;
  /** How many threads share the work of the CPU; 1 on WebGPU, and where the page is not cross-origin isolated. */
  threads: number;
}

/** Sizes of the models that can be grown; the `llama-` ones are of that family, the others GPT-2's. */
export type Preset = "tiny" | "nano" | "mini" | "gpt2" | "llama-tiny" | "llama-nano" | "llama-mini";

/**
 * Every hyper-parameter of a run. One that is left out has the preset's value; but `minLr` is a tenth of an `lr` that is given, and
 * `warmupSteps` are a tenth of `steps` at most.
 */
export interface Hyperparameters {
  batchSize?: number;
  contextLen?: number;
  /** Micro-batches whose gradients are added up before a step. */
  gradAccumulation?: number;
  /**
   * How activations are kept for the backward pass: `"f16"` takes half the memory, and rounds what gradients are computed from
   * to 11 bits. @default "f32"
   */
  activations?: "f32" | "f16";
  /** Highest learning rate, reached after the warm-up. */
  lr?: number;
  /** Where the cosine ends. */
  minLr?: number;
  warmupSteps?: number;
  beta1?: number;
  beta2?: number;
  eps?: number;
  weightDecay?: number;
  /** Gradients are scaled down to this norm where theirs is larger. */
  maxGradNorm?: number;
  dropout?: number;
}

/** A run: what to read, what to grow, for how long. */
export interface GrowOptions extends Hyperparameters {
  /** `"stories"` for the built-in generator, any other string is the text itself, or a text file. */
  data: string | Blob;
  /** `char`, `byte` or `bpe:SIZE`. @default "char" */
  tokenizer?: string;
  /** @default "tiny" */
  preset?: Preset;
  /** @default 500 */
  steps?: number;
  /** Everything random follows from it: a whole number from 0 to 2^53 - 1, as every seed. @default 1337 */
  seed?: number;
  /** Steps between two evaluations on held-out text. */
  evalEvery?: number;
  /** Batches of each evaluation. @default 20 */
  evalBatches?: number;
  /** Steps after which the model speaks, so that one sees noise turn into words. By default it never does. */
  sampleAt?: number[];
  /** Tokens that it says then. @default 200 */
  sampleLen?: number;
  /** Whether the vocabulary has tokens for conversations, for a model that is to be taught to answer. */
  chatTokens?: boolean;
  /**
   * Goes on with a run from its checkpoint, on the same data and exactly as if it had never stopped. Options that are left
   * out are the run's; `steps`, `evalEvery` and `sampleAt` may be others.
   */
  resume?: Files;
  /** Keeps the run in the browser's own file system, so that it outlives the tab: see `cloche.runs`. */
  save?: SaveOptions;
}

/** What is asked of a run that has not begun: as `grow`, save for what has nothing to do with its size. */
export interface EstimateOptions
  extends Partial<Omit<GrowOptions, "resume" | "save" | "evalEvery" | "evalBatches" | "sampleAt" | "sampleLen">> {
  /** Tokens in the vocabulary, where it is known. By default as many as `tokenizer` says, or as there are different ones among the first 200,000 characters of `data`. */
  vocabSize?: number;
}

/** What a run takes, and how long. */
export interface Estimate {
  parameters: number;
  vocabSize: number;
  tokensPerStep: number;
  /** The most that the run holds at once, evaluation included; samples take a little more. */
  peakBytes: number;
  flopsPerStep: number;
  dispatchesPerStep: number;
  /** For all steps, without evaluations and samples. Not there where a run goes on and nothing was measured before it. */
  seconds?: number;
}

/** What a stage after pre-training takes, and how long. */
export interface StageEstimate {
  parameters: number;
  /** Those that learn: all, or the adapter's. */
  trained: number;
  vocabSize: number;
  /** Bytes that the stage holds, the model that learns included; an exam of many questions takes more. */
  peakBytes: number;
  /** Of a step as it went; where answers are drawn, others may be longer. */
  flopsPerStep: number;
  dispatchesPerStep: number;
  /** For all steps, without exams. */
  seconds: number;
}

/** What the worker holds: buffers of states and programs on its device, their bytes, and those of its modules in all. */
export interface MemoryInUse {
  buffers: number;
  bytes: number;
  /** Memory of WebAssembly, which only grows; on the CPU the buffers lie in it. */
  wasmBytes: number;
}

/** What is known before the first step. */
export interface Start {
  /** Steps that the run has made before, in one that goes on. */
  step: number;
  steps: number;
  n_params: number;
  vocab_size: number;
  tokens_per_step: number;
  train_tokens: number;
  val_tokens: number;
  /** Bytes that the run needs, known before anything is allocated. */
  peak_bytes: number;
  /** Blocks whose activations are computed again in the backward pass, because keeping them would take too much memory. */
  recomputed_layers: number;
  flops_per_step: number;
  dispatches_per_step: number;
  /** What computes it. */
  device: string;
  /** Nats per token below which no model can go, where the text's source is known exactly. */
  floor?: number;
}

/** Where the time of a step went; `Run.profile` asks for it. */
export interface Profile {
  step: number;
  /**
   * Of each operation, the most expensive first: how many kernels ran, and their seconds on the device. Element-wise
   * operations go by the first of those that were fused. Empty where the device has no clock.
   */
  kernels: { name: string; count: number; seconds: number }[];
}

/** What happens in a run, named as the command line's `--json` names it. Losses are in nats per token. */
export type GrowEvent =
  | { event: "prepare"; phase: "reading" | "tokenizer" | "encoding"; done: number }
  | Compiling
  | ({ event: "start" } & Start)
  | {
      event: "step";
      step: number;
      loss: number;
      lr: number;
      grad_norm: number;
      tokens_per_s: number;
      seconds_left: number;
    }
  | { event: "eval"; step: number; train_loss: number; val_loss: number }
  | { event: "sample"; step: number; text: string }
  | ({ event: "profile" } & Profile)
  /** A step whose gradient was not finite; nothing was updated. */
  | { event: "nonfinite"; step: number; in_a_row: number }
  | SaveEvent
  | {
      event: "done";
      step: number;
      reason: "finished" | "stopped" | "diverged";
      val_loss: number | null;
      seconds: number;
    };

/** How to choose the next token. */
export interface SamplingOptions {
  /** @default 200 */
  maxTokens?: number;
  /** 0 takes the likeliest token each time. @default 0.8 */
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repetitionPenalty?: number;
  /** Where it is left out, `answers`, `answersTo` and completions draw one; a text that is told as it comes has 1337. */
  seed?: number;
  /** The text ends before the first of these. */
  stop?: string | string[];
  /** Whether the adapter beside a model speaks too; without one it makes no difference. @default true */
  adapter?: boolean;
}

/** Who guesses what a model says, by the number that the worker knows it under, and how many tokens at a time. */
export interface Guessing {
  draft?: number | undefined;
  ahead?: number;
}

/** How many texts a model says at once: each reading of its weights is shared by all of them. */
export interface Several {
  /** @default 1 */
  n?: number | undefined;
}

/** How many of many texts a model says at once. */
export interface Slots {
  /** One that ends leaves its slot to the next. Each has a cache of its own, and all of them share each reading of the weights. @default 8 */
  slots?: number;
}

/** A piece of what a model says. */
export interface TokenPiece {
  /** It may be a token late, where that might yet become a character or a stop string. */
  text: string;
  /** The tokens drawn since the last piece, and the log-probability of each, in nats. */
  tokens: { id: number; text: string; logProb: number }[];
  /** With the last piece: whether the text has come to an end, or to as many tokens as it may have. */
  finish?: "stop" | "length";
  /** With the last piece: how many tokens the prompt has. */
  promptTokens?: number;
  /** Which of several texts it belongs to, from 0. */
  index: number;
}

/** A way to steer a run from outside. */
export type Steer = "pause" | "resume" | "stop" | "profile";

/** What the worker is told first. */
export interface OpenOptions {
  device: "auto" | DeviceKind;
  threads?: number | undefined;
  wasmUrl?: string | undefined;
  teachWasmUrl?: string | undefined;
  textWasmUrl?: string | undefined;
  storiesWasmUrl?: string | undefined;
}

/** A model that is opened, from its files or from an address, and what it is to be called. */
export interface Opened {
  from: Files | Blob | Address;
  name?: string | undefined;
}

/** A model that is begun, by the tokenizer that the worker knows under a number. */
export type NewModel = Omit<CreateModelOptions, "tokenizer"> & { tokenizer?: number | undefined };

/** The worker's functions: a promise is answered once, an async iterable is a stream. */
export interface Api {
  open(options: OpenOptions): Promise<DeviceInfo>;
  estimate(options: EstimateOptions): Promise<Estimate>;
  tuneKernels(
    options: EstimateOptions,
    signal: AbortSignal,
    report: (event: KernelsEvent) => void,
  ): AsyncIterable<KernelsEvent>;
  estimateStage(options: StageOptions & { stage: StageName }, signal: AbortSignal): AsyncIterable<StageEstimate>;
  memory(): Promise<MemoryInUse>;
  load(options: Opened, signal: AbortSignal): AsyncIterable<DownloadProgress | ModelInfo>;
  loadModel(options: Opened, signal: AbortSignal): AsyncIterable<DownloadProgress | (ModelInfo & { model: number })>;
  createModel(options: NewModel): Promise<ModelInfo & { model: number }>;
  copyModel(options: Whom & CopyOptions): Promise<ModelInfo & { model: number }>;
  useModel(options: { model: number }): Promise<void>;
  freeModel(options: { model: number }): Promise<void>;
  grow(options: GrowOptions, signal: AbortSignal): AsyncIterable<GrowEvent>;
  sft(options: SftOptions, signal: AbortSignal): AsyncIterable<TuneEvent>;
  reward(options: RewardOptions, signal: AbortSignal): AsyncIterable<TuneEvent>;
  dpo(options: DpoOptions, signal: AbortSignal): AsyncIterable<TuneEvent>;
  ppo(options: PpoOptions, signal: AbortSignal): AsyncIterable<TuneEvent>;
  grpo(options: GrpoOptions, signal: AbortSignal): AsyncIterable<TuneEvent>;
  distill(options: DistillOptions, signal: AbortSignal): AsyncIterable<TuneEvent>;
  steer(action: Steer): Promise<void>;
  checkpoint(): Promise<Record<string, Uint8Array<ArrayBuffer>>>;
  listRuns(): Promise<SavedRun[]>;
  resumeRun(options: ResumeOptions & { name: string }, signal: AbortSignal): AsyncIterable<GrowEvent | TuneEvent>;
  readRun(options: { name: string }): Promise<Record<string, Uint8Array<ArrayBuffer>>>;
  runHistory(options: { name: string }): Promise<PastEvent[]>;
  renameRun(options: { name: string; to: string }): Promise<void>;
  removeRun(options: { name: string }): Promise<void>;
  exportRun(options: { name: string }): Promise<Blob>;
  importRun(options: { name: string; archive: Blob }): Promise<SavedRun>;
  speak(options: SamplingOptions & Several & Guessing & Whom & { asked: Asked }, signal: AbortSignal): AsyncIterable<TokenPiece>;
  speakMany(options: SamplingOptions & Slots & Whom & { asked: Asked[] }, signal: AbortSignal): AsyncIterable<TokenPiece>;
  probe(options: ProbeOptions & Whom & { text: string }): Promise<Probe>;
  files(options: Whom & { judge?: boolean }): Promise<Record<string, Uint8Array<ArrayBuffer>>>;
  archive(options: Whom & { judge?: boolean }): Promise<Blob>;
  trainTokenizer(
    options: TokenizerOptions,
    signal: AbortSignal,
    report: (event: TokenizerEvent) => void,
  ): AsyncIterable<TokenizerEvent>;
  loadTokenizer(options: { json: string; config?: string | undefined }): Promise<Vocabulary>;
  encode(options: Named & { text: string }): Promise<Uint32Array<ArrayBuffer>>;
  decode(options: Named & { ids: Uint32Array }): Promise<string>;
  trace(options: Named & { text: string }): Promise<TokenTrace>;
  tokenizerFiles(options: Named): Promise<[name: string, text: string][]>;
  freeTokenizer(options: Named): Promise<void>;
  trainTrace(options: { text: string; merges: number }): Promise<TrainTrace>;
}
