/** Who may use the engine, and when: it does one thing at a time, and training must not lock out a prompt. */

/** Turns in the order of asking: a run that asks anew for every step lets others in between. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  take<T>(work: () => Promise<T> | T): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => {});
    return turn;
  }
}

/** A gate that a run passes before each step. */
export class Gate {
  #open = true;
  #wake = () => {};

  close(): void {
    this.#open = false;
  }

  open(): void {
    this.#open = true;
    this.#wake();
  }

  /** Waits until the gate is open or the signal is aborted. */
  async pass(signal: AbortSignal): Promise<void> {
    const wake = () => this.#wake();
    while (!this.#open && !signal.aborted) {
      signal.addEventListener("abort", wake);
      await new Promise<void>((resolve) => (this.#wake = resolve));
      signal.removeEventListener("abort", wake);
    }
    signal.throwIfAborted();
  }
}

const channel = new MessageChannel();
const waiting: (() => void)[] = [];
channel.port1.onmessage = () => waiting.shift()?.();

/** Lets waiting messages in. A timer would be held back to a second in a hidden tab; a message is not. */
export function breathe(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    channel.port2.postMessage(undefined);
  });
}

/** Progress is reported no more often than this. */
const REPORT_MS = 100;

/**
 * Passes on every so manieth report of a preparation, and what it comes to. Whatever is no report is passed on at once. Whoever
 * leaves early ends the preparation.
 */
export async function* paced<Event extends { event: string }, Outcome>(
  preparation: AsyncGenerator<Event, Outcome>,
): AsyncGenerator<Event, Outcome> {
  let reported = -Infinity;
  try {
    for (;;) {
      const { value, done } = await preparation.next();
      if (done) return value;
      const isReport = value.event === "prepare";
      if (isReport && performance.now() - reported < REPORT_MS) continue;
      if (isReport) reported = performance.now();
      yield value;
      await breathe();
    }
  } finally {
    await preparation.return(undefined as Outcome);
  }
}
