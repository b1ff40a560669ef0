/** How a model speaks: tokens from the engine, text for the page, up to where it has to end. */
import { compiled } from "./compiling.js";
import { ClocheError } from "./errors.js";
import { breathe, type Turns } from "./pace.js";
import type { Prompt } from "./prompts.js";
import type { Guessing, SamplingOptions, Several, Slots, TokenPiece } from "./protocol.js";
import { asking } from "./shelf.js";
import { Held } from "./stops.js";
import { snakeCase } from "./growing.js";
import type { Pretrain } from "./wasm/engine.js";
import type { Model } from "./wasm/teach.js";
import type { Tokenizer } from "./wasm/text.js";

/** Tokens that a text has at most where nobody says otherwise. */
export const MAX_TOKENS = 200;

/** How many of many texts go on at once where nobody says otherwise. */
export const DEFAULT_SLOTS = 8;

/** Pieces of a text come no more often than this, the first one at once: each costs worker and page a message. */
const PIECE_MS = 8;

/** What is to be continued, and by whom. */
export interface Speaker {
  /** The model of the moment: it may move to another module before it is asked. */
  run: () => Pretrain | Model;
  tokenizer: Tokenizer;
  /** Of several, the first says what ends each of their texts. */
  prompts: Prompt[];
  turns: Turns;
  /** The model of a number, where it has the same tokens. */
  draft: (number: number) => Model;
}

/**
 * Continues a prompt, once or `n` times, or many prompts with so many `slots`, piece by piece; the last piece of each text says
 * why it has ended.
 */
export async function* speak(speaker: Speaker, options: SamplingOptions & Several & Guessing & Slots, signal: AbortSignal): AsyncGenerator<TokenPiece> {
  const { run, tokenizer, prompts, turns } = speaker;
  const { stop = [], maxTokens = MAX_TOKENS, adapter = true, n = 1, slots, draft, ahead = 4, ...sampling } = options;
  const [{ ids: prompt, stopIds, stop: ends }] = prompts as [Prompt];
  const settings = snakeCase({ ...sampling, ...(slots === undefined ? { n } : { slots }), maxTokens, stopIds: Array.from(stopIds) });
  const begin = (model: Pretrain | Model) => {
    if (slots !== undefined) return (model as Model).generateMany(...sideBySide(prompts), settings);
    // Nobody guesses for several texts: they share each reading of the weights as it is.
    if (draft === undefined || n > 1) return model.generate(prompt, settings);
    if (!("generateWith" in model)) throw new ClocheError("SETTINGS", "draft: found a model that is still growing, expected one that is not");
    if (!Number.isInteger(ahead)) throw new ClocheError("SETTINGS", `ahead: found ${ahead}, expected a whole number`);
    return model.generateWith(prompt, settings, speaker.draft(draft), ahead);
  };
  const generator = await compiled(turns, () => asking(run(), adapter, begin), signal);
  const continued = slots === undefined ? Array<Prompt>(n).fill(prompts[0]!) : prompts;
  const texts = continued.map((prompt, index) => new Text(index, tokenizer, [stop, ends].flat(), maxTokens, prompt));
  const pieces = () => texts.map((text) => text.piece()).filter((piece) => piece !== undefined);
  let told = -Infinity;
  try {
    while (!texts.every((text) => text.finish)) {
      const drawn = await turns.take(() => generator.next());
      signal.throwIfAborted();
      for (let at = 0; drawn && at < drawn.length; at += 3) {
        const index = drawn[at + 2]!;
        const ended = texts[index]!.push(drawn[at]!, drawn[at + 1]!);
        // A stop string is nothing that the engine knows of.
        if (ended && "end" in generator) generator.end(index);
      }
      if (!drawn) texts.forEach((text) => text.end());
      if (performance.now() - told < PIECE_MS) continue;
      const ready = pieces();
      yield* ready;
      if (ready.length > 0) told = performance.now();
      await breathe();
    }
    yield* pieces();
  } catch (error) {
    // What was drawn before it failed is not lost.
    if (!signal.aborted) yield* pieces();
    throw error;
  } finally {
    // After the turn that may be under way: an object that computes cannot be freed.
    await turns.take(() => generator.free());
    texts.forEach((text) => text.free());
  }
}

/** Prompts one behind the other, and how long each is. */
function sideBySide(prompts: Prompt[]): [Uint32Array, Uint32Array] {
  const lengths = Uint32Array.from(prompts, ({ ids }) => ids.length);
  const all = new Uint32Array(lengths.reduce((sum, length) => sum + length, 0));
  let at = 0;
  for (const { ids } of prompts) {
    all.set(ids, at);
    at += ids.length;
  }
  return [all, lengths];
}

/** One of the texts that go on, and what of it nobody has been told. */
class Text {
  readonly #tokenizer: Tokenizer;
  readonly #decoder: ReturnType<Tokenizer["streamDecoder"]>;
  readonly #held: Held;
  readonly #maxTokens: number;
  readonly #index: number;
  readonly #promptTokens: number;
  #said = 0;
  #text = "";
  #tokens: TokenPiece["tokens"] = [];
  /** Whether the last piece has been told. */
  #over = false;
  /** Why it has ended. */
  finish: TokenPiece["finish"];

  constructor(index: number, tokenizer: Tokenizer, stop: string[], maxTokens: number, { ids, shown }: Prompt) {
    this.#tokenizer = tokenizer;
    this.#decoder = tokenizer.streamDecoder(shown);
    this.#held = new Held(stop);
    this.#maxTokens = maxTokens;
    this.#index = index;
    this.#promptTokens = ids.length;
  }

  /** The next token, or -1 in place of one that ends it, -2 where the context does; says whether that is its end. What comes behind it is not heard. */
  push(id: number, logProb: number): boolean {
    if (this.finish) return false;
    if (id < 0) {
      this.end(id === -2);
      return true;
    }
    this.#said += 1;
    this.#tokens.push({ id, text: this.#tokenizer.tokenText(id), logProb });
    this.#text += this.#held.push(this.#decoder.pushMany(Uint32Array.of(id)));
    if (this.#held.ended || this.#said === this.#maxTokens) this.end();
    return this.finish !== undefined;
  }

  /** Nothing follows, maybe because the context is full. */
  end(isFull = false): void {
    if (this.finish) return;
    if (!this.#held.ended) this.#text += this.#held.push(this.#decoder.finish()) + this.#held.rest();
    this.finish = (this.#said < this.#maxTokens && !isFull) || this.#held.ended ? "stop" : "length";
  }

  /** What is new, if anything is. */
  piece(): TokenPiece | undefined {
    const { finish } = this;
    if (this.#over || (!finish && this.#tokens.length === 0)) return undefined;
    const piece = { index: this.#index, text: this.#text, tokens: this.#tokens };
    [this.#text, this.#tokens, this.#over] = ["", [], finish !== undefined];
    return finish ? { ...piece, finish, promptTokens: this.#promptTokens } : piece;
  }

  free(): void {
    this.#decoder.free();
  }
}
