/**
 * The faces of the wasm modules, as far as the worker uses them. Written by hand, so that types can be checked
 * before anything is built; `tests/browser` would find a difference at once.
 */
declare module "*/wasm/engine.js" {
  import type { DeviceInfo } from "../protocol.js";

  export default function init(options?: { module_or_path: string | URL | Request | BufferSource }): Promise<unknown>;

  export class Engine {
    static open(kind: "auto" | "webgpu" | "cpu"): Promise<Engine>;
    describe(): DeviceInfo;
    /** Settings are those of `GrowOptions` in snake_case, with `vocab_size` and `eot_id`. */
    startPretrain(settings: object, train: Uint32Array, val: Uint32Array, floor?: number): Pretrain;
  }

  /** A run. Nothing happens between two calls of `next`. */
  export class Pretrain {
    /** The length of the model's context, in tokens. */
    readonly contextLen: number;
    /** The next event, with `ids` in place of `text` in samples; nothing after `done`. */
    next(): Promise<{ event: string; ids?: number[] } | undefined>;
    /** Makes the next event the last. */
    stop(): void;
    /** Starts to continue a prompt with the weights of this moment. */
    generate(prompt: Uint32Array, options: object): Generator;
    /** The weights and configuration of this moment. */
    files(): Promise<[name: string, bytes: Uint8Array<ArrayBuffer>][]>;
    free(): void;
  }

  export class Generator {
    /** Some tokens; nothing after the last. */
    next(): Promise<Uint32Array | undefined>;
    free(): void;
  }
}

declare module "*/wasm/text.js" {
  export default function init(options?: { module_or_path: string | URL | Request | BufferSource }): Promise<unknown>;

  /** Learns from text that arrives in pieces. */
  export class TokenizerTrainer {
    constructor(kind: string);
    feed(text: string): void;
    endDocument(): void;
    finish(onProgress?: (progress: { stage: string; done: number; total: number | null }) => void): Tokenizer;
    free(): void;
  }

  export class Tokenizer {
    readonly vocabSize: number;
    readonly eotId: number | undefined;
    encode(text: string): Uint32Array;
    decode(ids: Uint32Array): string;
    /** Decodes a stream without cutting characters in two. */
    streamDecoder(): StreamDecoder;
    /** `tokenizer.json` and its companions. */
    files(contextLen: number): [name: string, content: string][];
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
  export default function init(options?: { module_or_path: string | URL | Request | BufferSource }): Promise<unknown>;

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
