/**
 * Threads of the engine, which the page starts when the worker asks for them. A worker could start them itself, but in Firefox it
 * then sometimes waits forever: there a worker that makes another waits on the same condition as the new one's first message does,
 * and only one of the two is woken.
 */

/** What the worker asks for: a thread by its own script, for a task. */
export interface Wanted {
  task: unknown;
  script: string;
  type: WorkerType;
  /** Where it is told that the thread has begun, or why it cannot. */
  answer: MessagePort;
}

/** What is told of a thread: nothing but that it has begun, or why it has not. */
export type Began = { failed?: string };

/** The threads of one worker. */
export class Crew {
  readonly #workers: Worker[] = [];
  #isOver = false;

  /** What is still asked for when it is over is not heard. */
  start({ task, script, type, answer }: Wanted): void {
    if (this.#isOver) return;
    const tell = (began: Began) => answer.postMessage(began);
    try {
      const worker = new Worker(script, { type });
      this.#workers.push(worker);
      worker.onmessage = () => tell({});
      worker.onerror = (event) => {
        event.preventDefault();
        tell({ failed: event.message });
      };
      worker.postMessage({ task });
    } catch (error) {
      tell({ failed: String(error) });
    }
  }

  terminate(): void {
    this.#isOver = true;
    for (const worker of this.#workers) worker.terminate();
  }
}
