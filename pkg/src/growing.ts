/** Pre-training in the worker: from options to the engine's settings, and from its events to the page's. */
import type { Corpus } from "./corpus.js";
import { ClocheError } from "./errors.js";
import type { GrowEvent, GrowOptions, Preset } from "./protocol.js";

/** The seed of runs that name none, as the command line's. */
export const DEFAULT_SEED = 1337;
export const DEFAULT_TOKENIZER = "char";
export const DEFAULT_PRESET: Preset = "tiny";

/**
 * Requires a seed that every part of the engine reads as the same number, in whatever a page asks.
 *
 * @throws `SETTINGS`
 */
export function expectSeed(asked: unknown): void {
  const { seed } = (asked ?? {}) as { seed?: unknown };
  if (seed === undefined || seed === null || (Number.isSafeInteger(seed) && (seed as number) >= 0)) return;
  throw new ClocheError("SETTINGS", `seed: found ${typeof seed === "string" ? JSON.stringify(seed) : String(seed)}, expected a whole number from 0 to 2^53 - 1`);
}

/** The engine's settings: the options it knows, in its spelling, with what the text and the tokenizer decided. */
export function settingsOf(options: GrowOptions, { name, tokenizer }: Corpus): object {
  const { data: _data, tokenizer: kind, chatTokens: _chatTokens, resume: _resume, ...rest } = options;
  const { vocabSize, eotId } = tokenizer;
  // A sample begins as a text does: behind the end of another, or else behind a line break.
  const beginning = eotId === undefined ? tokenizer.encode("\n") : [eotId];
  const samplePrompt = beginning.length > 0 ? Array.from(beginning) : [0];
  const found = { vocabSize, eotId, samplePrompt, dataName: name, tokenizer: kind };
  return snakeCase({ steps: 500, seed: DEFAULT_SEED, ...rest, ...found });
}

/** Of all settings that a run had, those that stay: also what followed from another number of steps. */
export function fixed(settings: Record<string, unknown>): object {
  return Object.fromEntries(FIXED.map((name) => [name, settings[name]]));
}

const FIXED = [
  ...["seed", "batch_size", "context_len", "grad_accumulation", "activations"],
  ...["lr", "min_lr", "warmup_steps", "beta1", "beta2", "eps", "weight_decay", "max_grad_norm", "dropout"],
];

/** Adds to an event what only the worker knows: the text of samples, the size of the corpus. */
export function completed({ ids, ...event }: { event: string; ids?: number[] }, corpus: Corpus): GrowEvent {
  const { train, val, tokenizer } = corpus;
  // The token that stands between documents is not something that the model says.
  const said = ids?.filter((id) => id !== tokenizer.eotId);
  if (said) return { ...event, text: tokenizer.decode(Uint32Array.from(said)) } as GrowEvent;
  if (event.event !== "start") return event as GrowEvent;
  return { ...event, train_tokens: train.length, val_tokens: val.length } as unknown as GrowEvent;
}

/** `batchSize` → `batch_size`; what is undefined is left out. */
export function snakeCase(options: object): object {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries.map(([key, value]) => [key.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`), value]));
}
