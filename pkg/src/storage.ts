/**
 * Runs that outlive the tab, in the browser's own file system (OPFS).
 *
 * A run is a folder. Each save fills a new folder in it, file by file, and then names that folder in `manifest.json`, with
 * the size and the SHA-256 of each file; the browser puts a written file in the place of the old one as a whole, when it is
 * closed. So a tab that is killed at any moment leaves the manifest of one save or of the next, and the files of both.
 */
import { ClocheError } from "./errors.js";
import type { Files } from "./tuning.js";

/** A run that is kept. */
export interface SavedRun {
  name: string;
  /** `grow`, or the stage. */
  stage: string;
  /** Steps that it had made when it was saved last. */
  step: number;
  /** When that was, in milliseconds since 1970. */
  savedAt: number;
  /** What it takes. */
  bytes: number;
}

/** One save. */
interface Save {
  folder: string;
  step: number;
  savedAt: number;
  files: { name: string; bytes: number; sha256: string }[];
}

interface Manifest {
  name: string;
  stage: string;
  latest: Save;
  /** The one before, in case a file of the latest is damaged. */
  previous?: Save;
}

const MANIFEST = "manifest.json";
/** What a run reads, which it is given once: a folder with a file for each option. */
const INPUTS = "inputs";

/** The runs of this origin. Names are the page's; several pages may look, but only one at a time may hold a run. */
export class RunStore {
  /** All runs that have been saved, the latest first. */
  async list(): Promise<SavedRun[]> {
    const found: SavedRun[] = [];
    const runs = await folder();
    for await (const handle of runs.values()) {
      const manifest = handle.kind === "directory" && (await manifestOf(handle as FileSystemDirectoryHandle));
      // A folder without a manifest is of a run whose first save was cut off.
      if (manifest) found.push(shown(manifest));
    }
    return found.sort((a, b) => b.savedAt - a.savedAt);
  }

  /** Holds a run, until the function that comes back is called, or the worker ends. */
  hold(name: string): Promise<() => void> {
    return new Promise((resolve, reject) => {
      const taken = new ClocheError("RUN_IN_USE", `run "${name}": found in use by another page, expected to have it alone`);
      const wait = (lock: Lock | null) => (lock ? new Promise<void>((release) => resolve(release)) : reject(taken));
      navigator.locks.request(`cloche-run:${name}`, { ifAvailable: true }, wait).catch(reject);
    });
  }

  /** Requires that no run has this name, so that none is lost to another. */
  async expectNew(name: string): Promise<void> {
    if (!(await this.list()).some((run) => run.name === name)) return;
    throw new ClocheError("RUN_EXISTS", `run "${name}": found one of that name, expected a new name, or to go on with it`);
  }

  /** Saves what a run needs to go on; the save before stays until the next one. */
  async save(name: string, stage: string, step: number, files: Files): Promise<SavedRun> {
    const run = await folder(name, true);
    const before = await manifestOf(run);
    const place = String(1 + Math.max(0, ...(await numbersIn(run))));
    const into = await run.getDirectoryHandle(place, { create: true });
    const latest: Save = { folder: place, step, savedAt: Date.now(), files: [] };
    try {
      for (const [file, bytes] of files) {
        await write(into, file, bytes);
        latest.files.push({ name: file, bytes: bytes.length, sha256: await sha256(bytes) });
      }
      const manifest: Manifest = { name, stage, latest, ...(before && { previous: before.latest }) };
      await write(run, MANIFEST, new TextEncoder().encode(JSON.stringify(manifest, undefined, 2)));
      await this.#sweep(run, manifest);
      return shown(manifest);
    } catch (error) {
      await run.removeEntry(place, { recursive: true }).catch(() => {});
      throw asOurs(error, name);
    }
  }

  /** Keeps what a run reads, by the names of the options: files as they are, all else as JSON. */
  async keepInputs(name: string, inputs: Record<string, unknown>): Promise<void> {
    try {
      const into = await (await folder(name, true)).getDirectoryHandle(INPUTS, { create: true });
      for (const [option, value] of Object.entries(inputs)) {
        if (value instanceof Blob) await write(into, option, value);
        else await write(into, `${option}.json`, new Blob([JSON.stringify(value)]));
      }
    } catch (error) {
      throw asOurs(error, name);
    }
  }

  /** What was kept of it. */
  async inputs(name: string): Promise<Record<string, unknown>> {
    const from = await (await folder(name)).getDirectoryHandle(INPUTS).catch(() => undefined);
    const found: Record<string, unknown> = {};
    for await (const handle of from?.values() ?? []) {
      const file = await (handle as FileSystemFileHandle).getFile();
      if (handle.name.endsWith(".json")) found[handle.name.slice(0, -".json".length)] = JSON.parse(await file.text());
      else found[handle.name] = file;
    }
    return found;
  }

  /** The files of the latest save, or of the one before where one of those is damaged. */
  async read(name: string): Promise<{ run: SavedRun; files: Files; damage?: string }> {
    const run = await folder(name);
    const manifest = await manifestOf(run);
    if (!manifest) throw new ClocheError("RUN_DAMAGED", `run "${name}": found no manifest, expected one in its folder`);
    let damage: string | undefined;
    for (const save of [manifest.latest, manifest.previous]) {
      if (!save) continue;
      const files = await filesOf(run, save);
      if (typeof files !== "string") return { run: shown({ ...manifest, latest: save }), files, ...(damage && { damage }) };
      damage ??= `run "${name}": ${files}`;
    }
    throw new ClocheError("RUN_DAMAGED", damage!);
  }

  /** Gives a run another name. */
  async rename(name: string, to: string): Promise<void> {
    await this.expectNew(to);
    const release = await this.hold(name);
    try {
      // A folder cannot be renamed everywhere, so its content is saved anew, and checked on the way.
      const { run, files } = await this.read(name);
      await this.keepInputs(to, await this.inputs(name));
      await this.save(to, run.stage, run.step, files);
      await (await folder()).removeEntry(encodeURIComponent(name), { recursive: true });
    } finally {
      release();
    }
  }

  /** Deletes a run. */
  async remove(name: string): Promise<void> {
    await folder(name);
    const release = await this.hold(name);
    try {
      await (await folder()).removeEntry(encodeURIComponent(name), { recursive: true });
    } finally {
      release();
    }
  }

  /** Deletes what no manifest names any more. Whether that succeeds does not matter: the next save tries again. */
  async #sweep(run: FileSystemDirectoryHandle, { latest, previous }: Manifest): Promise<void> {
    const kept = [latest.folder, previous?.folder];
    const old = (await numbersIn(run)).map(String).filter((place) => !kept.includes(place));
    await Promise.all(old.map((place) => run.removeEntry(place, { recursive: true }).catch(() => {})));
  }
}

/** The folder of all runs, or that of one. */
async function folder(name?: string, create = false): Promise<FileSystemDirectoryHandle> {
  const { navigator } = globalThis as { navigator?: { storage?: StorageManager } };
  const root = await Promise.resolve(navigator?.storage?.getDirectory()).catch(() => undefined);
  if (!root) throw new ClocheError("NO_STORAGE", "found no file system of the browser's for this page, expected one (OPFS)");
  const runs = await root.getDirectoryHandle("cloche-runs", { create: true });
  if (name === undefined) return runs;
  if (name === "") throw new ClocheError("SETTINGS", "run: found no name, expected one");
  return runs.getDirectoryHandle(encodeURIComponent(name), { create }).catch(async (error: unknown) => {
    const names = (await new RunStore().list()).map((run) => `"${run.name}"`).join(", ") || "none";
    if (create) throw asOurs(error, name);
    throw new ClocheError("NO_RUN", `run "${name}": found ${names}`);
  });
}

async function numbersIn(run: FileSystemDirectoryHandle): Promise<number[]> {
  const found: number[] = [];
  for await (const name of run.keys()) if (/^\d+$/.test(name)) found.push(Number(name));
  return found;
}

async function manifestOf(run: FileSystemDirectoryHandle): Promise<Manifest | undefined> {
  const handle = await run.getFileHandle(MANIFEST).catch(() => undefined);
  const text = await (await handle?.getFile())?.text();
  try {
    return text ? (JSON.parse(text) as Manifest) : undefined;
  } catch {
    return undefined;
  }
}

/** The files of a save, each as it was written, or what is wrong with one. */
async function filesOf(run: FileSystemDirectoryHandle, { folder, files }: Save): Promise<Files | string> {
  const found: Files = new Map();
  try {
    const from = await run.getDirectoryHandle(folder);
    for (const { name, bytes, sha256: expected } of files) {
      const file = await (await from.getFileHandle(encodeURIComponent(name))).getFile();
      const content = new Uint8Array(await file.arrayBuffer());
      if (content.length !== bytes) return `file "${name}" has ${content.length} bytes, expected ${bytes}`;
      const hash = await sha256(content);
      if (hash !== expected) return `file "${name}" has SHA-256 ${hash}, expected ${expected}`;
      found.set(name, content);
    }
    return found;
  } catch (error) {
    return `a file of its save is gone: ${messageOf(error)}`;
  }
}

/** Writes a file, which takes the place of an older one when it is whole. */
async function write(directory: FileSystemDirectoryHandle, name: string, content: Uint8Array<ArrayBuffer> | Blob): Promise<void> {
  const handle = await directory.getFileHandle(encodeURIComponent(name), { create: true });
  const out = await handle.createWritable();
  try {
    await out.write(content);
    await out.close();
  } catch (error) {
    await out.abort().catch(() => {});
    throw error;
  }
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function shown({ name, stage, latest }: Manifest): SavedRun {
  const { step, savedAt, files } = latest;
  return { name, stage, step, savedAt, bytes: files.reduce((sum, file) => sum + file.bytes, 0) };
}

function asOurs(error: unknown, name: string): ClocheError {
  if (error instanceof ClocheError) return error;
  const isFull = error instanceof DOMException && error.name === "QuotaExceededError";
  const advice = isFull ? "the browser gives this site no more room: delete runs, or allow it more" : messageOf(error);
  return new ClocheError(isFull ? "STORAGE_FULL" : "STORAGE", `run "${name}" was not saved: ${advice}`);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
