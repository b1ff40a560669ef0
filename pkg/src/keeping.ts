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
  /** Something that one should know, but that stops nothing, such as records that had to be cut, or a save that failed. */
  | { event: "warning"; message: string };

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
}

/**
 * Passes the events of a run on, and saves it after its first step, from time to time, and at the end. A save that fails is
 * told; the run goes on, and the next one is tried.
 */
export async function* saving<Event extends { event: string; step?: number }>(
  events: AsyncIterable<Event>,
  { store, stage, save: { name, every }, checkpoint }: Saved,
): AsyncGenerator<Event | SaveEvent> {
  let last = -Infinity;
  for await (const event of events) {
    const { step = 0 } = event;
    const isDue = every === undefined ? performance.now() - last >= SAVE_MS : step % every === 0;
    if (event.event !== "done" && !(event.event === "step" && isDue)) {
      yield event;
      continue;
    }
    // The save comes first, so that whoever sees the last event can close the page.
    try {
      const saved = await store.save(name, stage, step, await checkpoint());
      last = performance.now();
      yield { event: "saved", ...saved };
    } catch (error) {
      yield { event: "warning", message: messageOf(error) };
    }
    yield event;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
