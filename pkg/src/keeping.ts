/** Saving a run while it goes on: when, what, and what happens where the browser has no room. */
import { ClocheError } from "./errors.js";
import type { RunStore, SavedRun } from "./storage.js";
import type { Files } from "./tuning.js";

/** Where a run is saved. */
export interface SaveOptions {
  /** The name that it is found by. */
  name: string;
  /** Steps between two saves. By default there are some seconds between them. */
  every?: number | undefined;
}

/** A step, an evaluation or a sample, as it was told. */
export type PastEvent = { event: string; step: number; [detail: string]: unknown };

/** What saving adds to the events of a run. */
export type SaveEvent =
  | ({ event: "saved" } & SavedRun)
  /** First in a run that goes on by its name: what has happened before, thinned out where it was long. */
  | { event: "history"; events: PastEvent[] }
  /** Something that one should know, but that stops nothing, such as records that had to be cut, or a save that failed. */
  | { event: "warning"; message: string };

/** Between two saves, where nobody says otherwise. */
const SAVE_MS = 10_000;
/** The file of a save that holds what has happened so far. */
const HISTORY = "history.json";
/** Steps of it; where there are twice as many, every other one is left out. */
const MOST_STEPS = 2000;
/** Options whose values are what a run reads; the others are in its checkpoint. */
const INPUTS = ["data", "heldOut", "mix", "pretraining"];

/** A run that is saved. */
export interface Saved {
  store: RunStore;
  stage: string;
  save: SaveOptions;
  /** What it needs to go on, at this moment. */
  checkpoint: () => Promise<Files>;
  /** What it was asked with, where it is new. */
  options?: object;
  /** What has happened in it before. */
  history?: PastEvent[];
}

/** Requires options that a run can be saved by. */
export function expectSave({ name, every }: SaveOptions): void {
  if (every === undefined || (Number.isInteger(every) && every > 0)) return;
  throw new ClocheError("SETTINGS", `save of "${name}": every is ${every}, expected a whole number of steps above 0`);
}

/** Takes the history out of the files of a save. */
export function historyIn(files: Files): PastEvent[] {
  const bytes = files.get(HISTORY);
  files.delete(HISTORY);
  return bytes ? (JSON.parse(new TextDecoder().decode(bytes)) as PastEvent[]) : [];
}

/**
 * Passes the events of a run on, and saves it after its first step, from time to time, and at the end. A save that fails is
 * told; the run goes on, and the next one is tried when it is due.
 */
export async function* saving<Event extends { event: string; step?: number }>(
  events: AsyncIterable<Event>,
  { store, stage, save: { name, every }, checkpoint, options, ...saved }: Saved,
): AsyncGenerator<Event | SaveEvent> {
  let [tried, stored] = [-Infinity, -1];
  let history = saved.history ?? [];
  if (history.length > 0) yield { event: "history", events: history };
  for await (const event of events) {
    const { event: kind, step = 0 } = event;
    history = remember(history, event);
    // Once it has begun, so that nothing is kept of a run that was refused.
    if (kind === "start" && options) yield* told(() => store.begin(name, inputsOf(options)));
    const due = every === undefined ? performance.now() - tried >= SAVE_MS : step % every === 0;
    // The save comes first, so that whoever sees the last event can close the page.
    if ((kind === "step" && (due || tried === -Infinity)) || (kind === "done" && step !== stored)) {
      tried = performance.now();
      yield* told(async () => {
        const files = await checkpoint();
        files.set(HISTORY, new TextEncoder().encode(JSON.stringify(history)));
        const run = await store.save(name, { stage, step, every }, files);
        stored = step;
        return { event: "saved", ...run };
      });
    }
    yield event;
  }
}

/** Does what may fail, and says so. */
async function* told(work: () => Promise<SaveEvent | void>): AsyncGenerator<SaveEvent> {
  try {
    const event = await work();
    if (event) yield event;
  } catch (error) {
    yield { event: "warning", message: error instanceof Error ? error.message : String(error) };
  }
}

/** What a run reads, of all that it is asked with. */
function inputsOf(options: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).filter(([name, value]) => INPUTS.includes(name) && value !== undefined));
}

/** Adds what happened to what had happened. */
function remember(history: PastEvent[], event: { event: string; step?: number }): PastEvent[] {
  if (!["step", "eval", "sample"].includes(event.event)) return history;
  history.push(event as PastEvent);
  if (history.length < 2 * MOST_STEPS) return history;
  let odd = false;
  return history.filter(({ event }) => event !== "step" || (odd = !odd));
}
