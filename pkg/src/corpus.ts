/** From a text to token ids: reads it in pieces, trains the tokenizer, encodes, and keeps a part for evaluation. */
import type { GrowEvent } from "./protocol.js";
import type { TokenizerProgress } from "./tokenizers.js";
import type { Tokenizer } from "./wasm/text.js";

type Prepare = Extract<GrowEvent, { event: "prepare" }>;

/** A piece of text; `ends` where its document ends with it. */
interface Piece {
  text: string;
  ends: boolean;
}

/** A text that can be read more than once. */
export interface Source {
  /** What the text is called. */
  name: string;
  pieces(): AsyncIterable<Piece>;
  /**
   * Where the source consists of documents: those kept for evaluation, and how likely they are, in nats. The end of a
   * document is a token then; a single text is one row without an end, and its last tenth is kept.
   */
  heldOut?: { texts: string[]; logProb: number };
}

/** What the engine trains on. */
export interface Corpus {
  /** What the text is called. */
  name: string;
  tokenizer: Tokenizer;
  train: Uint32Array<ArrayBuffer>;
  val: Uint32Array<ArrayBuffer>;
  /** Nats per token below which no model can go. */
  floor?: number;
}

/** Of a single text, the last tenth is held out, as nanoGPT does. */
const HELD_OUT = 0.1;
/** Characters of stories that a run reads, half as many as on the command line, and those kept for evaluation. */
const STORY_CHARS = 4_000_000;
const HELD_OUT_CHARS = STORY_CHARS / 20;
const STORY_BATCH = 100;

type StoriesFunction = typeof import("./wasm/stories.js").stories;
type TextModule = typeof import("./wasm/text.js");

/** The built-in stories of a seed. */
export function storySource(stories: StoriesFunction, seed: number): Source {
  const heldOut = [...tell(stories, seed, "validation", HELD_OUT_CHARS)];
  return {
    name: `Cloche's built-in stories, seed ${seed}`,
    heldOut: {
      texts: heldOut.map((story) => story.text),
      logProb: heldOut.reduce((sum, story) => sum + story.logProb, 0),
    },
    async *pieces() {
      for (const { text } of tell(stories, seed, "train", STORY_CHARS)) yield { text, ends: true };
    },
  };
}

/** Stories until so many characters are told. */
function* tell(stories: StoriesFunction, seed: number, split: "train" | "validation", chars: number) {
  let told = 0;
  for (let start = 0; ; start += STORY_BATCH) {
    const { texts, logProbs } = stories(seed, split, start, STORY_BATCH);
    for (const [i, text] of texts.entries()) {
      if (told >= chars) return;
      yield { text, logProb: logProbs[i]! };
      told += text.length;
    }
  }
}

/** A text file, streamed; it is never in memory as a whole. */
export function textSource({ Utf8Reader }: TextModule, blob: Blob, name: string): Source {
  return {
    name,
    async *pieces() {
      const reader = new Utf8Reader(name);
      let carry = "";
      for await (const chunk of chunks(blob)) {
        const text = carry + reader.push(chunk);
        const cut = safeCut(text);
        carry = text.slice(cut);
        if (cut > 0) yield { text: text.slice(0, cut), ends: false };
      }
      reader.finish();
      yield { text: carry, ends: true };
    },
  };
}

/** Learns a tokenizer from a source. Yields its progress; `report` hears of the merges while they are made. */
export async function* learnTokenizer(
  source: Source,
  text: TextModule,
  { kind, chatTokens, report }: { kind: string; chatTokens: boolean; report?: (progress: TokenizerProgress) => void },
  signal: AbortSignal,
): AsyncGenerator<Prepare, Tokenizer> {
  const trainer = new text.TokenizerTrainer(kind);
  trainer.chatTokens(chatTokens);
  let read = 0;
  for await (const { text, ends } of source.pieces()) {
    signal.throwIfAborted();
    trainer.feed(text);
    if (ends) trainer.endDocument();
    yield { event: "prepare", phase: "reading", done: (read += text.length) };
  }
  for (const text of source.heldOut?.texts ?? []) {
    trainer.feed(text);
    trainer.endDocument();
  }
  yield { event: "prepare", phase: "tokenizer", done: 0 };
  return trainer.finish(report);
}

/** Reads a source to encode it. Yields its progress and returns the corpus. */
export async function* prepare(source: Source, tokenizer: Tokenizer, signal: AbortSignal): AsyncGenerator<Prepare, Corpus> {
  const ids = new Ids();
  for await (const { text, ends } of source.pieces()) {
    signal.throwIfAborted();
    ids.push(tokenizer.encode(text));
    if (ends && source.heldOut) ids.end(tokenizer);
    yield { event: "prepare", phase: "encoding", done: ids.length };
  }
  if (!source.heldOut) {
    const all = ids.take();
    const cut = all.length - Math.round(all.length * HELD_OUT);
    return { name: source.name, tokenizer, train: all.subarray(0, cut), val: all.subarray(cut) };
  }
  const val = new Ids();
  for (const text of source.heldOut.texts) {
    val.push(tokenizer.encode(text));
    val.end(tokenizer);
  }
  const floor = -source.heldOut.logProb / val.length;
  return { name: source.name, tokenizer, train: ids.take(), val: val.take(), floor };
}

/** The bytes of a file in chunks. A `ReadableStream` is no async iterable in every browser yet. */
async function* chunks(blob: Blob): AsyncGenerator<Uint8Array> {
  const reader = blob.stream().getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.releaseLock();
  }
}

/**
 * Where a text may be cut so that its halves are encoded as the whole would be: before the last space that follows
 * something else, since every tokenizer here lets a word begin with its space. 0 where there is no such place.
 */
function safeCut(text: string): number {
  for (let at = text.length - 1; at > 0; at--) {
    if (text[at] === " " && !/\s/.test(text[at - 1]!)) return at;
  }
  return text.length > 1 << 20 ? text.length : 0;
}

/** A list of ids that grows without copying everything each time. */
class Ids {
  #ids = new Uint32Array(1 << 16);
  length = 0;

  push(more: ArrayLike<number>): void {
    if (this.length + more.length > this.#ids.length) {
      const larger = new Uint32Array(Math.max(2 * this.#ids.length, this.length + more.length));
      larger.set(this.#ids.subarray(0, this.length));
      this.#ids = larger;
    }
    this.#ids.set(more, this.length);
    this.length += more.length;
  }

  /** Ends a document. */
  end({ eotId }: Tokenizer): void {
    if (eotId !== undefined) this.push([eotId]);
  }

  take(): Uint32Array<ArrayBuffer> {
    return this.#ids.slice(0, this.length);
  }
}
