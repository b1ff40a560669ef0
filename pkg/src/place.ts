/** Who may have a run, and who has to wait for one that was given up. */
import { ClocheError } from "./errors.js";

/** Whose run it is: there is one at a time. */
export class Place {
  #holder: { signal: AbortSignal | undefined; left: Promise<void> } | undefined;

  get isTaken(): boolean {
    return this.#holder !== undefined;
  }

  /** Refuses where a run goes on that nobody has given up. @throws `BUSY` */
  expectFree(): void {
    if (this.#holder && !this.#holder.signal?.aborted) throw new ClocheError("BUSY", "a run is going on: stop it before you start another");
  }

  /** Takes it, until the answer is called: after a run that was given up and is still at its step. @throws `BUSY` */
  async take(signal: AbortSignal | undefined): Promise<() => void> {
    while (this.#holder) {
      this.expectFree();
      await this.#holder.left;
    }
    let leave = () => {};
    const left = new Promise<void>((resolve) => (leave = resolve));
    this.#holder = { signal, left };
    return () => {
      this.#holder = undefined;
      leave();
    };
  }
}
