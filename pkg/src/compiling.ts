/**
 * Kernels that compile side by side, on the threads that the browser has for it. The engine's library makes a pipeline by
 * `createComputePipeline` alone, one after the other; while a run is prepared it is given an `Awaited` in its place, and
 * `createComputePipelineAsync` says when each is done.
 */

/** How far compiling has come: kernels. */
export interface Compiling {
  event: "prepare";
  phase: "compiling";
  done: number;
  /** Not known before all have been asked for. */
  total?: number;
}

/** What is used here of WebGPU. */
interface Device {
  createComputePipeline(descriptor: object): object;
  createComputePipelineAsync(descriptor: object): Promise<object>;
}
interface Pass {
  setPipeline(pipeline: object): void;
}
type WebGpu = Partial<Record<"GPUDevice", { prototype: Device }> & Record<"GPUComputePassEncoder", { prototype: Pass }>>;

/** A pipeline that may not be there yet. */
class Awaited {
  /** Resolves when it is there, or cannot be. */
  readonly settled: Promise<void>;
  #pipeline: object | undefined;
  #make: (() => object) | undefined;

  constructor(make: () => object, soon: Promise<object>) {
    this.#make = make;
    this.settled = soon.then((pipeline) => void this.#have(pipeline)).catch(() => {});
  }

  /** The pipeline. One that failed, or is needed already, is made here and now, where the engine hears of errors. */
  get pipeline(): object {
    return this.#pipeline ?? this.#have(this.#make!());
  }

  #have(pipeline: object): object {
    this.#make = undefined;
    return (this.#pipeline ??= pipeline);
  }
}

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
    const awaited = new Awaited(make, this.createComputePipelineAsync(descriptor));
    collected.push(awaited);
    return awaited;
  };
  const { setPipeline } = pass.prototype;
  pass.prototype.setPipeline = function (pipeline) {
    setPipeline.call(this, pipeline instanceof Awaited ? pipeline.pipeline : pipeline);
  };
}

/** Builds a run, and hands it over once its kernels are compiled. Whoever leaves before that leaves nothing behind. @throws `ABORTED` */
export async function* compiling<Run extends { free(): void }>(
  build: () => Promise<Run>,
  signal: AbortSignal,
): AsyncGenerator<Compiling, Run> {
  const report = { event: "prepare", phase: "compiling" } as const;
  yield { ...report, done: 0 };
  install();
  const kernels: Awaited[] = (collected = []);
  const run = await build().finally(() => (collected = undefined));
  let isCompiled = false;
  try {
    for (const [before, { settled }] of kernels.entries()) {
      await settled;
      signal.throwIfAborted();
      yield { ...report, done: before + 1, total: kernels.length };
    }
    isCompiled = true;
    return run;
  } finally {
    if (!isCompiled) run.free();
  }
}
