/** Tokenizers as a page uses them: trained or loaded, and looked into. They live in the worker; a page has handles. */
import { gathered, type Sourced } from "./data.js";
import { ClocheError } from "./errors.js";
import type { Api } from "./protocol.js";
import type { Remote } from "./remote.js";

/** How far a training has come: bytes read, then tokens in the vocabulary. */
export interface TokenizerProgress {
  stage: "reading" | "merging";
  done: number;
  total: number | null;
}

/** How a text becomes tokens: the pieces it is cut into, and the merges in each. At most its first 10,000 characters. */
export interface TokenTrace {
  text: string;
  pieces: TracePiece[];
}

/** A piece of a text; no merge crosses from one to the next. */
export interface TracePiece {
  text: string;
  /** What merging starts from, as it stands in the vocabulary (a space is `Ġ`). */
  symbols: string[];
  steps: MergeStep[];
  tokens: TraceToken[];
}

/** A merge, applied wherever the pair stands in the piece; of all that could be, the one that was learnt first. */
export interface MergeStep {
  left: string;
  right: string;
  rank: number;
  /** The piece after it. */
  symbols: string[];
}

/** A token: its number, how it stands in the vocabulary, and how it looks in a text. */
export interface TraceToken {
  id: number;
  token: string;
  text: string;
}

/** How a vocabulary is learnt from a short text, merge by merge. */
export interface TrainTrace {
  symbols: string[];
  steps: TrainStep[];
}

/** The most frequent pair becomes a token. */
export interface TrainStep {
  left: string;
  right: string;
  /** How often the pair stood in the text. */
  count: number;
  token: string;
  /** A letter that stands for the token in `compressed`. */
  letter: string;
  symbols: string[];
  compressed: string;
}

/** What a tokenizer learns from. */
export interface TokenizerOptions {
  /** `"stories"` for the built-in generator, any other string is the text itself, or a text file. */
  data: string | Blob;
  /** `char`, `byte` or `bpe:SIZE`. @default "char" */
  kind?: string;
  /** Which stories. @default 1337 */
  seed?: number;
}

/** What a page says besides. */
export interface TokenizerTraining extends TokenizerOptions {
  onProgress?: (progress: TokenizerProgress) => void;
  signal?: AbortSignal;
}

/** A tokenizer in the worker. */
export interface Named {
  handle: number;
}

/** What is known of it here. */
export interface Vocabulary extends Named {
  kind: string | undefined;
  vocabSize: number;
}

/** What a training tells the page: its progress, and in the end the tokenizer. */
export type TokenizerEvent = TokenizerProgress | Vocabulary;

/** The tokenizers of a `Cloche`. */
export class Tokenizers {
  readonly #remote: Remote<Api>;

  /** Made by `Cloche.create`. */
  constructor(remote: Remote<Api>) {
    this.#remote = remote;
  }

  /** Learns a tokenizer from a text. */
  async train({ onProgress, signal, ...options }: Sourced<TokenizerTraining>): Promise<TokenizerHandle> {
    const asked = await gathered<TokenizerOptions>(options, signal);
    for await (const event of this.#remote.stream("trainTokenizer", asked, signal)) {
      if ("handle" in event) return new TokenizerHandle(this.#remote, event);
      onProgress?.(event);
    }
    throw new ClocheError("ENGINE_CRASHED", "the tokenizer's training ended without a tokenizer");
  }

  /** Reads a `tokenizer.json`, with its `tokenizer_config.json` if there is one. */
  async load(json: string, config?: string): Promise<TokenizerHandle> {
    return new TokenizerHandle(this.#remote, await this.#remote.request("loadTokenizer", { json, config }));
  }

  /** Learns a vocabulary from a short text, byte-pair encoding at its plainest, and tells each merge. */
  trainTrace(text: string, merges: number): Promise<TrainTrace> {
    return this.#remote.request("trainTrace", { text, merges });
  }
}

/** A tokenizer: text to ids and back. */
export class TokenizerHandle {
  readonly #remote: Remote<Api>;
  /** Its number in the worker. */
  readonly handle: number;
  /** `char`, `byte`, `bpe:SIZE`, or nothing for a pipeline of another kind. */
  readonly kind: string | undefined;
  /** How many ids there are. */
  readonly vocabSize: number;

  /** Made by `Tokenizers`. */
  constructor(remote: Remote<Api>, { handle, kind, vocabSize }: Vocabulary) {
    this.#remote = remote;
    this.handle = handle;
    this.kind = kind;
    this.vocabSize = vocabSize;
  }

  /** The ids of a text, in which special tokens are plain text. */
  encode(text: string): Promise<Uint32Array<ArrayBuffer>> {
    return this.#remote.request("encode", { handle: this.handle, text });
  }

  /** The text of some ids. */
  decode(ids: ArrayLike<number>): Promise<string> {
    return this.#remote.request("decode", { handle: this.handle, ids: Uint32Array.from(ids) });
  }

  /** How a text is split and merged, step by step. */
  trace(text: string): Promise<TokenTrace> {
    return this.#remote.request("trace", { handle: this.handle, text });
  }

  /** `tokenizer.json` and its companions in a Hugging Face folder: each one's name and text. */
  async files(): Promise<Map<string, string>> {
    return new Map(await this.#remote.request("tokenizerFiles", { handle: this.handle }));
  }

  /** Frees it in the worker; doing it twice does no harm. */
  async dispose(): Promise<void> {
    await this.#remote.request("freeTokenizer", { handle: this.handle });
  }

  /** As `dispose`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}
