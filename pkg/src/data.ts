/** Where texts and records come from: what the worker cannot be handed is fetched, or put together, in the page. */
import { ClocheError } from "./errors.js";

/** What is read from elsewhere: a file at an address, or text that comes in pieces of any length. */
export type Streamed = URL | AsyncIterable<string>;

/** Text that comes in small pieces is put together up to so many characters before it becomes a part of a file. */
const PIECE = 1 << 20;

/** Options whose texts and records may also lie at an address (`new URL("…")`), or come in pieces. */
export type Sourced<Options> = {
  [Name in keyof Options]: Name extends "data" | "heldOut" | "pretraining" ? Options[Name] | Streamed : Options[Name];
};

/** Whether the worker cannot be handed a value as it is. */
function isStreamed(value: unknown): value is Streamed {
  return value instanceof URL || (typeof value === "object" && value !== null && Symbol.asyncIterator in value);
}

/** Whether there is anything to wait for in these options. */
export function isAtHand<Options extends object>(options: Options | Sourced<Options>): options is Options {
  return !Object.values(options).some(isStreamed);
}

/**
 * Options as they cross to the worker: what is at addresses is fetched, and what comes in pieces is taken in. A signal ends
 * both.
 *
 * @throws `DOWNLOAD` where an address gives no file, `ABORTED`
 */
export async function gathered<Options extends object>(options: Sourced<Options>, signal?: AbortSignal): Promise<Options> {
  const entries = Object.entries(options).map(async ([name, value]) => {
    if (!isStreamed(value)) return [name, value];
    return [name, value instanceof URL ? await download(value, name, signal) : await collected(value, name, signal)];
  });
  return Object.fromEntries(await Promise.all(entries)) as Options;
}

/** The file at an address. */
async function download(url: URL, what: string, signal?: AbortSignal): Promise<File> {
  try {
    const response = await fetch(url, signal ? { signal } : {});
    if (!response.ok) throw refused(what, url, `HTTP status ${response.status}`);
    const blob = await response.blob();
    if (isPage(response, url, await blob.slice(0, 100).text())) throw refused(what, url, "an HTML page", "a text");
    return new File([blob], nameOf(url));
  } catch (error) {
    if (signal?.aborted) throw new ClocheError("ABORTED", "stopped by the caller");
    throw error instanceof ClocheError ? error : refused(what, url, noAnswer(error));
  }
}

/** What is not as it should be at an address. */
export function refused(what: string, url: URL, found: string, expected = "a file"): ClocheError {
  return new ClocheError("DOWNLOAD", `${what}: found ${found} at ${url.href}, expected ${expected}`);
}

/** What a request that has failed has found. */
export function noAnswer(error: unknown): string {
  return `no answer (${error instanceof Error ? error.message : error})`;
}

/** Whether an answer that begins like this is a page, though none was asked for: some servers give one for whatever is not there. */
export function isPage({ headers }: Response, { pathname }: URL, beginning: string): boolean {
  if (/\.html?$/.test(pathname)) return false;
  return /html/.test(headers.get("content-type") ?? "") || /^\s*<(!doctype html|html)/i.test(beginning);
}

/** What the file at an address is called. */
export function nameOf(url: URL): string {
  const name = url.pathname.split("/").at(-1) || url.host;
  try {
    return decodeURIComponent(name);
  } catch {
    return name; // with a `%` that means itself
  }
}

/** All that comes, as a file. It is read more than once: to learn the units of text, and to train. */
async function collected(texts: AsyncIterable<string>, name: string, signal?: AbortSignal): Promise<File> {
  const parts: Blob[] = [];
  let piece = "";
  for await (const text of until(texts, signal)) {
    if (typeof text !== "string") throw new ClocheError("NOT_TEXT", `${name}: found ${typeof text}, expected strings`);
    piece += text;
    // Never between the halves of a character.
    if (piece.length < PIECE || /[\uD800-\uDBFF]$/.test(piece)) continue;
    parts.push(new Blob([piece]));
    piece = "";
  }
  return new File([...parts, piece], "the text");
}

/** What comes until a signal ends it, also while nothing comes. */
async function* until(texts: AsyncIterable<string>, signal?: AbortSignal): AsyncGenerator<string> {
  const iterator = texts[Symbol.asyncIterator]();
  const stopped = () => new ClocheError("ABORTED", "stopped by the caller");
  const aborted = new Promise<never>((_, reject) => signal?.addEventListener("abort", () => reject(stopped()), { once: true }));
  try {
    for (;;) {
      if (signal?.aborted) throw stopped();
      const { value, done } = await Promise.race([iterator.next(), aborted]);
      if (done) return;
      yield value;
    }
  } finally {
    // Not awaited: whoever has nothing to say may not hear this either.
    void Promise.resolve(iterator.return?.()).catch(() => {});
  }
}
