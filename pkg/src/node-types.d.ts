/** What the entry for Node needs of Node, so that the types of all of Node stay out of the package. */
declare module "node:worker_threads" {
  interface Port {
    postMessage(message: unknown, transfer?: Transferable[]): void;
    on(event: "message", listener: (message: unknown) => void): this;
  }
  export class Worker implements Port {
    constructor(script: URL, options: { workerData: unknown });
    postMessage(message: unknown, transfer?: Transferable[]): void;
    on(event: "message", listener: (message: unknown) => void): this;
    on(event: "error", listener: (error: Error) => void): this;
    terminate(): Promise<number>;
  }
  export const parentPort: Port | null;
  export const workerData: unknown;
}

declare module "node:os" {
  export function availableParallelism(): number;
}

declare module "node:fs/promises" {
  export function readFile(file: URL): Promise<Uint8Array<ArrayBuffer>>;
}

declare const process: {
  on(event: "uncaughtException", listener: (error: Error) => void): void;
  on(event: "unhandledRejection", listener: (reason: unknown) => void): void;
};
