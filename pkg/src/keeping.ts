/** Saving a run while it goes on: when, what, and what happens where the browser has no room. */
import type { RunStore, SavedRun } from "./storage.js";
import type { Files } from "./tuning.js";

/** Where a run is saved. */
export interface SaveOptions {
  /** The name that it is found by. */
  name: string;
  /** Steps between two saves. By default there are some seconds between them. */
  every?: number;
}

/** What saving adds to the events of a run. */
export type SaveEvent =
  | ({ event: "saved" } & SavedRun)
  /** First in a run that goes on by its name: what has happened before, thinned out where it was long. */
  | { event: "history"; events: PastEvent[] }
  /** Something that one should know, but that stops nothing, such as records that had to be cut, or a save that failed. */
  | { event: "warning"; message: string };

/** A step, an evaluation or a sample, as it was told. */
export type PastEvent = { event: string; step: number; [detail: string]: unknown };

/** The file of a save that holds what has happened so far. */
const HISTORY = "history.json";
/** Steps of it; where there are more, every other one is left out. */
const MOST_STEPS = 2000;

/** Between two saves, where nobody says otherwise. */
const SAVE_MS = 10_000;

/** Options whose values are what a run reads; the others are in its checkpoint. */
const INPUTS = ["data", "heldOut", "mix", "pretraining"];

/** Keeps what a run reads, of all that it is asked with. Without it the run can go on only where somebody gives it again. */
export async function* keepInputs(store: RunStore, name: string, options: object): AsyncGenerator<SaveEvent> {
  const inputs = Object.entries(options).filter(([option, value]) => INPUTS.includes(option) && value !== undefined);
  try {
    await store.keepInputs(name, Object.fromEntries(inputs));
  } catch (error) {
    yield { event: "warning", message: messageOf(error) };
  }
}

/** A run that is saved. */
interface Saved {
  store: RunStore;
  stage: string;
  save: SaveOptions;
  /** What it needs to go on, at this moment. */
  checkpoint: () => Promise<Files>;
  /** What has happened in it before. */
  history: PastEvent[];
}

/** Takes the history out of the files of a save. */
export function historyIn(files: Files): PastEvent[] {
  const bytes = files.get(HISTORY);
  files.delete(HISTORY);
  return bytes ? (JSON.parse(new TextDecoder().decode(bytes)) as PastEvent[]) : [];
}

/** Adds what happened to what had happened. */
function remember(history: PastEvent[], event: { event: string; step?: number }): PastEvent[] {
  if (!["step", "eval", "sample"].includes(event.event)) return history;
  history.push(event as PastEvent);
  if (history.length < 2 * MOST_STEPS) return history;
  let odd = false;
  return history.filter(({ event }) => event !== "step" || (odd = !odd));
}

/**
 * Passes the events of a run on, and saves it after its first step, from time to time, and at the end. A save that fails is
 * told; the run goes on, and the next one is tried.
 */
export async function* saving<Event extends { event: string; step?: number }>(
  events: AsyncIterable<Event>,
  { store, stage, save: { name, every }, checkpoint, ...saved }: Saved,
): AsyncGenerator<Event | SaveEvent> {
  let last = -Infinity;
  let { history } = saved;
  if (history.length > 0) yield { event: "history", events: history };
  for await (const event of events) {
    history = remember(history, event);
    const { step = 0 } = event;
    const isDue = every === undefined ? performance.now() - last >= SAVE_MS : step % every === 0;
    if (event.event !== "done" && !(event.event === "step" && isDue)) {
      yield event;
      continue;
    }
    // The save comes first, so that whoever sees the last event can close the page.
    try {
      const files = await checkpoint();
      files.set(HISTORY, new TextEncoder().encode(JSON.stringify(history)));
      const run = await store.save(name, stage, step, files);
      last = performance.now();
      yield { event: "saved", ...run };
    } catch (error) {
      yield { event: "warning", message: messageOf(error) };
    }
    yield event;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
