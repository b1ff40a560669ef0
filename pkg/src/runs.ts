/** The runs that the browser keeps for this site. */
import type { PastEvent } from "./keeping.js";
import { Run } from "./run.js";
import type { Api, GrowEvent, GrowOptions } from "./protocol.js";
import type { Remote } from "./remote.js";
import type { SavedRun } from "./storage.js";
import type { Files, TuneEvent, TuneOptions } from "./tuning.js";

/** What may change when a saved run goes on. */
export type ResumeOptions = Pick<GrowOptions, "steps" | "evalEvery" | "sampleAt"> & Pick<TuneOptions, "steps" | "evalEvery">;

/** How much room the browser gives this site, in bytes, and whether it may take it back. */
export interface StorageUsage {
  used: number;
  available: number;
  /** Whether the browser keeps everything until somebody deletes it. */
  persisted: boolean;
}

/** `cloche.runs`: what `save` has kept, by name. */
export class Runs {
  readonly #remote: Remote<Api>;

  constructor(remote: Remote<Api>) {
    this.#remote = remote;
  }

  /** All of them, the one saved last first. */
  list(): Promise<SavedRun[]> {
    return this.#remote.request("listRuns", undefined);
  }

  /**
   * Goes on with a run from where it was saved last, as if it had never stopped, bit for bit, and goes on saving it. What it
   * reads was kept with it.
   */
  resume(name: string, { signal, ...changes }: ResumeOptions & { signal?: AbortSignal } = {}): Run<GrowEvent | TuneEvent> {
    return new Run(this.#remote, this.#remote.stream("resumeRun", { name, ...changes }, signal));
  }

  /** The files of the latest save, a checkpoint that can be given to a stage as `resume`; each is what was written. */
  async read(name: string): Promise<Files> {
    return new Map(Object.entries(await this.#remote.request("readRun", { name })));
  }

  /** What the run told until it was saved last: its steps, thinned out where they were many, evaluations and samples. */
  history(name: string): Promise<PastEvent[]> {
    return this.#remote.request("runHistory", { name });
  }

  /** A run in a zip, with what it reads: `import` brings it to another browser. */
  export(name: string): Promise<Blob> {
    return this.#remote.request("exportRun", { name });
  }

  /** Keeps a run from a zip under a name that no run has yet; `resume` goes on with it. */
  import(archive: Blob, name: string): Promise<SavedRun> {
    return this.#remote.request("importRun", { name, archive });
  }

  /** Gives a run another name. */
  rename(name: string, to: string): Promise<void> {
    return this.#remote.request("renameRun", { name, to });
  }

  /** Deletes a run. */
  remove(name: string): Promise<void> {
    return this.#remote.request("removeRun", { name });
  }

  /** Asks the browser not to delete anything by itself when room becomes scarce; resolves to whether it agrees. */
  persist(): Promise<boolean> {
    return navigator.storage.persist();
  }

  /** How much room there is. */
  async usage(): Promise<StorageUsage> {
    const [{ usage = 0, quota = 0 }, persisted] = await Promise.all([navigator.storage.estimate(), navigator.storage.persisted()]);
    return { used: usage, available: Math.max(0, quota - usage), persisted };
  }
}
