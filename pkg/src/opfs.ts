/** The browser's own file system (OPFS), of which each site has one. */
import { ClocheError } from "./errors.js";

/** The folder that holds all others. @throws `NO_STORAGE` */
export async function root(): Promise<FileSystemDirectoryHandle> {
  const { navigator } = globalThis as { navigator?: { storage?: StorageManager } };
  const found = await Promise.resolve(navigator?.storage?.getDirectory()).catch(() => undefined);
  if (!found) throw noStorage();
  return found;
}

function noStorage(): ClocheError {
  return new ClocheError("NO_STORAGE", "found no file system of the browser's for this page, expected one (OPFS)");
}

/** Writes a file, which takes the place of an older one when it is whole. */
export async function write(directory: FileSystemDirectoryHandle, name: string, content: Uint8Array<ArrayBuffer> | Blob): Promise<void> {
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

/** What is kept in a JSON file, by its keys; nothing where there is nothing, or no place for it. */
export async function recalled<Value>(name: string): Promise<Record<string, Value>> {
  try {
    const file = await (await (await root()).getFileHandle(name)).getFile();
    return Object(JSON.parse(await file.text()));
  } catch {
    return {};
  }
}

/** Keeps a value in such a file, where there is a place for it. */
export async function keepIn(name: string, key: string, value: unknown): Promise<void> {
  const all = { ...(await recalled(name)), [key]: value };
  await root().then((folder) => write(folder, name, new Blob([JSON.stringify(all)]))).catch(() => {});
}

/** Holds a name alone, until the function that comes back is called, or the worker ends; nothing where another has it. @throws `NO_STORAGE` */
export function hold(name: string): Promise<(() => void) | undefined> {
  return new Promise((resolve, reject) => {
    const { navigator } = globalThis as { navigator?: { locks?: LockManager } };
    if (!navigator?.locks) return reject(noStorage());
    const wait = (lock: Lock | null) => (lock ? new Promise<void>((release) => resolve(release)) : resolve(undefined));
    navigator.locks.request(name, { ifAvailable: true }, wait).catch(reject);
  });
}

/** In hexadecimal. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
