/** How a model speaks: tokens from the engine, text for the page, up to where it has to end. */
import { ClocheError } from "./errors.js";
import { breathe, type Turns } from "./pace.js";
import type { Guessing, SamplingOptions, TokenPiece } from "./protocol.js";
import { asking } from "./shelf.js";
import { Held } from "./stops.js";
import { snakeCase } from "./growing.js";
import type { Pretrain } from "./wasm/engine.js";
import type { Model } from "./wasm/teach.js";
import type { Tokenizer } from "./wasm/text.js";

/** Tokens that a text has at most where nobody says otherwise. */
export const MAX_TOKENS = 200;

/** Pieces of a text come no more often than this, the first one at once: each costs worker and page a message. */
const PIECE_MS = 8;

/** What is to be continued, and by whom. */
export interface Speaker {
  /** The model of the moment: it may move to another module before it is asked. */
  run: () => Pretrain | Model;
  tokenizer: Tokenizer;
  prompt: Uint32Array;
  /** Tokens that end the text. */
  stopIds: Uint32Array | number[];
  turns: Turns;
  /** The model of a number, where it has the same tokens. */
  draft: (number: number) => Model;
}

/** Continues a prompt, piece by piece; the last piece says why the text has ended. */
export async function* speak(speaker: Speaker, options: SamplingOptions & Guessing, signal: AbortSignal): AsyncGenerator<TokenPiece> {
  const { run, tokenizer, prompt, stopIds, turns } = speaker;
  const { stop = [], maxTokens = MAX_TOKENS, adapter = true, draft, ahead = 4, ...sampling } = options;
  const settings = snakeCase({ ...sampling, maxTokens, stopIds: Array.from(stopIds) });
  const begin = (model: Pretrain | Model) => {
    if (draft === undefined) return model.generate(prompt, settings);
    if (!("generateWith" in model)) throw new ClocheError("SETTINGS", "draft: found a model that is still growing, expected one that is not");
    if (!Number.isInteger(ahead)) throw new ClocheError("SETTINGS", `ahead: found ${ahead}, expected a whole number`);
    return model.generateWith(prompt, settings, speaker.draft(draft), ahead);
  };
  const generator = await turns.take(() => asking(run(), adapter, begin));
  const decoder = tokenizer.streamDecoder();
  const held = new Held(stop);
  let said = 0;
  let piece: TokenPiece = { text: "", tokens: [] };
  let told = -Infinity;
  try {
    for (;;) {
      const pairs = await turns.take(() => generator.next());
      signal.throwIfAborted();
      if (!pairs) break;
      const tokens = tokensOf(pairs, tokenizer);
      said += tokens.length;
      piece.tokens.push(...tokens);
      piece.text += held.push(decoder.pushMany(Uint32Array.from(tokens, ({ id }) => id)));
      if (held.ended) return yield { ...piece, finish: "stop", promptTokens: prompt.length };
      if (performance.now() - told < PIECE_MS) continue;
      if (piece.tokens.length > 0) {
        const ready = piece;
        piece = { text: "", tokens: [] };
        yield ready;
        told = performance.now();
      }
      await breathe();
    }
    piece.text += held.push(decoder.finish()) + held.rest();
    const finish = said < maxTokens || held.ended ? "stop" : "length";
    yield { ...piece, finish, promptTokens: prompt.length };
  } catch (error) {
    // What was drawn before it failed is not lost.
    if (!signal.aborted && piece.tokens.length > 0) yield piece;
    throw error;
  } finally {
    // After the turn that may be under way: an object that computes cannot be freed.
    await turns.take(() => generator.free());
    decoder.free();
  }
}

/** Ids and log-probabilities, which the engine hands over in turns. */
function tokensOf(pairs: Float32Array, tokenizer: Tokenizer): TokenPiece["tokens"] {
  return Array.from({ length: pairs.length / 2 }, (_, i) => {
    const [id, logProb] = [pairs[2 * i]!, pairs[2 * i + 1]!];
    return { id, text: tokenizer.decode(Uint32Array.of(id)), logProb };
  });
}
