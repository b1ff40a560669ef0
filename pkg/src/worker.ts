/**
 * The worker: it alone owns the wasm modules, the device and the model. It is started by `Cloche.create` and answers
 * the calls listed in `protocol.ts`.
 */
import { prepare, storySource, textSource, type Corpus } from "./corpus.js";
import { ClocheError, toWire } from "./errors.js";
import { breathe, Gate, Turns } from "./pace.js";
import type { Api, DeviceInfo, GrowEvent, GrowOptions, OpenOptions, SamplingOptions, Steer } from "./protocol.js";
import { serve, type Port } from "./remote.js";
import type { Engine, Generator, Pretrain } from "./wasm/engine.js";
import type { StreamDecoder, Tokenizer } from "./wasm/text.js";

/** What a run leaves behind, to be sampled and saved. */
interface Grown {
  run: Pretrain;
  tokenizer: Tokenizer;
}

class Session implements Api {
  readonly #turns = new Turns();
  readonly #gate = new Gate();
  #engine: Engine | undefined;
  #textWasmUrl: string | undefined;
  #storiesWasmUrl: string | undefined;
  #grown: Grown | undefined;
  #growing = false;
  /** Set by `stop`, which may come before there is a run to stop. */
  #stopping = false;

  async open({ device, wasmUrl, textWasmUrl, storiesWasmUrl }: OpenOptions): Promise<DeviceInfo> {
    this.#textWasmUrl = textWasmUrl;
    this.#storiesWasmUrl = storiesWasmUrl;
    const { Engine } = await loading(async () => {
      const wasm = await import("./wasm/engine.js");
      await wasm.default(wasmUrl ? { module_or_path: wasmUrl } : undefined);
      return wasm;
    });
    this.#engine = await Engine.open(device);
    return this.#engine.describe();
  }

  async *grow(options: GrowOptions, signal: AbortSignal): AsyncGenerator<GrowEvent> {
    if (this.#growing) throw new ClocheError("BUSY", "a run is going on: stop it before you start another");
    this.#growing = true;
    this.#stopping = false;
    this.#gate.open();
    try {
      const corpus = yield* this.#prepare(options, signal);
      yield { event: "prepare", phase: "compiling", done: 0 };
      const settings = settingsOf(options, corpus);
      const { train, val, floor } = corpus;
      const run = await this.#turns.take(() => this.#engine!.startPretrain(settings, train, val, floor));
      this.#grown?.run.free();
      this.#grown?.tokenizer.free();
      this.#grown = { run, tokenizer: corpus.tokenizer };
      yield* this.#steps(run, corpus, signal);
    } finally {
      this.#growing = false;
    }
  }

  async steer(action: Steer): Promise<void> {
    if (action === "pause") return this.#gate.close();
    this.#stopping ||= action === "stop";
    this.#gate.open();
  }

  async *generate(options: SamplingOptions & { prompt: string }, signal: AbortSignal): AsyncGenerator<string> {
    const { run, tokenizer } = this.#model();
    const { prompt, stop = [], ...sampling } = options;
    const decoder = tokenizer.streamDecoder();
    const ids = tokenizer.encode(prompt);
    const generator = await this.#turns.take(() => run.generate(ids, snakeCase({ ...sampling, eotId: tokenizer.eotId })));
    try {
      yield* untilStop(stop, this.#pieces(generator, decoder, signal));
    } finally {
      // After the turn that may be under way: an object that computes cannot be freed.
      await this.#turns.take(() => generator.free());
      decoder.free();
    }
  }

  async *#pieces(generator: Generator, decoder: StreamDecoder, signal: AbortSignal): AsyncGenerator<string> {
    for (;;) {
      const tokens = await this.#turns.take(() => generator.next());
      signal.throwIfAborted();
      if (!tokens) break;
      yield decoder.pushMany(tokens);
      await breathe();
    }
    yield decoder.finish();
  }

  async files(): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
    const { run, tokenizer } = this.#model();
    const encoder = new TextEncoder();
    const texts = tokenizer.files(run.contextLen).map(([name, text]) => [name, encoder.encode(text)]);
    return Object.fromEntries([...(await this.#turns.take(() => run.files())), ...texts]);
  }

  async *#prepare(options: GrowOptions, signal: AbortSignal): AsyncGenerator<GrowEvent, Corpus> {
    const { data, tokenizer = DEFAULT_TOKENIZER, seed = DEFAULT_SEED } = options;
    const text = await this.#text();
    const blob = typeof data === "string" ? new Blob([data]) : data;
    const source =
      data === "stories"
        ? storySource((await this.#stories()).stories, seed)
        : textSource(text, blob, blob instanceof File ? blob.name : "the text");
    const preparation = prepare(source, text, tokenizer, signal);
    let reported = -Infinity;
    for (;;) {
      const { value, done } = await preparation.next();
      if (done) return value;
      if (performance.now() - reported < REPORT_MS) continue;
      reported = performance.now();
      yield value;
      await breathe();
    }
  }

  async *#steps(run: Pretrain, corpus: Corpus, signal: AbortSignal): AsyncGenerator<GrowEvent> {
    for (;;) {
      await this.#gate.pass(signal);
      if (this.#stopping) run.stop();
      const event = await this.#turns.take(() => run.next());
      if (!event) return;
      // The engine keeps its own checkpoints for a command line; a page asks for the files when it wants them.
      if (event.event !== "checkpoint") yield completed(event, corpus);
      await breathe();
    }
  }

  /** The tokenizer's module, loaded when it is first needed. */
  #text(): Promise<typeof import("./wasm/text.js")> {
    return loading(async () => {
      const text = await import("./wasm/text.js");
      await text.default(this.#textWasmUrl ? { module_or_path: this.#textWasmUrl } : undefined);
      return text;
    });
  }

  /** The stories' module, loaded when a run reads them. */
  #stories(): Promise<typeof import("./wasm/stories.js")> {
    return loading(async () => {
      const stories = await import("./wasm/stories.js");
      await stories.default(this.#storiesWasmUrl ? { module_or_path: this.#storiesWasmUrl } : undefined);
      return stories;
    });
  }

  #model(): Grown {
    if (this.#grown) return this.#grown;
    throw new ClocheError("NO_MODEL", "nothing has grown yet: the first step must have been made");
  }
}

/** The seed of runs that name none, as the command line's. */
const DEFAULT_SEED = 1337;
const DEFAULT_TOKENIZER = "char";
/** Progress is reported no more often than this. */
const REPORT_MS = 100;

/** Loads a module; what the network or the content-security policy says becomes one kind of error. */
async function loading<T>(load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    throw new ClocheError("LOAD_FAILED", error instanceof Error ? error.message : String(error));
  }
}

/** The engine's settings: the options it knows, in its spelling, with what the text and the tokenizer decided. */
function settingsOf(options: GrowOptions, { name, tokenizer }: Corpus): object {
  const { data: _data, tokenizer: kind = DEFAULT_TOKENIZER, ...rest } = options;
  const { vocabSize, eotId } = tokenizer;
  // A sample begins as a text does: behind the end of another, or else behind a line break.
  const beginning = eotId === undefined ? tokenizer.encode("\n") : [eotId];
  const samplePrompt = beginning.length > 0 ? Array.from(beginning) : [0];
  const found = { vocabSize, eotId, samplePrompt, dataName: name, tokenizer: kind };
  return snakeCase({ preset: "tiny", steps: 500, seed: DEFAULT_SEED, ...rest, ...found });
}

/** Adds to an event what only the worker knows: the text of samples, the size of the corpus. */
function completed({ ids, ...event }: { event: string; ids?: number[] }, corpus: Corpus): GrowEvent {
  const { train, val, tokenizer } = corpus;
  // The token that stands between documents is not something that the model says.
  const said = ids?.filter((id) => id !== tokenizer.eotId);
  if (said) return { ...event, text: tokenizer.decode(Uint32Array.from(said)) } as GrowEvent;
  if (event.event !== "start") return event as GrowEvent;
  return { ...event, train_tokens: train.length, val_tokens: val.length } as unknown as GrowEvent;
}

/** `batchSize` → `batch_size`; what is undefined is left out. */
function snakeCase(options: object): object {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries.map(([key, value]) => [key.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`), value]));
}

/** Passes text on up to the first stop string, holding back what might yet become one. */
async function* untilStop(stops: string[], pieces: AsyncIterable<string>): AsyncGenerator<string> {
  const longest = Math.max(0, ...stops.map((stop) => stop.length));
  let held = "";
  for await (const piece of pieces) {
    held += piece;
    const found = stops.map((stop) => held.indexOf(stop)).filter((at) => at >= 0);
    if (found.length > 0) {
      held = held.slice(0, Math.min(...found));
      break;
    }
    const ready = held.length - Math.max(0, longest - 1);
    if (ready > 0) {
      yield held.slice(0, ready);
      held = held.slice(ready);
    }
  }
  if (held) yield held;
}

// A fault inside an asynchronous call of the engine reaches nobody by itself: tell the page, which ends this worker.
const scope = self as unknown as Port;
const crash = (reason: unknown) => scope.postMessage({ crash: { ...toWire(reason), code: "ENGINE_CRASHED" } });
self.addEventListener("unhandledrejection", (event) => crash(event.reason));
self.addEventListener("error", (event) => crash(event.error ?? event.message));

serve<Api>(scope, new Session());
