/** What a run will take: the engine plans it, and two small models show how fast the device is. */
import type { Source } from "./corpus.js";
import { keepIn, recalled } from "./opfs.js";
import type { Turns } from "./pace.js";
import type { DeviceInfo, Estimate, EstimateOptions } from "./protocol.js";
import { snakeCase } from "./growing.js";
import type { Engine } from "./wasm/engine.js";

type TextModule = typeof import("./wasm/text.js");

/** How long a device takes: for each kernel, however small, and for each floating-point operation, in seconds. */
interface Speed {
  dispatch: number;
  flop: number;
}

/** Where speeds are kept from one visit to the next, by what they depend on; each with the time at which it was measured. */
const SPEEDS = "cloche-speeds.json";
/** What the engine can do changes with the package. */
export const VERSION = "0.1.0";
/** A machine may have been busy when it was measured: after a week that is done again. */
const KEPT_MS = 7 * 24 * 3600 * 1000;

/** A step that was timed. */
interface Timed {
  seconds: number;
  dispatches: number;
  flops: number;
}

/** Steps with more and more rows are measured until a measurement takes so long. */
const MEASURE_SECONDS = 0.15;
const MOST_ROWS = 64;
/** Steps of a measurement: on a graphics device as many as it makes before it is read from. */
const STEPS = { cpu: 3, webgpu: 8 };
/** Characters by which a vocabulary of characters is guessed. */
const READ_CHARS = 200_000;

/** Tells what runs will take; a device is measured once, and what was found is kept for later visits. */
export class Forecast {
  readonly #turns: Turns;
  #speed: Speed | undefined;

  constructor(turns: Turns) {
    this.#turns = turns;
  }

  /** The device is another one now. */
  forget(): void {
    this.#speed = undefined;
  }

  /** What a run will take on the engine's device; the device is left alone where `isBusy`. */
  async of(engine: () => Engine, options: EstimateOptions, vocabSize: number, isBusy: boolean): Promise<Estimate> {
    const { steps = 500 } = options;
    const settings = settingsOf({ ...options, steps }, vocabSize);
    const planned = await this.#turns.take(() => engine().estimate(settings));
    const [parameters, tokensPerStep, peakBytes, flopsPerStep, dispatchesPerStep] = planned;
    const estimate = { parameters, vocabSize, tokensPerStep, peakBytes, flopsPerStep, dispatchesPerStep };
    this.#speed ??= await this.#found(engine, isBusy);
    if (!this.#speed) return estimate;
    const { dispatch, flop } = this.#speed;
    return { ...estimate, seconds: steps * (dispatch * dispatchesPerStep + flop * flopsPerStep) };
  }

  /** The speed of the device as it was found on another visit, or else now, unless it `isBusy`. */
  async #found(engine: () => Engine, isBusy: boolean): Promise<Speed | undefined> {
    const { kind, name, threads } = engine().describe() as DeviceInfo;
    // The browser compiles what the CPU computes.
    const key = [VERSION, kind, name, threads, globalThis.navigator?.userAgent].join(" ");
    const known = (await recalled<Speed & { at: number }>(SPEEDS))[key];
    if (known && Date.now() - known.at < KEPT_MS && isSpeed(known)) return known;
    if (isBusy) return undefined;
    const speed = await this.#turns.take(() => measure(engine()));
    await keepIn(SPEEDS, key, { ...speed, at: Date.now() });
    return speed;
  }
}

function isSpeed({ dispatch, flop }: Speed): boolean {
  return dispatch >= 0 && flop >= 0 && dispatch + flop > 0 && Number.isFinite(dispatch + flop);
}

/** The engine's settings, as far as they decide how large a run is. */
export function settingsOf(options: EstimateOptions & { steps: number }, vocabSize: number): object {
  const { data: _data, tokenizer: _tokenizer, chatTokens: _chatTokens, vocabSize: _vocabSize, preset = "tiny", ...rest } = options;
  return snakeCase({ preset, ...rest, vocabSize });
}

/** How many tokens a tokenizer will have: of characters, as many as a beginning of the text shows. */
export async function vocabularyOf(options: EstimateOptions, source: () => Promise<Source>, text: () => Promise<TextModule>): Promise<number> {
  const { vocabSize, tokenizer: kind = "char", chatTokens = false } = options;
  const given = vocabSize ?? /^bpe:(\d+)$/.exec(kind)?.[1];
  if (given !== undefined) return Number(given);
  const { TokenizerTrainer } = await text();
  const trainer = new TokenizerTrainer(kind);
  trainer.chatTokens(chatTokens);
  let read = 0;
  for await (const { text, ends } of (await source()).pieces()) {
    trainer.feed(text);
    if (ends) trainer.endDocument();
    if ((read += text.length) > READ_CHARS) break;
  }
  const tokenizer = trainer.finish();
  const { vocabSize: found } = tokenizer;
  tokenizer.free();
  return found;
}

/**
 * Times two models. The step of a tiny one is mostly kernels that have little to do; that of a larger one, with enough rows, is
 * mostly arithmetic. Two times give both speeds.
 */
async function measure(engine: Engine): Promise<Speed> {
  const { kind } = engine.describe() as DeviceInfo;
  const steps = STEPS[kind];
  const small = await timed(engine, { preset: "tiny", batch_size: 1 }, steps);
  let [large, rows] = [small, 1];
  do {
    large = await timed(engine, { preset: "nano", batch_size: rows }, steps);
    rows *= 4;
  } while (large.seconds * steps < MEASURE_SECONDS && rows <= MOST_ROWS);
  const apart = small.dispatches * large.flops - large.dispatches * small.flops;
  const dispatch = Math.max(0, (small.seconds * large.flops - large.seconds * small.flops) / apart);
  return { dispatch, flop: Math.max(0, large.seconds - dispatch * large.dispatches) / large.flops };
}

/** Makes twice so many steps, of which the first do not count, because they still prepare something. */
async function timed(engine: Engine, size: object, steps: number): Promise<Timed> {
  const settings = { vocab_size: 64, ...size, steps: 1000, eval_every: 0 };
  const [, , , flops, dispatches] = engine.estimate(settings);
  const ids = Uint32Array.from({ length: 2000 }, (_, at) => (at * at) % 64);
  const run = engine.startPretrain(settings, ids, ids);
  const until = async (step: number) => {
    for (let event = await run.next(); event && (event as { step?: number }).step !== step; ) event = await run.next();
    return performance.now();
  };
  try {
    const began = await until(steps);
    const ended = await until(2 * steps);
    return { seconds: (ended - began) / 1000 / steps, flops, dispatches };
  } finally {
    run.free();
  }
}
