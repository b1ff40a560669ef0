/**
 * The package in Node: the same `Cloche`, whose worker is a thread. With npm's `webgpu` installed beside it, devices are
 * those of a page; without it there is the CPU. Nothing is kept between runs, for want of a browser's file system:
 * `run.checkpoint()` gives the files to keep.
 *
 * @example
 * import { Cloche } from "cloche/node";
 *
 * const cloche = await Cloche.create({ device: "cpu" });
 * for await (const event of cloche.grow({ data: "stories", steps: 100 })) console.log(event);
 * cloche.dispose(); // the thread keeps the process alive until then
 */
import { Worker as Thread } from "node:worker_threads";
import type { Began, Wanted } from "./crew.js";
import { Cloche as InPage, type CreateOptions } from "./index.js";

export * from "./index.js";

export type Cloche = InPage;

export const Cloche = {
  /** Starts the thread, loads the engine and opens the device. */
  create(options: Omit<CreateOptions, "worker" | "workerUrl"> = {}): Promise<InPage> {
    const thread = begin({ webgpu: options.device !== "cpu" });
    return InPage.create({ ...options, worker: () => new ThreadWorker(thread) as unknown as Worker });
  },
};

function begin(workerData: { webgpu: boolean }): Thread {
  return new Thread(new URL("./node-worker.js", import.meta.url), { workerData });
}

/** A thread as a page sees a worker, as far as the package needs it, and those that it wants beside it. */
class ThreadWorker {
  readonly #thread: Thread;
  readonly #crew: Thread[] = [];
  #isOver = false;
  onerror: ((event: { message: string }) => void) | undefined;

  constructor(thread: Thread) {
    this.#thread = thread;
    thread.on("error", (error) => this.onerror?.({ message: error.message }));
  }

  postMessage(message: unknown, transfer: Transferable[] = []): void {
    this.#thread.postMessage(message, transfer);
  }

  addEventListener(_type: "message", listener: (event: { data: unknown }) => void): void {
    this.#thread.on("message", (data) => {
      const { thread } = data as { thread?: Wanted };
      if (thread) this.#help(thread);
      else listener({ data });
    });
  }

  terminate(): void {
    this.#isOver = true;
    for (const thread of [this.#thread, ...this.#crew]) void thread.terminate();
  }

  #help({ task, answer }: Wanted): void {
    if (this.#isOver) return;
    const tell = (began: Began) => answer.postMessage(began);
    const helper = begin({ webgpu: false });
    this.#crew.push(helper);
    helper.on("message", () => tell({})).on("error", ({ message }) => tell({ failed: message }));
    helper.postMessage({ task });
  }
}
