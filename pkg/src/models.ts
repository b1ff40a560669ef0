/// <reference lib="esnext.disposable" preserve="true" />
/** Models as a page uses them: the current one, which a `Cloche` speaks for, and others that are kept beside it. */
import { ChatCompletions, collected, drawnSeed, joined, TextCompletions } from "./completions.js";
import type { Address, DownloadProgress } from "./downloads.js";
import { ClocheError } from "./errors.js";
import type { Probe, ProbeOptions } from "./probes.js";
import type { Asked } from "./prompts.js";
import type { Api, Preset, SamplingOptions, Several, Slots, TokenPiece } from "./protocol.js";
import type { Remote } from "./remote.js";
import type { TokenizerHandle } from "./tokenizers.js";
import type { Files, Message } from "./tuning.js";

/** A signal by which a page gives up what it has asked for. */
export interface Abortable {
  signal?: AbortSignal;
}

/**
 * Where a model is opened from: the files of a Hugging Face folder, a zip of them, or the address of either
 * (`new URL("https://…/resolve/main/")`).
 */
export type ModelSource = Files | Blob | URL;

/** How a model is opened. All but the name and the signal is about one at an address. */
export interface LoadOptions extends Pick<Address, "sha256" | "files">, Abortable {
  /** What it is called. By default what its address says. */
  name?: string;
  /** Hears how far each file has come, in bytes; first how large it is, before anything of it has come. */
  onProgress?: (progress: DownloadProgress) => void;
}

/** What is known of a model. */
export interface ModelInfo {
  /** What model cards of what it becomes call it. */
  name: string;
  layers: number;
  /** Of each layer. */
  heads: number;
  vocabSize: number;
  /** The length of its context, in tokens. */
  contextLen: number;
  /** Whether an adapter lies beside its weights: `adapter: false` asks the model without it. */
  hasAdapter: boolean;
}

/** Which of the worker's models is meant: the current one where it is left out. */
export interface Whom {
  model?: number | undefined;
}

/** What a new model is. */
export interface CreateModelOptions {
  /** Its size. @default "tiny" */
  preset?: Preset;
  /** In place of a preset, what a `config.json` of Hugging Face's says of a GPT-2 or a Llama; the vocabulary is the tokenizer's. */
  config?: object;
  /** A copy of it becomes the model's. By default its tokens are the printable characters of ASCII and the marks of a chat. */
  tokenizer?: TokenizerHandle;
  /** Tokens that it sees at once. By default as many as the preset or the configuration says. */
  contextLen?: number;
  /** What its weights are drawn from. @default 1337 */
  seed?: number;
}

/** What a copy of a model is to be. */
export interface CopyOptions {
  /**
   * Rounds its linear layers to codes of 8 or 4 bits: it generates with less memory and time, its files are smaller, and it can
   * neither learn nor be copied or looked into.
   */
  quantize?: "int8" | "int4" | undefined;
}

/** How a model is asked many things. */
export interface AskManyOptions extends SamplingOptions, Slots, Abortable {}

/** How a model is asked. */
export interface AskOptions extends SamplingOptions, Abortable {
  /**
   * A smaller model with the same tokenizer, which guesses what comes next: where it guesses right, several tokens cost one reading
   * of the weights. The text is what it would be without it. Under a repetition penalty nothing is guessed.
   */
  draft?: Model;
  /** Tokens of a guess. @default 4 */
  ahead?: number;
}

/** An answer as a whole. */
export interface Answer {
  text: string;
  tokens: TokenPiece["tokens"];
  /** How likely the model thinks it, in nats: the sum of its tokens' log-probabilities, whatever was made of them to draw it. */
  logProb: number;
  /** The same for each token: `exp(-meanLogProb)` is the perplexity. 0 where there is no token. */
  meanLogProb: number;
  /** Whether the text has come to an end, or to as many tokens as it may have. */
  finish: "stop" | "length";
}

/** Answers a conversation. */
export interface Chat {
  /** The answer, piece by piece. */
  (messages: Message[], options?: AskOptions): AsyncGenerator<string, void>;
  /** The same in OpenAI's shape. */
  completions: ChatCompletions;
}

/** A model that can be asked. */
export class Speaker {
  readonly #remote: Remote<Api>;
  readonly #whom: Whom;
  /** The answer to a conversation, piece by piece; `chat.completions.create` gives it in OpenAI's shape. */
  readonly chat: Chat;
  /** Continued texts in OpenAI's shape. */
  readonly completions: TextCompletions;

  /** Made by `Cloche.create` and `Models`. */
  constructor(remote: Remote<Api>, whom: Whom = {}) {
    this.#remote = remote;
    this.#whom = whom;
    this.chat = Object.assign((messages: Message[], options?: AskOptions) => textOf(this.#speak(messages, options), options), {
      completions: new ChatCompletions((messages, sampling, signal) => this.#speak(messages, { ...sampling, ...(signal && { signal }) })),
    });
    this.completions = new TextCompletions((prompt, sampling, signal) =>
      typeof prompt === "string" ? this.#speak(prompt, { ...sampling, ...(signal && { signal }) }) : this.#speakMany(prompt, sampling, signal),
    );
  }

  /** Continues a text, piece by piece, also while the model is still growing. */
  generate(prompt: string, options: AskOptions = {}): AsyncGenerator<string, void> {
    return textOf(this.#speak(prompt, options), options);
  }

  /** As `generate`, with each token and its log-probability; a piece may hold several. With `n` each says which text it belongs to. */
  generateTokens(prompt: string, options: AskOptions & Several = {}): AsyncGenerator<TokenPiece, void> {
    return this.#speak(prompt, options);
  }

  /**
   * Continues a text, or answers a conversation, `n` times at once, each with the log-probability that the model gives it. They
   * are drawn from one seed, and share each reading of the weights: eight take a fraction of eight times as long as one. A
   * draft guesses for one only.
   */
  async answers(asked: Asked, { seed = drawnSeed(), ...options }: AskOptions & Several = {}): Promise<Answer[]> {
    const { texts } = await collected(this.#speak(asked, { ...options, seed }));
    return texts.map(answerOf);
  }

  /**
   * Continues many texts, or answers many conversations, and yields each answer as soon as it has ended, with its place in the
   * list. A few are computed at once and share each reading of the weights; one that ends leaves its slot to the next. None goes
   * on beyond the model's context. They are drawn from one seed: what is said to one depends on it, its place and the seed alone.
   * A model that is still growing answers `BUSY`.
   */
  async *answersTo(asked: string[] | Message[][], { signal, seed = drawnSeed(), ...options }: AskManyOptions = {}): AsyncGenerator<Answer & { index: number }, void> {
    const begun = new Map<number, TokenPiece>();
    for await (const piece of this.#speakMany(asked, { seed, ...options }, signal)) {
      const whole = joined(begun.get(piece.index), piece);
      begun.set(piece.index, whole);
      if (!piece.finish) continue;
      begun.delete(piece.index);
      yield { index: piece.index, ...answerOf(whole) };
    }
  }

  /** Reads a text with the weights of this moment, also while the model is still growing, and shows what happens inside. */
  probe(text: string, options: ProbeOptions = {}): Promise<Probe> {
    return this.#remote.request("probe", { text, ...options, ...this.#whom });
  }

  /**
   * The model as a Hugging Face folder, or the adapter that has learnt beside it as one of PEFT's: each file's name and
   * bytes, or all of them in a zip. With `judge` it is the reward model.
   */
  export(options: { judge?: boolean; zip: true }): Promise<Blob>;
  export(options?: { judge?: boolean; zip?: false }): Promise<Files>;
  async export({ zip = false, ...options }: { judge?: boolean; zip?: boolean } = {}): Promise<Files | Blob> {
    const asked = { ...options, ...this.#whom };
    if (zip) return this.#remote.request("archive", asked);
    return new Map(Object.entries(await this.#remote.request("files", asked)));
  }

  #speakMany(asked: Asked[], options: SamplingOptions & Slots, signal: AbortSignal | undefined): AsyncGenerator<TokenPiece, void> {
    return this.#remote.stream("speakMany", { asked, ...options, ...this.#whom }, signal);
  }

  #speak(asked: Asked, { signal, draft, ...sampling }: AskOptions & Several = {}): AsyncGenerator<TokenPiece, void> {
    return this.#remote.stream("speak", { asked, ...sampling, ...(draft && { draft: draft.number }), ...this.#whom }, signal);
  }
}

/** A model beside the current one. It is there until it is disposed of. */
export class Model extends Speaker {
  readonly #remote: Remote<Api>;
  /** Its number in the worker. */
  readonly number: number;
  readonly info: ModelInfo;

  /** Made by `Models`. */
  constructor(remote: Remote<Api>, number: number, info: ModelInfo) {
    super(remote, { model: number });
    this.#remote = remote;
    this.number = number;
    this.info = info;
  }

  /** Frees it in the worker, unless it is the current one; doing it twice does no harm. */
  async dispose(): Promise<void> {
    await this.#remote.request("freeModel", { model: this.number });
  }

  /** As `dispose`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/** `cloche.models`: models beside the current one, as many as there is memory for. None can be made while a run goes on. */
export class Models {
  readonly #remote: Remote<Api>;

  constructor(remote: Remote<Api>) {
    this.#remote = remote;
  }

  /** A new model, before it has learnt anything. */
  async create({ tokenizer, ...options }: CreateModelOptions = {}): Promise<Model> {
    return this.#held(await this.#remote.request("createModel", { ...options, tokenizer: tokenizer?.handle }));
  }

  /** A copy of the current model, or of another one, as it is now. An adapter becomes a part of the copy's weights. */
  async copy(model?: Model, { quantize }: CopyOptions = {}): Promise<Model> {
    return this.#held(await this.#remote.request("copyModel", { model: model?.number, quantize }));
  }

  /** Opens a model as `Cloche.load` does, beside the current one. */
  async load(from: ModelSource, options: LoadOptions = {}): Promise<Model> {
    return this.#held(await opened<ModelInfo & { model: number }>(this.#remote, "loadModel", from, options));
  }

  /** Makes a model the current one, which `Cloche` speaks for and which is taught next; its weights are what learns then. */
  use(model: Model): Promise<void> {
    return this.#remote.request("useModel", { model: model.number });
  }

  #held({ model, ...info }: ModelInfo & { model: number }): Model {
    return new Model(this.#remote, model, info);
  }
}

/** Has the worker open a model, and passes on how far it has come. */
export async function opened<Info extends ModelInfo>(
  remote: Remote<Api>,
  call: "load" | "loadModel",
  source: ModelSource,
  { name, signal, onProgress, sha256, files }: LoadOptions,
): Promise<Info> {
  if (typeof source !== "object" || source === null) {
    const found = typeof source === "string" ? "a text" : String(source ?? "nothing");
    throw new ClocheError("SETTINGS", `model: found ${found}, expected files, a zip, or an address: new URL("…")`);
  }
  const from = source instanceof URL ? { href: source.href, sha256, files } : source;
  for await (const told of remote.stream(call, { from, name }, signal)) {
    if (!("loaded" in told)) return told as Info;
    onProgress?.(told);
  }
  throw new ClocheError("ENGINE_CRASHED", "a model was opened, but nothing is known of it");
}

/** What has been said as an answer. */
function answerOf({ text, tokens, finish = "stop" }: TokenPiece): Answer {
  const sum = tokens.reduce((sum, { logProb }) => sum + logProb, 0);
  return { text, tokens, logProb: sum, meanLogProb: sum / Math.max(1, tokens.length), finish };
}

/** A text alone: the pieces of several would be one to whoever hears them. */
async function* textOf(pieces: AsyncIterable<TokenPiece>, { n = 1 }: AskOptions & Several = {}): AsyncGenerator<string, void> {
  if (n !== 1) throw new ClocheError("SETTINGS", `n: found ${n}, expected 1: \`answers\` gives several`);
  for await (const { text } of pieces) if (text !== "") yield text;
}
