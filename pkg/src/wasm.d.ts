/**
 * The faces of the wasm modules, as far as the worker uses them. Written by hand, so that types can be checked
 * before anything is built; `tests/browser` would find a difference at once.
 */
declare module "*/wasm/engine.js" {
  import type { DeviceInfo } from "../protocol.js";
  import type { Exports, Threads } from "*/wasm/threads.js";

  /** A file. */
  export type NamedBytes = [name: string, bytes: Uint8Array<ArrayBuffer>];

  /** `opening` is given where the module lies, and brings the module and a memory for it. */
  export default function init(options?: {
    module_or_path?: string | URL | Request | BufferSource;
    opening?: Threads["open"];
  }): Promise<Exports>;

  /** The engine's functions. */
  export function functionTable(): WebAssembly.Table;
  /** Makes those from this place on the products of the CPU device. */
  export function useGemm(first: number): void;
  /** Has threads share the loops of the CPU device, by the functions from this one on; returns where they count. */
  export function useThreads(first: number, threads: number): number;

  export class Engine {
    static open(kind: "auto" | "webgpu" | "cpu"): Promise<Engine>;
    describe(): DeviceInfo;
    /** Tokens, operations and kernels are those of a step, bytes the most at once. The numbers lie in a `Float64Array`. */
    estimate(settings: object): [parameters: number, tokens: number, bytes: number, flops: number, dispatches: number];
    /** Has the device use these kernels where there are several: what `tuneKernels` has told once. */
    chooseKernels(choices: Float64Array): void;
    /** What states and programs hold, and what has run since the device was opened. */
    memory(): [buffers: number, bytes: number, flops: number, dispatches: number];
    /** Settings are those of `GrowOptions` in snake_case, with `vocab_size` and `eot_id`. */
    startPretrain(settings: object, train: Uint32Array, val: Uint32Array, floor?: number): Pretrain;
    free(): void;
  }

  /** A run. Nothing happens between two calls of `next`. */
  export class Pretrain {
    /** The length of the model's context, in tokens. */
    readonly contextLen: number;
    /** The next event, with `ids` in place of `text` in samples; nothing after `done`. */
    next(): Promise<{ event: string; ids?: number[] } | undefined>;
    /** Makes the next event the last. */
    stop(): void;
    /** Times the next step: an event `profile` follows it. */
    profile(): void;
    /** Starts to continue a prompt with the weights of this moment. */
    generate(prompt: Uint32Array, options: object): Generator;
    /** The weights and configuration of this moment; or all that the run needs to go on, and what is kept beside that. */
    files(beside?: NamedBytes[]): Promise<NamedBytes[]>;
    free(): void;
  }

  export class Generator {
    /** Some tokens, of each its id (-1 where it ends its text), its log-probability and which text it belongs to; nothing after the last. */
    next(): Promise<Float32Array | undefined>;
    free(): void;
  }
}

declare module "*/wasm/teach.js" {
  import type { Spread } from "../probes.js";
  import type { Engine as PlainEngine, Generator, NamedBytes, Pretrain } from "*/wasm/engine.js";

  export { default, functionTable, useGemm, useThreads } from "*/wasm/engine.js";

  /** The engine, and the stages after pre-training. */
  export class Engine extends PlainEngine {
    static open(kind: "auto" | "webgpu" | "cpu"): Promise<Engine>;
    /** Goes on with a run from its checkpoint, with all the settings that it had, save those that may change. */
    resumePretrain(files: NamedBytes[], settings: object, train: Uint32Array, val: Uint32Array, floor?: number): Pretrain;
    /** Measures the kernels of a run of these settings, as long as `goOn` says yes. */
    tuneKernels(
      settings: object,
      goOn: (done: number, total: number) => boolean,
    ): Promise<{ pieces: number; faster: number; gain: number; warnings: string[]; choices: number[] }>;
    /** The model in the files of a folder, with the adapter that is among them. */
    openModel(files: NamedBytes[]): Promise<Model>;
    /** `config` is a preset's name, or the text of a `config.json`. */
    newModel(config: string, vocabSize: number, contextLen: number | undefined, seed: number): Model;
    /**
     * `options` is JSON: settings of the stage in snake_case, `stop_ids`, `max_tokens`, `lora`, names for the model card.
     * With the files of a checkpoint the stage goes on from there, and only settings that may change are given.
     */
    startStage(name: string, model: Model, options: string, material: Material, resume?: NamedBytes[]): Promise<Tune>;
  }

  /** A model on the device. Handles of the same model share its weights, also while a stage changes them. */
  export class Model {
    readonly contextLen: number;
    readonly vocabSize: number;
    /** Whether it scores texts, and does not continue them. */
    readonly scores: boolean;
    /** Whether an adapter lies beside its weights. */
    readonly hasAdapter: boolean;
    withoutAdapter(): Model;
    /** Whether its linear layers are rounded, so that it can generate and be saved, but nothing else. */
    readonly isQuantized: boolean;
    /** A copy that can do nothing but generate, by codes of so many bits. */
    quantized(bits: 8 | 4): Promise<Model>;
    /** With weights of its own, of which an adapter has become a part. */
    copy(): Promise<Model>;
    /** Layers, and heads of each. */
    readonly layers: Uint32Array;
    /** Reads tokens, and shows what happens inside. */
    look(ids: Uint32Array, asked: object): Promise<Sight>;
    generate(prompt: Uint32Array, options: object): Generator;
    /** The same text, for which another model guesses so many tokens at a time. */
    generateWith(prompt: Uint32Array, options: object, draft: Model, ahead: number): Generator;
    /** Continues prompts that lie one behind the other, a few at once. */
    generateMany(prompts: Uint32Array, lengths: Uint32Array, options: object): Batch;
    files(): Promise<NamedBytes[]>;
    free(): void;
  }

  export class Batch {
    /** As a generator's; -2 behind the last token of a text for which the context has no more room. */
    next(): Promise<Float32Array | undefined>;
    /** Ends a text, whose room the next prompt takes. */
    end(text: number): void;
    free(): void;
  }

  /** What a look shows. */
  export class Sight {
    /** Of the next token, a row for each layer that was asked. */
    readonly logProbs: Float32Array;
    readonly attention: Float32Array;
    /** Of weights, gradients and activations. */
    readonly spreads: [Spread[], Spread[], Spread[]];
    free(): void;
  }

  /** What a stage learns from, put together piece by piece. */
  export class Material {
    example(heldOut: boolean, ids: Uint32Array, learn: Uint8Array): void;
    /** Begins a source with a share of every step: texts to learn that follow are its. */
    mix(share: number): void;
    ranking(heldOut: boolean): void;
    answer(heldOut: boolean, ids: Uint32Array, learn: Uint8Array): void;
    prompt(heldOut: boolean, ids: Uint32Array): void;
    /** Two numbers for each answer: the reward, and 1 if it is right. */
    verifier(
      verifier: (heldOut: boolean, questions: Uint32Array, answers: Uint32Array[]) => Float32Array,
    ): void;
    adviser(model: Model): void;
    free(): void;
  }

  /** A stage. Nothing happens between two calls of `next`. */
  export class Tune {
    next(): Promise<{ event: string; ids?: number[]; prompt?: number } | undefined>;
    stop(): void;
    model(): Model;
    /** All that the stage needs to go on from here, with what is kept beside that. */
    files(beside: NamedBytes[]): Promise<NamedBytes[]>;
    free(): void;
  }
}

/** The library that renders chat templates from elsewhere, as the build copies it. */
declare module "*/jinja.js" {
  export interface Value { readonly value: unknown }
  /** A part of a template: of a loop, what it runs over, in which `lhs` is there where a condition follows. */
  export interface Node { readonly type: string; readonly iterable?: Node; readonly lhs?: Node }
  export class Environment { set(name: string, value: unknown): void }
  export class Interpreter {
    constructor(environment: Environment);
    run(program: unknown): Value;
    /** What everything comes to: an expression, a statement, the program. */
    evaluate(node: Node | undefined, environment: Environment): Value;
  }
  export function tokenize(source: string, options: { lstrip_blocks: boolean; trim_blocks: boolean }): unknown;
  export function parse(tokens: unknown): unknown;
}

declare module "*/wasm/gemm.js" {
  import type { Part } from "*/wasm/threads.js";

  export interface Products { functionTable(): WebAssembly.Table; useGemm(first: number): void }

  /** Lets an engine compute its products with relaxed SIMD, where the browser has it; resolves to what does. */
  export function fuse(engine: Products, memory: WebAssembly.Memory): Promise<Part | undefined>;
}

declare module "*/wasm/threads.js" {
  /** What an engine's module exports, as far as others ask for it. */
  export type Exports = Record<string, unknown> & {
    memory: WebAssembly.Memory;
    __wbindgen_malloc(size: number, align: number): number;
  };
  export interface Part { module: WebAssembly.Module; names: string[]; first: number }
  /** What a thread needs to know. */
  export interface Task { engine: WebAssembly.Module }
  export interface Shared { functionTable(): WebAssembly.Table; useThreads(first: number, threads: number): number }

  /** An engine's memory, for threads to share. */
  export class Threads {
    open(
      source: string | URL | Promise<Response> | Uint8Array<ArrayBuffer>,
    ): Promise<{ module_or_path: WebAssembly.Module | Uint8Array; memory?: WebAssembly.Memory }>;
    /** Has so many threads share the engine's loops; `start` has `help` do a task in a new worker, and resolves when it begins. */
    employ(engine: Shared, exports: Exports, gemm: Part | undefined, threads: number, start: (task: Task) => Promise<void>): Promise<void>;
  }

  /** Works on the engine's loops, forever; `begin` hears that it does. */
  export function help(task: Task, begin: () => void): void;
}

declare module "*/wasm/text.js" {
  import type { TokenTrace, TokenizerProgress, TrainTrace } from "../tokenizers.js";

  export default function init(options?: { module_or_path: string | URL | Request | BufferSource }): Promise<{ memory: WebAssembly.Memory }>;

  /** Learns from text that arrives in pieces. */
  export class TokenizerTrainer {
    constructor(kind: string);
    feed(text: string): void;
    endDocument(): void;
    endOfText(wanted: boolean): void;
    chatTokens(wanted: boolean): void;
    finish(onProgress?: (progress: TokenizerProgress) => void): Tokenizer;
    free(): void;
  }

  export class Tokenizer {
    static fromJson(json: string, config?: string): Tokenizer;
    /** `char`, `byte`, `bpe:SIZE`, or nothing for a pipeline of another kind. */
    readonly kind: string | undefined;
    readonly vocabSize: number;
    readonly eotId: number | undefined;
    encode(text: string): Uint32Array;
    decode(ids: Uint32Array): string;
    /** How a text is split and merged, step by step. */
    trace(text: string): TokenTrace;
    /** Decodes a stream without cutting characters in two, behind a text that has been shown, whose ids these are. */
    streamDecoder(shown: Uint32Array): StreamDecoder;
    /** What a token looks like in a text. */
    tokenText(id: number): string;
    /** `tokenizer.json` and its companions. */
    files(contextLen: number): [name: string, content: string][];
    free(): void;
  }

  /** Learns a vocabulary from a short text and shows each merge. */
  export function trainTrace(text: string, nMerges: number): TrainTrace;

  /** Tokens, and 1 at each that a model shall learn to say. A text that is too long goes on in another example. */
  export type Encoded = [ids: Uint32Array, learn: Uint8Array, isText: boolean];
  /** A prompt up to where the model goes on, what it asks as people read it, and the right answer. */
  export type Question = [ids: Uint32Array, asked: string, answer: string];

  /** Writes conversations for a model. Records are JSON; `name` and `line` are what an error calls the place. */
  export class Chat {
    constructor(tokenizer: Tokenizer, turns: boolean);
    readonly stopIds: Uint32Array;
    readonly stopText: string | undefined;
    /** The template as Jinja text. */
    readonly template: string;
    /** Whether the template is one from elsewhere: then somebody has to render it. */
    readonly isForeign: boolean;
    renderBy(render: (messages: [role: string, content: string][], isPrompt: boolean) => string): void;
    demonstration(json: string, name: string, line: number): Encoded;
    comparison(json: string, name: string, line: number): Encoded[];
    question(json: string, name: string, line: number): Question | undefined;
    prompt(messages: string): Uint32Array;
    answer(ids: Uint32Array): string;
    free(): void;
  }

  export class StreamDecoder {
    pushMany(ids: Uint32Array): string;
    finish(): string;
    free(): void;
  }

  /** Bytes to text, chunk by chunk; throws where they are none. */
  export class Utf8Reader {
    constructor(name: string);
    push(bytes: Uint8Array): string;
    finish(): void;
  }
}

declare module "*/wasm/stories.js" {
  export default function init(options?: { module_or_path: string | URL | Request | BufferSource }): Promise<{ memory: WebAssembly.Memory }>;

  /** Stories number `start` to `start + count` of a seed, each with its exact log-probability. */
  export function stories(
    seed: number,
    split: "train" | "validation",
    start: number,
    count: number,
  ): { texts: string[]; logProbs: number[] };

  /** On which side of the wall between training and examination a prompt lies. */
  export type Split = "train" | "heldOut";
  export interface Message { role: "system" | "user" | "assistant"; content: string }
  /** A conversation that ends with what to answer; `accepted` are all right answers, the one to give first. */
  export interface Lesson { kind: string; messages: Message[]; accepted: string[] }
  /** Two answers to one prompt, the better and the worse. */
  export interface Preference { kind: string; prompt: Message[]; chosen: string; rejected: string; accepted: string[] }
  /** A kind of question; difficulties run from 1 to `hardest`. */
  export interface Task { name: string; description: string; hardest: number }
  /** A question, its answer, and how one would put it. */
  export interface TaskItem { prompt: string; answer: string; demonstration: string }
  export interface Verdict { reward: number; correct: boolean }

  export function lessons(seed: number, split: Split, start: number, count: number): Lesson[];
  /** Demonstrations by people who answer well or badly, politely or not: what preferences can improve. */
  export function mixedManners(seed: number, split: Split, start: number, count: number): Lesson[];
  export function preferences(seed: number, split: Split, start: number, count: number): Preference[];
  /** Judges answers by the right ones: from −1.5, wrong and rude, to 1.5, right and polite. */
  export function judge(accepted: string[], said: string[]): Float32Array;
  export function tasks(): Task[];
  export function taskItems(
    name: string,
    seed: number,
    split: Split,
    start: number,
    count: number,
    difficulty: number,
  ): TaskItem[];
  export function verify(name: string, prompt: string, answer: string, said: string[]): Verdict[];
}
