/**
 * Completions in the shape of OpenAI's client, over whatever model is there: what was written against
 * `openai.chat.completions.create` runs against `cloche.chat.completions.create`.
 */
import { ClocheError } from "./errors.js";
import type { SamplingOptions, Several, TokenPiece } from "./protocol.js";
import type { Message } from "./tuning.js";

/** What both kinds take. Fields of OpenAI's that mean nothing here, such as `model` and `user`, are let pass. */
export interface CompletionParams {
  model?: string;
  max_tokens?: number | null;
  max_completion_tokens?: number | null;
  temperature?: number | null;
  top_p?: number | null;
  seed?: number | null;
  stop?: string | string[] | null;
  /** How many answers. @default 1 */
  n?: number | null;
  stream?: boolean | null;
  user?: string;
}

export interface ChatCompletionParams extends CompletionParams {
  messages: Message[];
  logprobs?: boolean | null;
}

export interface TextCompletionParams extends CompletionParams {
  /** Of several, each has `n` choices, which stand in their order. */
  prompt: string | string[];
  logprobs?: number | boolean | null;
}

export type FinishReason = "stop" | "length";

/** The log-probability of a token, in nats. */
export interface TokenLogprob {
  token: string;
  logprob: number;
  /** In UTF-8; none where the token is a part of a character. */
  bytes: number[] | null;
}

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
}

interface Head<Kind extends string> {
  id: string;
  object: Kind;
  /** In seconds since 1970. */
  created: number;
  model: string;
}

export interface ChatCompletion extends Head<"chat.completion"> {
  choices: {
    index: number;
    message: { role: "assistant"; content: string };
    finish_reason: FinishReason;
    logprobs: { content: TokenLogprob[] } | null;
  }[];
  usage: Usage;
}

export interface ChatCompletionChunk extends Head<"chat.completion.chunk"> {
  choices: {
    index: number;
    delta: { role?: "assistant"; content?: string };
    finish_reason: FinishReason | null;
    logprobs: { content: TokenLogprob[] } | null;
  }[];
  /** With the last chunk. */
  usage?: Usage;
}

export interface TextCompletion extends Head<"text_completion"> {
  choices: {
    index: number;
    text: string;
    finish_reason: FinishReason | null;
    logprobs: { tokens: string[]; token_logprobs: number[] } | null;
  }[];
  usage?: Usage;
}

/** How a request is aborted. */
export interface RequestOptions {
  signal?: AbortSignal;
}

/** Draws answers, piece by piece. */
type Draw<Asked> = (asked: Asked, sampling: SamplingOptions & Several, signal?: AbortSignal) => AsyncGenerator<TokenPiece, void>;

/** `cloche.chat.completions`. */
export class ChatCompletions {
  readonly #draw: Draw<Message[]>;

  constructor(draw: Draw<Message[]>) {
    this.#draw = draw;
  }

  create(params: ChatCompletionParams & { stream: true }, options?: RequestOptions): Promise<AsyncGenerator<ChatCompletionChunk, void>>;
  create(params: ChatCompletionParams & { stream?: false | null }, options?: RequestOptions): Promise<ChatCompletion>;
  async create(params: ChatCompletionParams, options: RequestOptions = {}): Promise<ChatCompletion | AsyncGenerator<ChatCompletionChunk, void>> {
    const { messages, logprobs } = params;
    if (!Array.isArray(messages)) throw new ClocheError("SETTINGS", "messages: found none, expected a list of messages");
    const said = this.#draw(messages, samplingOf(params), options.signal);
    const logs = (piece: TokenPiece) => (logprobs ? { content: piece.tokens.map(logOf) } : null);
    if (params.stream) return chunks(headOf("chat.completion.chunk", params), said, logs);
    const { texts, usage } = await collected(said);
    const choices = texts.map(({ text, tokens, finish }, index) => ({
      index,
      message: { role: "assistant" as const, content: text },
      finish_reason: finish!,
      logprobs: logs({ index, text, tokens }),
    }));
    return { ...headOf("chat.completion", params), choices, usage };
  }
}

/** `cloche.completions`. */
export class TextCompletions {
  readonly #draw: Draw<string | string[]>;

  constructor(draw: Draw<string | string[]>) {
    this.#draw = draw;
  }

  create(params: TextCompletionParams & { stream: true }, options?: RequestOptions): Promise<AsyncGenerator<TextCompletion, void>>;
  create(params: TextCompletionParams & { stream?: false | null }, options?: RequestOptions): Promise<TextCompletion>;
  async create(params: TextCompletionParams, options: RequestOptions = {}): Promise<TextCompletion | AsyncGenerator<TextCompletion, void>> {
    const { prompt, logprobs } = params;
    if (typeof prompt !== "string" && !Array.isArray(prompt)) throw new ClocheError("SETTINGS", "prompt: found none, expected a text");
    const head = headOf("text_completion", params);
    const { n = 1, ...sampling } = samplingOf(params);
    if (!Number.isInteger(n) || n < 1) throw new ClocheError("SETTINGS", `n: found ${n}, expected a whole number above 0`);
    const said =
      typeof prompt === "string"
        ? this.#draw(prompt, { ...sampling, n }, options.signal)
        : this.#draw(prompt.flatMap((text) => Array<string>(n).fill(text)), sampling, options.signal);
    const choice = ({ index, text, tokens, finish }: TokenPiece) => {
      const logs = { tokens: tokens.map((token) => token.text), token_logprobs: tokens.map((token) => token.logProb) };
      return { index, text, finish_reason: finish ?? null, logprobs: logprobs === 0 || logprobs ? logs : null };
    };
    if (params.stream) return streamed(said, (piece): TextCompletion => ({ ...head, choices: [choice(piece)] }), n);
    const { texts, usage } = await collected(said, n);
    return { ...head, choices: texts.map(choice), usage };
  }
}

function headOf<Kind extends string>(object: Kind, { model = "cloche" }: CompletionParams): Head<Kind> {
  const id = Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("");
  return { id: `cloche-${id}`, object, created: Math.floor(Date.now() / 1000), model };
}

/** OpenAI's names for what is sampled, in ours. */
function samplingOf(params: CompletionParams): SamplingOptions & Several {
  const { temperature, top_p, seed, stop, n } = params;
  const maxTokens = params.max_completion_tokens ?? params.max_tokens;
  return {
    ...(typeof maxTokens === "number" && { maxTokens }),
    ...(typeof temperature === "number" && { temperature }),
    ...(typeof top_p === "number" && { topP: top_p }),
    ...(typeof n === "number" && { n }),
    seed: seed ?? drawnSeed(),
    ...(stop && { stop: [stop].flat() }),
  };
}

/** A seed for whoever names none. */
export function drawnSeed(): number {
  return Math.floor(Math.random() * 2 ** 31);
}

/** A piece behind what has come of its text before, which becomes a part of that. */
export function joined(whole: TokenPiece | undefined, piece: TokenPiece): TokenPiece {
  if (!whole) return { ...piece };
  whole.text += piece.text;
  whole.tokens.push(...piece.tokens);
  if (piece.finish) whole.finish = piece.finish;
  return whole;
}

/** Whole texts of pieces that come in turns, `n` of them for each prompt. */
export async function collected(said: AsyncIterable<TokenPiece>, n = Infinity): Promise<{ texts: TokenPiece[]; usage: Usage }> {
  const texts: TokenPiece[] = [];
  const usage = new Count(n);
  for await (const piece of said) {
    texts[piece.index] = joined(texts[piece.index], piece);
    usage.add(piece);
  }
  return { texts, usage: usage.total() };
}

/** The pieces of a conversation's answers, each with the role first, how it ended last. */
async function* chunks(head: Head<"chat.completion.chunk">, said: AsyncGenerator<TokenPiece, void>, logs: (piece: TokenPiece) => { content: TokenLogprob[] } | null): AsyncGenerator<ChatCompletionChunk, void> {
  const begun = new Set<number>();
  yield* streamed(said, (piece): ChatCompletionChunk => {
    const { index, text, finish } = piece;
    const isFirst = !begun.has(index);
    begun.add(index);
    const delta = { ...(isFirst && { role: "assistant" as const }), ...((text !== "" || isFirst) && { content: text }) };
    return { ...head, choices: [{ index, delta, finish_reason: finish ?? null, logprobs: logs(piece) }] };
  });
}

/** Pieces as chunks, the usage with the last of them; each prompt has `n` texts. */
async function* streamed<Chunk extends { usage?: Usage }>(said: AsyncGenerator<TokenPiece, void>, chunkOf: (piece: TokenPiece) => Chunk, n = Infinity): AsyncGenerator<Chunk, void> {
  const usage = new Count(n);
  let last: Chunk | undefined;
  try {
    for await (const piece of said) {
      if (last) yield last;
      last = chunkOf(piece);
      usage.add(piece);
    }
  } catch (error) {
    // What came before it failed is not lost.
    if (last) yield last;
    throw error;
  }
  if (last) yield { ...last, usage: usage.total() };
}

/** What was read and said, in `n` texts for each prompt. */
class Count {
  readonly #n: number;
  /** The length of each prompt: it counts once, however many answers it has. */
  readonly #prompts = new Map<number, number>();
  #said = 0;

  constructor(n: number) {
    this.#n = n;
  }

  add({ index, tokens, promptTokens }: TokenPiece): void {
    this.#said += tokens.length;
    if (promptTokens !== undefined) this.#prompts.set(Math.floor(index / this.#n), promptTokens);
  }

  total(): Usage {
    const read = Array.from(this.#prompts.values()).reduce((sum, length) => sum + length, 0);
    return { prompt_tokens: read, completion_tokens: this.#said, total_tokens: read + this.#said };
  }
}

function logOf({ text, logProb }: TokenPiece["tokens"][number]): TokenLogprob {
  return { token: text, logprob: logProb, bytes: text.includes("\uFFFD") ? null : Array.from(new TextEncoder().encode(text)) };
}
