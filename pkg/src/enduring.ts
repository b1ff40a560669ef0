/** Runs that outlive their device, which a browser takes away when its driver starts anew or its GPU process ends. */
import type { SaveEvent } from "./keeping.js";
import type { Files } from "./tuning.js";

/** Between two checkpoints in memory; where making one takes long, it is a fiftieth of the time that goes by. */
const REFUGE_MS = 10_000;
const REFUGE_SHARE = 50;
/** How often another device is asked for, and the wait that grows with each attempt. */
const OPEN_ATTEMPTS = 4;
const OPEN_WAIT_MS = 500;

/** The last checkpoint of a run, in the worker's memory. */
export class Refuge {
  files: Files | undefined;
  readonly #make: () => Promise<Files>;
  readonly #isNeeded: () => boolean;
  #due = -Infinity;

  /** `isNeeded` says whether the device is one that can be lost. */
  constructor(make: () => Promise<Files>, isNeeded: () => boolean) {
    this.#make = make;
    this.#isNeeded = isNeeded;
  }

  get isDue(): boolean {
    return performance.now() >= this.#due && this.#isNeeded();
  }

  /** Makes a checkpoint, for whoever wants one, and keeps it. */
  async renew(): Promise<Files> {
    const began = performance.now();
    try {
      const files = await this.#make();
      if (this.#isNeeded()) this.files = new Map(files);
      return files;
    } finally {
      this.#due = performance.now() + Math.max(REFUGE_MS, REFUGE_SHARE * (performance.now() - began));
    }
  }
}

/** A run that may have to begin again. */
export interface Endangered<Options, Event> {
  options: Options;
  begin: (options: Options) => AsyncIterable<Event>;
  /** Whether it needs no model from the device: then it can begin again before there is a checkpoint of it. */
  startsFromNothing: boolean;
  refuge: Refuge;
  /** Opens another device, and says which. */
  reopen: () => Promise<string>;
}

/**
 * The events of a run. Where the device is lost, the run goes on from its last checkpoint on another one, bit for bit as if
 * nothing had happened, and what had been told before is not told again. A device that is lost without having brought the run
 * any further ends it.
 */
export async function* enduring<Options extends { resume?: Files }, Event extends { event: string; step?: number }>(
  { options, begin, startsFromNothing, refuge, reopen }: Endangered<Options, Event>,
): AsyncGenerator<Event | SaveEvent> {
  const told = new Told();
  let lostAt: number | undefined;
  for (;;) {
    try {
      for await (const event of begin(refuge.files ? { ...options, resume: refuge.files } : options)) {
        if (event.event === "step" && refuge.isDue) await refuge.renew().catch(unlessLost);
        if (told.isNews(event)) yield event;
      }
      return;
    } catch (error) {
      const { code, message } = error as { code?: unknown; message?: string };
      const canGoOn = startsFromNothing || refuge.files || options.resume;
      if (code !== "DEVICE_LOST" || !canGoOn || told.step === lostAt) throw error;
      lostAt = told.step;
      told.replay();
      const device = await reopen();
      yield { event: "warning", message: `${message}: going on from the last checkpoint on ${device}` };
    }
  }
}

/** A checkpoint for which there is no room does not end a run that is well. */
function unlessLost(error: { code?: unknown }): void {
  if (error.code === "DEVICE_LOST") throw error;
}

/** Opens a device, if need be on a later attempt: a GPU process that has crashed takes a moment to come back. */
export async function persistently<Device>(open: () => Promise<Device>): Promise<Device> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await open();
    } catch (error) {
      if (attempt === OPEN_ATTEMPTS) throw error;
      await new Promise((resolve) => setTimeout(resolve, OPEN_WAIT_MS * attempt));
    }
  }
}

/** What a run has told. */
class Told {
  /** The last step of which something was told, and how many events of each kind. */
  step = -1;
  readonly #ofStep = new Map<string, number>();
  #hasStarted = false;
  /** The same when the run began again: so much of what it tells is known. */
  #known: { step: number; ofStep: Map<string, number> } | undefined;

  /** The run begins again, from somewhere before this moment. */
  replay(): void {
    this.#known = { step: this.step, ofStep: new Map(this.#ofStep) };
  }

  /** Whether an event says something new. Of a run that has begun again, preparations are none. */
  isNews({ event, step }: { event: string; step?: number }): boolean {
    if (event === "start") return !this.#hasStarted && (this.#hasStarted = true);
    if (step === undefined) return !this.#known || !this.#hasStarted;
    if (this.#isKnown(event, step)) return false;
    if (step > this.step) {
      this.step = step;
      this.#ofStep.clear();
    }
    if (step === this.step) this.#ofStep.set(event, (this.#ofStep.get(event) ?? 0) + 1);
    return true;
  }

  #isKnown(event: string, step: number): boolean {
    if (!this.#known || step > this.#known.step) return false;
    if (step < this.#known.step) return true;
    const left = this.#known.ofStep.get(event) ?? 0;
    this.#known.ofStep.set(event, left - 1);
    return left > 0;
  }
}
