/**
 * Kernels that compile side by side, on the threads that the browser has for it. The engine's library makes a pipeline by
 * `createComputePipeline` alone, one after the other; while a run or an answer is prepared it is given an `Awaited` in its place,
 * and `createComputePipelineAsync` says when each is done.
 */
import { ClocheError } from "./errors.js";
import type { Turns } from "./pace.js";

/** How far compiling has come: kernels. */
export interface Compiling {
  event: "prepare";
  phase: "compiling";
  done: number;
  /** Not known before all have been asked for. */
  total?: number;
}

/** What is used here of WebGPU. */
interface Descriptor {
  label?: string;
}
interface Device {
  lost: Promise<unknown>;
  createComputePipeline(descriptor: Descriptor): object;
  createComputePipelineAsync(descriptor: Descriptor): Promise<object>;
}
interface Pass {
  setPipeline(pipeline: object): void;
}
type WebGpu = Partial<Record<"GPUDevice", { prototype: Device }> & Record<"GPUComputePassEncoder", { prototype: Pass }>>;

/** A pipeline that may not be there yet. */
class Awaited {
  /** Resolves when it is there, cannot be, or has no device any more. */
  readonly settled: Promise<void>;
  /** Why it cannot be, in the words of the engine's own errors; not where the device is lost, which is heard of elsewhere. */
  failure: string | undefined;
  #pipeline: object | undefined;
  #make: (() => object) | undefined;

  constructor(device: Device, descriptor: Descriptor, make: () => object) {
    this.#make = make;
    const lost = device.lost.then(() => {});
    const fail = async (error: unknown) => {
      const text = error instanceof Error ? error.message : String(error);
      const soonAfter = new Promise<boolean>((resolve) => setTimeout(resolve, 0, false));
      const isLost = await Promise.race([lost.then(() => true), soonAfter]);
      if (!isLost) this.failure = `kernel "${descriptor.label}": ${text}`;
    };
    const soon = device.createComputePipelineAsync(descriptor);
    this.settled = Promise.race([soon.then((pipeline) => void this.#have(pipeline), fail), lost]);
    unsettled.add(this);
    void this.settled.then(() => unsettled.delete(this));
  }

  /** The pipeline; one that is needed already is made here and now. */
  get pipeline(): object {
    return this.#pipeline ?? this.#have(this.#make!());
  }

  #have(pipeline: object): object {
    this.#make = undefined;
    return (this.#pipeline ??= pipeline);
  }
}

/** Those that are still compiled, also of runs that were given up. */
const unsettled = new Set<Awaited>();
/** What has been asked for, while somebody collects it. */
let collected: Awaited[] | undefined;
let isInstalled = false;

/** Has the global scope's WebGPU, where there is one, collect pipelines and know what stands in their place. */
function install(): void {
  const { GPUDevice: device, GPUComputePassEncoder: pass } = globalThis as WebGpu;
  if (isInstalled || !device || !pass) return;
  isInstalled = true;
  const { createComputePipeline } = device.prototype;
  device.prototype.createComputePipeline = function (descriptor) {
    const make = () => createComputePipeline.call(this, descriptor);
    if (!collected) return make();
    const awaited = new Awaited(this, descriptor, make);
    collected.push(awaited);
    return awaited;
  };
  const { setPipeline } = pass.prototype;
  pass.prototype.setPipeline = function (pipeline) {
    setPipeline.call(this, pipeline instanceof Awaited ? pipeline.pipeline : pipeline);
  };
}

/**
 * Builds a run in a turn of its own, and hands it over once its kernels are compiled. Whoever leaves before that leaves nothing
 * behind.
 * @throws `ABORTED`, and what a kernel does not compile for
 */
export async function* compiling<Run extends { free(): void }>(
  turns: Pick<Turns, "take">,
  build: () => Promise<Run> | Run,
  signal: AbortSignal,
): AsyncGenerator<Compiling, Run> {
  const report = { event: "prepare", phase: "compiling" } as const;
  yield { ...report, done: 0 };
  install();
  const [run, kernels] = await turns.take(() => collecting(build));
  const aborted = new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  let isCompiled = false;
  try {
    signal.throwIfAborted();
    for (const [before, kernel] of kernels.entries()) {
      await Promise.race([kernel.settled, aborted]);
      signal.throwIfAborted();
      if (kernel.failure) throw new ClocheError("ENGINE_CRASHED", kernel.failure);
      yield { ...report, done: before + 1, total: kernels.length };
    }
    isCompiled = true;
    return run;
  } finally {
    if (!isCompiled) run.free();
  }
}

/** The same for whoever tells nobody how far it has come. */
export async function compiled<Run extends { free(): void }>(...asked: Parameters<typeof compiling<Run>>): Promise<Run> {
  const preparation = compiling(...asked);
  for (;;) {
    const { value, done } = await preparation.next();
    if (done) return value;
  }
}

/** What is built, and the kernels that it has asked for, with those that are still compiled for others. */
async function collecting<Run>(build: () => Promise<Run> | Run): Promise<[Run, Awaited[]]> {
  const kernels: Awaited[] = (collected = [...unsettled]);
  try {
    return [await build(), kernels];
  } finally {
    collected = undefined;
  }
}
