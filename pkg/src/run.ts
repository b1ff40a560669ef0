/** A run under way, as the page holds it. */
import { ClocheError } from "./errors.js";
import type { Api, GrowEvent, Steer } from "./protocol.js";
import type { Remote } from "./remote.js";
import type { Files } from "./tuning.js";

/** The run that each worker has begun last: what it is told of a run is meant for that one. */
const latest = new WeakMap<Remote<Api>, Run<unknown>>();

/** A run under way: an async iterable of events, and its reins. */
export class Run<Event = GrowEvent> implements AsyncIterable<Event> {
  readonly #remote: Remote<Api>;
  readonly #events: AsyncGenerator<Event, void, void>;
  /** What each reader has not taken yet. */
  readonly #readers = new Set<Event[]>();
  #pulling: Promise<void> | undefined;
  /** How it was steered before it had told anything: the worker may not have heard of it yet. */
  #early: Steer | undefined;
  #begun = false;
  #ended = false;
  /** Why it has ended, where something went wrong; for readers that come to it later, too. */
  #failure: { error: unknown } | undefined;

  /** Made by `Cloche.grow` and the stages after it. */
  constructor(remote: Remote<Api>, events: AsyncGenerator<Event, void, void>) {
    this.#remote = remote;
    this.#events = events;
  }

  /** Holds the run after the step it is at; the model can be sampled and saved meanwhile. */
  pause(): Promise<void> {
    return this.#steer("pause");
  }

  /** Goes on after `pause`. */
  resume(): Promise<void> {
    return this.#steer("resume");
  }

  /** Ends the run after the step it is at, as if that were the last: `done` follows, the model stays. */
  stop(): Promise<void> {
    return this.#steer("stop");
  }

  /**
   * Has the next step of pre-training timed, kernel by kernel: a `profile` event follows it. What is learnt stays the same. Of a
   * stage after pre-training nothing comes.
   */
  profile(): Promise<void> {
    return this.#steer("profile");
  }

  /**
   * All that the run needs to go on from where it is, but its data: weights, the optimizer's moments, settings, tokenizer.
   * Given to the same function as `resume`, it goes on as if it had never stopped, bit for bit. It can be had from the
   * `start` event on until another run begins, a stage is estimated, kernels are measured, a model is loaded, created, copied or
   * put in its place, or one that has grown answers many prompts; also while the run is paused and when it has ended.
   */
  async checkpoint(): Promise<Files> {
    if (!this.#isLatest()) throw new ClocheError("NO_MODEL", "another run has begun: there is no checkpoint of this one any more");
    return new Map(Object.entries(await this.#remote.request("checkpoint", undefined)));
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
        if (queue.length > 0) yield queue.shift()!;
        else if (this.#failure) throw this.#failure.error;
        else return;
      }
    } finally {
      this.#readers.delete(queue);
      if (this.#readers.size === 0 && !this.#ended) await this.#events.return();
    }
  }

  /** Hands the next event to all readers. */
  #pull(): Promise<void> {
    const take = async () => {
      try {
        const { value, done } = await this.#events.next();
        if (done) return void (this.#ended = true);
        latest.set(this.#remote, this);
        if (!this.#begun && this.#early) await this.#remote.request("steer", this.#early);
        this.#begun = true;
        for (const queue of this.#readers) queue.push(value);
      } catch (error) {
        this.#failure = { error };
        this.#ended = true;
      }
    };
    return (this.#pulling ??= take().finally(() => (this.#pulling = undefined)));
  }

  async #steer(action: Steer): Promise<void> {
    if (!this.#begun) this.#early = action;
    if (this.#isLatest()) await this.#remote.request("steer", action);
  }

  /** Whether the worker would take this one for the run that is meant: also before its first event, while no other goes on. */
  #isLatest(): boolean {
    const last = latest.get(this.#remote);
    return last === undefined || last === this || (last.#ended && !this.#ended);
  }
}
