/**
 * Models at an address. What has come of a file is kept in the browser's own file system, part by part, until the whole model
 * is there: a download that breaks off, or whose tab is closed, goes on from there when it is asked for again.
 */
import { isPage, nameOf, noAnswer, refused } from "./data.js";
import { ClocheError } from "./errors.js";
import { sha256 } from "./opfs.js";
import { forget as forgetOld, isNamed, Parts, type About } from "./parts.js";
import type { Files } from "./tuning.js";

/** A model elsewhere. */
export interface Address {
  href: string;
  /** SHA-256 in hexadecimal: that of a zip, or those of files of a folder by their names. */
  sha256?: string | Record<string, string> | undefined;
  /** Files of a folder, in place of those that a model usually has. */
  files?: string[] | undefined;
}

/** How far a file has come. */
export interface DownloadProgress {
  file: string;
  /** Bytes that are here, those of an earlier attempt included. */
  loaded: number;
  /** Bytes of the whole file; not there where the server does not say. */
  total?: number;
}

/** A file of a model's folder. */
interface Wanted {
  name: string;
  url: URL;
  sha256: string | undefined;
  isOptional: boolean;
}

/** What a model's folder has, and what it may have beside that. */
const NEEDED = ["config.json", "tokenizer.json"];
const OPTIONAL = ["generation_config.json", "tokenizer_config.json", "chat_template.jinja"];
const WEIGHTS = "model.safetensors";
const INDEX = `${WEIGHTS}.index.json`;

/** So many bytes become a part. What a closed tab loses is less than one. */
const PART = 8 << 20;
/** How often a connection that breaks off is tried again, and the wait that grows with each attempt. */
const ATTEMPTS = 4;
const WAIT_MS = 300;
/** Between two reports of progress. */
const REPORT_MS = 100;

/** A model that has come. */
export interface Downloaded {
  files: Files | Blob;
  /** Forgets what was kept of it on the way, once it is no longer needed. */
  forget(): Promise<void>;
}

/**
 * The files of the model at an address: of a zip where that is what its path ends with, else of a folder. Asks for nothing but
 * these, one after the other, the weights last.
 *
 * @throws `DOWNLOAD`
 */
export async function* downloaded({ href, sha256, files }: Address, signal: AbortSignal): AsyncGenerator<DownloadProgress, Downloaded> {
  const url = new URL(href);
  const isZip = /\.zip$/i.test(url.pathname);
  const hashes = typeof sha256 === "string" ? { [nameOf(url)]: sha256 } : { ...sha256 };
  const unknown = Object.keys(hashes).find((name) => (isZip ? name !== nameOf(url) : typeof sha256 === "string" || (files && !files.includes(name))));
  const expectKnown = (name: string | undefined, known: string) => {
    if (name !== undefined) throw new ClocheError("DOWNLOAD", `sha256: found "${name}", expected files that are downloaded: ${known}`);
  };
  if (Object.keys(hashes).length > 0 && !globalThis.crypto?.subtle) {
    throw new ClocheError("DOWNLOAD", "sha256: found a page without TLS, where browsers compute no hash; expected https or none");
  }
  expectKnown(unknown, isZip ? nameOf(url) : (files?.join(", ") ?? `${WEIGHTS}, …, by their names`));
  const wanted = (name: string, isOptional = false): Wanted => ({ name, url: within(url, name), sha256: hashes[name], isOptional });
  const kept: Parts[] = [];
  const found: Files = new Map();
  await forgetOld();
  async function* take(file: Wanted): AsyncGenerator<DownloadProgress, boolean> {
    const parts = await Parts.of(file.url);
    kept.push(parts);
    const bytes = yield* whole(file, parts, signal);
    if (bytes) found.set(file.name, bytes);
    return bytes !== undefined;
  }
  try {
    if (isZip) {
      yield* take({ ...wanted(nameOf(url)), url });
    } else if (files) {
      for (const name of files) yield* take(wanted(name));
    } else {
      for (const name of NEEDED) yield* take(wanted(name));
      for (const name of OPTIONAL) yield* take(wanted(name, true));
      // Either one file of weights, or several and the list of them.
      if (!(yield* take(wanted(WEIGHTS, true)))) {
        if (!(yield* take(wanted(INDEX, true)))) throw refused(WEIGHTS, within(url, WEIGHTS), "nothing", "weights");
        for (const name of shardsIn(found.get(INDEX)!)) yield* take(wanted(name));
      }
    }
    expectKnown(Object.keys(hashes).find((name) => !found.has(name)), [...found.keys()].join(", "));
    const forget = async () => void (await Promise.all(kept.map((parts) => parts.drop())));
    return { files: isZip ? new Blob([...found.values()]) : found, forget };
  } finally {
    for (const parts of kept) parts.release();
  }
}

/** What a model at an address is called: by its folder, or its repository. */
export function titleOf(href: string): string {
  const { pathname, host } = new URL(href);
  const path = pathname.replace(/\/resolve\/[^/]+\/?$/, "").replace(/\/$/, "").replace(/\.zip$/i, "");
  return path.split("/").at(-1) || host;
}

/** The address of a file in a folder, which may have a query. */
function within(folder: URL, name: string): URL {
  const url = new URL(folder);
  url.pathname = `${folder.pathname.replace(/\/$/, "")}/${name}`;
  return url;
}

function shardsIn(index: Uint8Array<ArrayBuffer>): string[] {
  try {
    const { weight_map } = JSON.parse(new TextDecoder().decode(index)) as { weight_map: Record<string, string> };
    return [...new Set(Object.values(weight_map))];
  } catch (error) {
    throw new ClocheError("CHECKPOINT", `${INDEX}: ${error}`);
  }
}

/** The bytes of a file; nothing where it may be missing, and is. */
async function* whole(file: Wanted, parts: Parts, signal: AbortSignal): AsyncGenerator<DownloadProgress, Uint8Array<ArrayBuffer> | undefined> {
  let most = parts.size;
  for (let attempt = 1; ; attempt++) {
    try {
      if (!(yield* receive(file, parts, signal))) return undefined;
      break;
    } catch (error) {
      if (signal.aborted) throw new ClocheError("ABORTED", "stopped by the caller");
      // What has come stays: a server that refuses now may not do so later.
      if (error instanceof ClocheError) throw error;
      // As long as more comes than ever before, it is worth trying.
      if (parts.size > most) [most, attempt] = [parts.size, 1];
      if (attempt === ATTEMPTS) throw refused(file.name, file.url, noAnswer(error));
      await new Promise((resolve) => setTimeout(resolve, WAIT_MS * attempt));
    }
  }
  const bytes = new Uint8Array(await new Blob(parts.blobs).arrayBuffer());
  const hash = file.sha256 && (await sha256(bytes));
  if (hash === file.sha256?.toLowerCase()) return bytes;
  await parts.drop();
  throw refused(file.name, file.url, `SHA-256 ${hash}`, file.sha256!.toLowerCase());
}

/** Takes in what is missing of a file. False where there is no such file, and that may be. */
async function* receive({ name, url, isOptional }: Wanted, parts: Parts, signal: AbortSignal): AsyncGenerator<DownloadProgress, boolean> {
  const { response, from } = await answered(url, parts, signal);
  const isMissing = [404, 403, 410].includes(response.status);
  if (isOptional && isMissing) return false;
  if (!response.ok) {
    const found = `HTTP status ${response.status}`;
    // Too much to do at the moment: that passes.
    if (response.status === 429 || response.status >= 500) throw new TypeError(found);
    throw refused(name, url, found);
  }
  const progress = (): DownloadProgress => {
    const { size, about: { total } } = parts;
    return { file: name, loaded: size, ...(total !== undefined && total >= size && { total }) };
  };
  yield progress();
  const reader = response.body!.getReader();
  let [chunks, size, skip, told] = [[] as Uint8Array<ArrayBuffer>[], 0, from, performance.now()];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      if (parts.size + size === 0 && isPage(response, url, new TextDecoder().decode(value.subarray(0, 100)))) {
        // Where a page stands for whatever is not there; of weights one would rather hear.
        if (isOptional && name !== WEIGHTS) return false;
        throw refused(name, url, "an HTML page");
      }
      if (parts.size + size === 0 && isPointer(value)) throw refused(name, url, "a pointer of Git LFS", "the file it points to");
      const news = value.subarray(skip);
      skip = Math.max(0, skip - value.length);
      chunks.push(news);
      size += news.length;
      if (size >= PART) {
        await parts.add(new Blob(chunks));
        [chunks, size] = [[], 0];
      }
      if (performance.now() - told < REPORT_MS) continue;
      told = performance.now();
      yield { ...progress(), loaded: parts.size + size };
    }
  } finally {
    await reader.cancel().catch(() => {});
    if (size > 0) await parts.add(new Blob(chunks));
  }
  const { total } = parts.about;
  // Of a whole answer the browser knows the end better than its length says, which may be that of a packed one.
  if (response.status === 206 && total !== undefined && parts.size < total) throw new TypeError(`it ended after ${parts.size} of ${total} bytes`);
  yield progress();
  return true;
}

/** What a server says to who may have a part already, and how many bytes of its answer are known. */
async function answered(url: URL, parts: Parts, signal: AbortSignal): Promise<{ response: Response; from: number }> {
  const { total } = parts.about;
  if (parts.size > 0 && total !== undefined && isNamed(parts.about)) {
    // From the last byte that is here, so that also a file that is whole can be asked for.
    const response = await fetch(url, { signal, headers: { range: `bytes=${parts.size - 1}-` } });
    const about = aboutOf(response);
    const fits = about.total === total - parts.size + 1 && about.etag === parts.about.etag && about.modified === parts.about.modified;
    if (response.status === 206 && fits) return { response, from: 1 };
    if (response.status === 200) return { response: await begun(parts, response), from: 0 };
    await response.body?.cancel();
  }
  const response = await fetch(url, { signal });
  return { response: response.ok ? await begun(parts, response) : response, from: 0 };
}

async function begun(parts: Parts, response: Response): Promise<Response> {
  await parts.begin(aboutOf(response));
  return response;
}

function aboutOf({ headers }: Response): About {
  const [etag, modified, length] = [headers.get("etag"), headers.get("last-modified"), headers.get("content-length")];
  // Packed on the way, its length is another one.
  const isPlain = length !== null && !headers.has("content-encoding");
  return { etag, modified, ...(isPlain && { total: Number(length) }) };
}

/** Repositories that are served by their files have this in the place of large ones. */
function isPointer(bytes: Uint8Array): boolean {
  return new TextDecoder().decode(bytes.subarray(0, 42)).startsWith("version https://git-lfs.github.com/spec/");
}
