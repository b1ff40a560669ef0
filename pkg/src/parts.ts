/** Parts of files that are on their way, in the browser's own file system: each file has a folder, each part a file in it. */
import { hold, root, sha256, write } from "./opfs.js";

/** The file of a folder that says what its parts are of. */
const ABOUT = "about.json";
/** After so long, nobody will go on with a download that broke off. */
const FORGOTTEN_MS = 7 * 24 * 3600 * 1000;

/** What tells one content of a file from another. */
export interface About {
  etag: string | null;
  modified: string | null;
  total?: number;
}

/** Whether a server has said enough to know the same content again. */
export function isNamed({ etag, modified }: About): boolean {
  return modified !== null || (etag !== null && !etag.startsWith("W/"));
}

/** What has come of a file so far. Where the browser has no place or no room for it, it is in memory alone. */
export class Parts {
  readonly blobs: Blob[] = [];
  about: About = { etag: null, modified: null };
  readonly #name: string;
  /** Lets another page have the file's folder; nothing where another one has it. */
  readonly #release: (() => void) | undefined;
  #folder: FileSystemDirectoryHandle | undefined;

  private constructor(name: string, release: (() => void) | undefined) {
    this.#name = name;
    this.#release = release;
  }

  /** Lets other pages have it. */
  release(): void {
    this.#release?.();
  }

  get size(): number {
    return this.blobs.reduce((sum, { size }) => sum + size, 0);
  }

  /** What was kept of the file at an address, unless another page is at it. */
  static async of(url: URL): Promise<Parts> {
    // Where there is no hash (a page without TLS), there are neither locks nor files.
    if (!globalThis.crypto?.subtle) return new Parts("", undefined);
    const name = await sha256(new TextEncoder().encode(url.href));
    const release = await hold(`cloche-download:${name}`).catch(() => undefined);
    const parts = new Parts(name, release);
    if (!release) return parts;
    try {
      const folder = (parts.#folder = await (await downloads()).getDirectoryHandle(name));
      const content = async (file: string) => (await folder.getFileHandle(file)).getFile();
      parts.about = JSON.parse(await (await content(ABOUT)).text());
      for (;;) parts.blobs.push(await content(String(parts.blobs.length)));
    } catch {
      // That was the last one.
    }
    return parts;
  }

  /** Begins anew. */
  async begin(about: About): Promise<void> {
    await this.drop();
    this.about = about;
    if (!isNamed(about) || about.total === undefined || !this.#release) return;
    try {
      this.#folder = await (await downloads()).getDirectoryHandle(this.#name, { create: true });
      await write(this.#folder, ABOUT, new Blob([JSON.stringify(about)]));
    } catch {
      this.#folder = undefined;
    }
  }

  async add(part: Blob): Promise<void> {
    const name = String(this.blobs.length);
    this.blobs.push(part);
    try {
      if (!this.#folder) return;
      await write(this.#folder, name, part);
      // The one on disk takes the place of the one in memory.
      this.blobs[Number(name)] = await (await this.#folder.getFileHandle(name)).getFile();
    } catch {
      this.#folder = undefined;
    }
  }

  /** Forgets all of it. */
  async drop(): Promise<void> {
    this.blobs.length = 0;
    this.#folder = undefined;
    if (!this.#release) return;
    await downloads().then((folder) => folder.removeEntry(this.#name, { recursive: true })).catch(() => {});
  }
}

async function downloads(): Promise<FileSystemDirectoryHandle> {
  return (await root()).getDirectoryHandle("cloche-downloads", { create: true });
}

/** Deletes what was begun long ago. */
export async function forget(): Promise<void> {
  try {
    const folder = await downloads();
    for await (const handle of folder.values()) {
      const about = (handle as FileSystemDirectoryHandle).getFileHandle(ABOUT);
      const since = await about.then(async (file) => (await file.getFile()).lastModified).catch(() => Infinity);
      if (Date.now() - since > FORGOTTEN_MS) await folder.removeEntry(handle.name, { recursive: true });
    }
  } catch {
    // Another time.
  }
}
