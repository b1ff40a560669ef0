/** A run under way, as the page holds it. */
import type { Api, GrowEvent, Steer } from "./protocol.js";
import type { Remote } from "./remote.js";
import type { Files } from "./tuning.js";

/** Who makes a run's events, steers it and has its files. */
interface Reins<Event> {
  events: AsyncGenerator<Event, void, void>;
  steer: (action: Steer) => Promise<void>;
  files: () => Promise<Files>;
}

/** A run under way: an async iterable of events, and its reins. */
export class Run<Event = GrowEvent> implements AsyncIterable<Event> {
  readonly #reins: Reins<Event>;
  /** What each reader has not taken yet. */
  readonly #readers = new Set<Event[]>();
  #pulling: Promise<void> | undefined;
  #ended = false;

  private constructor(reins: Reins<Event>) {
    this.#reins = reins;
  }

  /** The run in the worker whose events these are. */
  static of<Event>(remote: Remote<Api>, events: AsyncGenerator<Event, void, void>): Run<Event> {
    return new Run({
      events,
      steer: (action) => remote.request("steer", action),
      files: async () => new Map(Object.entries(await remote.request("checkpoint", undefined))),
    });
  }

  /** Holds the run after the step it is at; the model can be sampled and saved meanwhile. */
  pause(): Promise<void> {
    return this.#reins.steer("pause");
  }

  /** Goes on after `pause`. */
  resume(): Promise<void> {
    return this.#reins.steer("resume");
  }

  /** Ends the run after the step it is at, as if that were the last: `done` follows, the model stays. */
  stop(): Promise<void> {
    return this.#reins.steer("stop");
  }

  /**
   * All that the run needs to go on from where it is, but its data: weights, the optimizer's moments, settings, tokenizer.
   * Given to the same function as `resume`, it goes on as if it had never stopped, bit for bit. It can be had from the
   * `start` event on until another run begins, also while the run is paused and when it has ended.
   */
  checkpoint(): Promise<Files> {
    return this.#reins.files();
  }

  /**
   * The events, from now on. Any number of readers may read, each at its own pace; nothing happens until one does. When the
   * last one leaves its loop early, the run is given up.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Event, void, void> {
    const queue: Event[] = [];
    this.#readers.add(queue);
    try {
      for (;;) {
        while (queue.length === 0 && !this.#ended) await this.#pull();
        if (queue.length === 0) return;
        yield queue.shift()!;
      }
    } finally {
      this.#readers.delete(queue);
      if (this.#readers.size === 0 && !this.#ended) await this.#reins.events.return();
    }
  }

  /** Hands the next event to all readers. */
  #pull(): Promise<void> {
    const take = async () => {
      const { value, done } = await this.#reins.events.next();
      if (done) this.#ended = true;
      else for (const queue of this.#readers) queue.push(value);
    };
    return (this.#pulling ??= take().finally(() => (this.#pulling = undefined)));
  }
}
