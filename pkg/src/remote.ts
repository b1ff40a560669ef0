/**
 * Calls across a worker boundary: requests that are answered once, and streams that are pulled.
 *
 * A stream starts with some credit and each item costs one; taking an item from the iterator gives one back. So a
 * worker is never more than `CREDIT` items ahead of the page, and a page that stops reading stops the worker.
 */
import { ClocheError, fromWire, toWire, type WireError } from "./errors.js";

/** Items a stream may be ahead of its reader. */
const CREDIT = 32;

/**
 * A set of functions that a worker offers: a promise is a request, an async iterable is a stream. What a stream reports
 * leaves at once, also while it computes and cannot yield.
 */
export type Handlers<Api> = {
  [Name in keyof Api]: (
    args: never,
    signal: AbortSignal,
    report: (item: unknown) => void,
  ) => Promise<unknown> | AsyncIterable<unknown>;
};

type Args<F> = F extends (args: infer A, ...rest: never[]) => unknown ? A : never;
type Answer<F> = F extends (...args: never[]) => Promise<infer R> ? R : never;
type Item<F> = F extends (...args: never[]) => AsyncIterable<infer R> ? R : never;

type Call =
  | { id: number; call: PropertyKey; args: unknown }
  | { id: number; credit: number }
  | { id: number; cancel: true };
type Reply =
  | { id: number; value: unknown }
  | { id: number; item: unknown }
  | { id: number; done: true }
  | { id: number; error: WireError }
  | { crash: WireError }
  | { news: unknown }
  | { thread: unknown };

/** What `Worker`, `MessagePort` and a worker's global scope have in common. */
export interface Port {
  postMessage(message: unknown, transfer?: Transferable[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
}

/** The page's end. */
export class Remote<Api extends Handlers<Api>> {
  readonly #port: Port;
  readonly #open = new Map<number, (reply: Reply) => void>();
  #nextId = 1;
  #failure: ClocheError | undefined;
  /** Hears what the worker tells without being asked. */
  onNews: (news: unknown) => void = () => {};
  /** Hears of a thread that the worker wants. */
  onThread: (wanted: unknown) => void = () => {};
  /** Why nothing can be asked any more, once that is so. */
  readonly closed: Promise<ClocheError>;
  #close!: (error: ClocheError) => void;

  constructor(port: Port) {
    this.#port = port;
    this.closed = new Promise((resolve) => (this.#close = resolve));
    port.addEventListener("message", ({ data }: MessageEvent<Reply>) => {
      if ("crash" in data) this.fail(fromWire(data.crash));
      else if ("news" in data) this.onNews(data.news);
      else if ("thread" in data) this.onThread(data.thread);
      else this.#open.get(data.id)?.(data);
    });
  }

  /** Asks once and waits for the one answer. */
  request<Name extends keyof Api>(name: Name, args: Args<Api[Name]>): Promise<Answer<Api[Name]>> {
    return new Promise((resolve, reject) => {
      if (this.#failure) return reject(this.#failure);
      const id = this.#nextId++;
      this.#open.set(id, (reply) => {
        this.#open.delete(id);
        if ("error" in reply) reject(fromWire(reply.error));
        else if ("value" in reply) resolve(reply.value as Answer<Api[Name]>);
      });
      this.#post({ id, call: name, args });
    });
  }

  /** Pulls a stream; leaving the loop, or the signal, cancels it in the worker. */
  async *stream<Name extends keyof Api>(
    name: Name,
    args: Args<Api[Name]>,
    signal?: AbortSignal,
  ): AsyncGenerator<Item<Api[Name]>, void, void> {
    if (this.#failure) throw this.#failure;
    const id = this.#nextId++;
    const queue: Reply[] = [];
    let wake = () => {};
    let ended = false;
    const push = (reply: Reply) => {
      queue.push(reply);
      wake();
    };
    let cancelled = false;
    const cancel = () => {
      if (!cancelled) this.#post({ id, cancel: true });
      cancelled = true;
    };
    // Both sides hear of the abort at once: the reader however busy the worker is, and the worker even if nobody reads on.
    const abort = () => {
      cancel();
      push({ id, error: { code: "ABORTED", message: "stopped by the caller" } });
    };
    if (signal?.aborted) throw new ClocheError("ABORTED", "stopped by the caller");
    signal?.addEventListener("abort", abort);
    this.#open.set(id, push);
    this.#post({ id, call: name, args });
    try {
      for (;;) {
        while (queue.length === 0) await new Promise<void>((resolve) => (wake = resolve));
        const reply = queue.shift()!;
        ended = "done" in reply || ("error" in reply && !signal?.aborted);
        if ("error" in reply) throw fromWire(reply.error);
        if ("done" in reply) return;
        if ("item" in reply) yield reply.item as Item<Api[Name]>;
        this.#post({ id, credit: 1 });
      }
    } finally {
      this.#open.delete(id);
      signal?.removeEventListener("abort", abort);
      if (!ended) cancel();
    }
  }

  /** Ends everything that is open, and everything to come, with this error. */
  fail(error: ClocheError): void {
    this.#failure ??= error;
    this.#close(this.#failure);
    const { code, message } = this.#failure;
    for (const [id, settle] of [...this.#open]) settle({ id, error: { code, message } });
  }

  #post(call: Call): void {
    if (!this.#failure) this.#port.postMessage(call);
  }
}

/** The worker's end: answers every call until the worker dies. What `expect` throws at what is asked is the answer to it. */
export function serve<Api extends Handlers<Api>>(port: Port, handlers: Api, expect: (args: unknown) => void = () => {}): void {
  const live = new Map<number, Reader>();
  const post = (reply: Reply, transfer: Transferable[] = []) => port.postMessage(reply, transfer);

  const answer = async (id: number, name: keyof Api, args: unknown) => {
    const reader = new Reader();
    live.set(id, reader);
    try {
      expect(args);
      const result = handlers[name](args as never, reader.signal, (item) => post({ id, item }));
      if (Symbol.asyncIterator in result) {
        for await (const item of result) {
          await reader.spend();
          post({ id, item });
        }
        post({ id, done: true });
      } else {
        const value = await result;
        post({ id, value }, buffersOf(value));
      }
    } catch (thrown) {
      post({ id, error: toWire(thrown) });
    } finally {
      live.delete(id);
    }
  };

  port.addEventListener("message", ({ data }: MessageEvent<Call>) => {
    if ("call" in data) void answer(data.id, data.call as keyof Api, data.args);
    else if ("credit" in data) live.get(data.id)?.grant(data.credit);
    else live.get(data.id)?.cancel();
  });
}

/** The other side of one call: how much it will still take, and whether it still cares. */
class Reader {
  readonly #controller = new AbortController();
  #credit = CREDIT;
  #wake = () => {};

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  grant(credit: number): void {
    this.#credit += credit;
    this.#wake();
  }

  cancel(): void {
    this.#controller.abort();
    this.#wake();
  }

  /** Waits until one item may be sent. */
  async spend(): Promise<void> {
    while (this.#credit === 0 && !this.signal.aborted) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    this.signal.throwIfAborted();
    this.#credit -= 1;
  }
}

/** The buffers of a flat record of arrays, to be moved instead of copied. */
function buffersOf(value: unknown): Transferable[] {
  if (typeof value !== "object" || value === null) return [];
  const buffers = Object.values(value).flatMap((v) => (ArrayBuffer.isView(v) ? [v.buffer as ArrayBuffer] : []));
  return [...new Set(buffers)];
}
