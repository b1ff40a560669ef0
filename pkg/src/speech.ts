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
  try {
    for (;;) {
      const pairs = await turns.take(() => generator.next());
      signal.throwIfAborted();
      if (!pairs) break;
      const tokens = tokensOf(pairs, tokenizer);
      said += tokens.length;
      const text = held.push(decoder.pushMany(Uint32Array.from(tokens, ({ id }) => id)));
      if (held.ended) return yield { text, tokens, finish: "stop", promptTokens: prompt.length };
      if (text !== "" || tokens.length > 0) yield { text, tokens };
      await breathe();
    }
    const text = held.push(decoder.finish()) + held.rest();
    const finish = said < maxTokens || held.ended ? "stop" : "length";
    yield { text, tokens: [], finish, promptTokens: prompt.length };
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
