/**
 * Runs that outlive the tab, in the browser's own file system (OPFS).
 *
 * A run is a folder. Each save fills a new folder in it, file by file, and then names that folder in `manifest.json`, with
 * the size and the SHA-256 of each file; the browser puts a written file in the place of the old one as a whole, when it is
 * closed. So a tab that is killed at any moment leaves the manifest of one save or of the next, and the files of both.
 */
import { parsed, runIn, within } from "./checkpoint.js";
import { ClocheError } from "./errors.js";
import { expectSave } from "./keeping.js";
import { hold, root, sha256, write } from "./opfs.js";
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
  /** Bytes of its latest save. The one before it, and what the run reads, are kept beside it. */
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
  /** Steps between two saves, where the page has said so. */
  every?: number | undefined;
  latest: Save;
  /** The one before, in case a file of the latest is damaged. */
  previous?: Save;
}

/** A save as it is read. */
export interface StoredRun {
  run: SavedRun;
  every: number | undefined;
  files: Files;
  /** What is wrong with the latest save, where this is the one before. */
  damage?: string;
}

const MANIFEST = "manifest.json";
/** What a run reads, which it is given once: a folder with its options as JSON, and the files that these name. */
const INPUTS = "inputs";
const OPTIONS = "options.json";
/** How a run that is packed is saved, beside its files. */
const SAVING = "saving.json";
/** How often something is read again that another page is just writing. */
const ATTEMPTS = 5;

/** The runs of this origin. Names are the page's; several pages may look, but only one at a time may hold a run. */
export class RunStore {
  /** All runs that have been saved, the latest first. */
  async list(): Promise<SavedRun[]> {
    const found: SavedRun[] = [];
    const runs = await folder();
    for await (const handle of runs.values()) {
      // A folder without a manifest is of a run whose first save was cut off; a damaged one is told when it is opened.
      const read = manifestOf(handle as FileSystemDirectoryHandle, decodeURIComponent(handle.name));
      const manifest = await read.catch(() => undefined);
      if (manifest) found.push(shown(manifest));
    }
    return found.sort((a, b) => b.savedAt - a.savedAt);
  }

  /** Holds a run, until the function that comes back is called, or the worker ends. */
  async hold(name: string): Promise<() => void> {
    const release = await hold(`cloche-run:${name}`);
    if (release) return release;
    throw new ClocheError("RUN_IN_USE", `run "${name}": found in use, expected to have it alone`);
  }

  /** Holds a name that no run has. */
  async holdNew(name: string): Promise<() => void> {
    const release = await this.hold(name);
    try {
      await this.expectNew(name);
      return release;
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Requires that no run has this name, so that none is lost to another. */
  async expectNew(name: string): Promise<void> {
    const run = await (await folder()).getDirectoryHandle(encodeURIComponent(name)).catch(() => undefined);
    const isTaken = run && (await run.getFileHandle(MANIFEST).catch(() => undefined));
    if (!isTaken) return;
    throw new ClocheError("RUN_EXISTS", `run "${name}": found one of that name, expected a new name, or to go on with it`);
  }

  /** Begins a run by what it reads: by the names of the options, with the files that are among them. */
  async begin(name: string, inputs: Record<string, unknown>): Promise<void> {
    await this.expectNew(name);
    try {
      // What a run of this name left that never came to a save.
      await drop(name).catch(() => {});
      const into = await (await folder(name, true)).getDirectoryHandle(INPUTS, { create: true });
      const files: Blob[] = [];
      const noted = JSON.stringify(inputs, (_, value: unknown) => {
        if (!(value instanceof Blob)) return value;
        return { inFile: files.push(value) - 1, name: value instanceof File ? value.name : undefined };
      });
      for (const [place, file] of files.entries()) await write(into, String(place), file);
      await write(into, OPTIONS, new Blob([noted]));
    } catch (error) {
      throw asOurs(error, name);
    }
  }

  /** What a run began with; nothing where that could not be kept. */
  async inputs(name: string): Promise<Record<string, unknown> | undefined> {
    try {
      const from = await (await folder(name)).getDirectoryHandle(INPUTS);
      const content = async (file: string) => (await from.getFileHandle(file)).getFile();
      return (await revived(JSON.parse(await (await content(OPTIONS)).text()), content)) as Record<string, unknown>;
    } catch (error) {
      // What cannot be read at the moment is not missing.
      if ((error as Error).name === "NotFoundError") return undefined;
      throw error instanceof ClocheError ? error : new ClocheError("STORAGE", `run "${name}": what it learns from cannot be read: ${messageOf(error)}`);
    }
  }

  /** Saves what a run needs to go on; the save before stays until the next one. */
  async save(name: string, { stage, step, every }: Pick<SavedRun, "stage" | "step"> & { every?: number | undefined }, files: Files): Promise<SavedRun> {
    const run = await folder(name, true);
    const before = await manifestOf(run, name);
    const place = String(1 + Math.max(0, ...(await numbersIn(run))));
    const latest: Save = { folder: place, step, savedAt: Date.now(), files: [] };
    const manifest: Manifest = { name, stage, every, latest, ...(before && { previous: before.latest }) };
    try {
      const into = await run.getDirectoryHandle(place, { create: true });
      for (const [file, bytes] of files) {
        await write(into, file, bytes);
        latest.files.push({ name: file, bytes: bytes.length, sha256: await sha256(bytes) });
      }
      await write(run, MANIFEST, encoded(manifest));
    } catch (error) {
      await run.removeEntry(place, { recursive: true }).catch(() => {});
      throw asOurs(error, name);
    }
    await this.#sweep(run, manifest);
    return shown(manifest);
  }

  /**
   * The files of the latest save, or of the one before where one of those is damaged. Whoever holds the run may have it
   * repaired: then that one is the latest.
   */
  async read(name: string, repair = false): Promise<StoredRun> {
    const run = await folder(name);
    const manifest = await manifestOf(run, name);
    if (!manifest) throw new ClocheError("RUN_DAMAGED", `run "${name}": found no manifest, expected one in its folder`);
    const { every, latest, previous } = manifest;
    const files = await filesOf(run, latest);
    if (typeof files !== "string") return { run: shown(manifest), every, files };
    const damage = `run "${name}": ${files}`;
    const before = previous && (await filesOf(run, previous));
    if (!previous || !before || typeof before === "string") throw new ClocheError("RUN_DAMAGED", damage);
    const repaired: Manifest = { name, stage: manifest.stage, every, latest: previous };
    if (repair) await write(run, MANIFEST, encoded(repaired));
    return { run: shown(repaired), every, files: before, damage };
  }

  /**
   * All that is known of a run as the files of one folder: those of its latest save, how often it is saved, and what it reads in
   * `inputs/`.
   */
  async pack(name: string): Promise<Files> {
    const { files, every } = await this.read(name);
    files.set(SAVING, encoded({ every }));
    const from = await (await folder(name)).getDirectoryHandle(INPUTS).catch(() => undefined);
    for await (const handle of from?.values() ?? []) {
      const file = await (handle as FileSystemFileHandle).getFile();
      files.set(`${INPUTS}/${decodeURIComponent(handle.name)}`, new Uint8Array(await file.arrayBuffer()));
    }
    return files;
  }

  /** Keeps what `pack` has given, as a run of this name. */
  async unpack(name: string, packed: Files): Promise<SavedRun> {
    const run = runIn(packed);
    // Archives of an earlier version do not say.
    const { every } = packed.has(SAVING) ? parsed<{ every?: number }>(packed, SAVING) : {};
    expectSave({ name, every });
    const release = await this.holdNew(name);
    try {
      await drop(name).catch(() => {});
      const into = await (await folder(name, true)).getDirectoryHandle(INPUTS, { create: true });
      for (const [file, bytes] of within(packed, INPUTS)) await write(into, file, bytes);
      const files = [...packed].filter(([file]) => file !== SAVING && !file.startsWith(`${INPUTS}/`));
      return await this.save(name, { ...run, every }, new Map(files));
    } catch (error) {
      await drop(name).catch(() => {});
      throw asOurs(error, name);
    } finally {
      release();
    }
  }

  /** Gives a run another name. */
  async rename(name: string, to: string): Promise<void> {
    const releases = [await this.holdNew(to)];
    try {
      releases.push(await this.hold(name));
      // A folder cannot be renamed everywhere, so its content is saved anew, and checked on the way.
      const { run, every, files } = await this.read(name);
      const inputs = await this.inputs(name);
      await (inputs ? this.begin(to, inputs) : drop(to).catch(() => {}));
      await this.save(to, { ...run, every }, files);
      await drop(name);
    } catch (error) {
      if (releases.length > 1) await drop(to).catch(() => {});
      throw error;
    } finally {
      for (const release of releases) release();
    }
  }

  /** Deletes a run. */
  async remove(name: string): Promise<void> {
    await folder(name);
    const release = await this.hold(name);
    try {
      await drop(name);
    } finally {
      release();
    }
  }

  /** Deletes what no manifest names any more. Whether that succeeds does not matter: the next save tries again. */
  async #sweep(run: FileSystemDirectoryHandle, { latest, previous }: Manifest): Promise<void> {
    const kept = [latest.folder, previous?.folder];
    const old = (await numbersIn(run).catch(() => [])).map(String).filter((place) => !kept.includes(place));
    await Promise.all(old.map((place) => run.removeEntry(place, { recursive: true }).catch(() => {})));
  }
}

/** The folder of all runs, or that of one. */
async function folder(name?: string, create = false): Promise<FileSystemDirectoryHandle> {
  const runs = await (await root()).getDirectoryHandle("cloche-runs", { create: true });
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

/** Deletes the folder of a run. */
async function drop(name: string): Promise<void> {
  await (await folder()).removeEntry(encodeURIComponent(name), { recursive: true });
}

/** The manifest of a run; none where it was never saved. */
async function manifestOf(run: FileSystemDirectoryHandle, name: string): Promise<Manifest | undefined> {
  for (let attempt = 1; ; attempt++) {
    const handle = await run.getFileHandle(MANIFEST).catch(() => undefined);
    if (!handle) return undefined;
    try {
      return JSON.parse(await (await handle.getFile()).text()) as Manifest;
    } catch (error) {
      // Another page may have put a new one in its place just now.
      if (attempt === ATTEMPTS) throw new ClocheError("RUN_DAMAGED", `run "${name}": its manifest cannot be read: ${messageOf(error)}`);
      await new Promise((resolve) => setTimeout(resolve, 20 * attempt));
    }
  }
}

function encoded(manifest: object): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(manifest, undefined, 2));
}

/** What was noted, with the files in their places. */
async function revived(noted: unknown, content: (file: string) => Promise<File>): Promise<unknown> {
  if (typeof noted !== "object" || noted === null) return noted;
  const { inFile, name } = noted as { inFile?: unknown; name?: string };
  if (typeof inFile === "number") {
    const file = await content(String(inFile));
    return name === undefined ? file : new File([file], name, { type: file.type });
  }
  if (Array.isArray(noted)) return Promise.all(noted.map((value) => revived(value, content)));
  const entries = Object.entries(noted).map(async ([key, value]) => [key, await revived(value, content)] as const);
  return Object.fromEntries(await Promise.all(entries));
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
