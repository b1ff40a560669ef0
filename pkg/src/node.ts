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
import { Cloche as InPage, type CreateOptions } from "./index.js";

export * from "./index.js";

export type Cloche = InPage;

export const Cloche = {
  /** Starts the thread, loads the engine and opens the device. */
  create(options: Omit<CreateOptions, "worker" | "workerUrl"> = {}): Promise<InPage> {
    const workerData = { webgpu: options.device !== "cpu" };
    const thread = new Thread(new URL("./node-worker.js", import.meta.url), { workerData });
    return InPage.create({ ...options, worker: () => new ThreadWorker(thread) as unknown as Worker });
  },
};

/** A thread as a page sees a worker, as far as the package needs it. */
class ThreadWorker {
  readonly #thread: Thread;
  onerror: ((event: { message: string }) => void) | undefined;

  constructor(thread: Thread) {
    this.#thread = thread;
    thread.on("error", (error) => this.onerror?.({ message: error.message }));
  }

  postMessage(message: unknown, transfer: Transferable[] = []): void {
    this.#thread.postMessage(message, transfer);
  }

  addEventListener(_type: "message", listener: (event: { data: unknown }) => void): void {
    this.#thread.on("message", (data) => listener({ data }));
  }

  terminate(): void {
    void this.#thread.terminate();
  }
}
