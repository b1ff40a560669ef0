/** Which kernels a graphics device runs fastest: measured when a page asks for it, and kept from one visit to the next. */
import { ClocheError } from "./errors.js";
import { settingsOf, VERSION } from "./forecast.js";
import { keepIn, recalled } from "./opfs.js";
import type { Turns } from "./pace.js";
import type { DeviceInfo, EstimateOptions } from "./protocol.js";
import type { Engine as PlainEngine } from "./wasm/engine.js";
import type { Engine } from "./wasm/teach.js";

/** Where choices are kept, by what they depend on. */
const KERNELS = "cloche-kernels.json";

/** How far measuring has come: pieces of work that several kernels can do. */
export interface KernelsProgress {
  done: number;
  total: number;
}

/** What was measured. */
export interface KernelsTuned {
  /** Pieces of work that several kernels can do: none on the CPU. */
  pieces: number;
  /** Of these, how many have another kernel than the usual one now, because it is faster. */
  faster: number;
  /** The largest gain: 1.5 is half as fast again. */
  gain: number;
  /** Kernels that did not compile on this device, or gave wrong results, and are not used. */
  warnings: string[];
}

/** What the worker tells of it: its progress, and in the end what was found. */
export type KernelsEvent = KernelsProgress | KernelsTuned;

/** Has a device use what was found on an earlier visit. */
export async function recall(engine: PlainEngine): Promise<void> {
  const known = (await recalled<number[]>(KERNELS))[keyOf(engine)];
  if (Array.isArray(known)) engine.chooseKernels(Float64Array.from(known));
}

/** Measures the kernels of a run, and keeps what was found where the browser has a place for it. @throws `ABORTED` */
export async function tune(
  engine: Engine,
  turns: Turns,
  options: EstimateOptions,
  vocabSize: number,
  signal: AbortSignal,
  report: (event: KernelsEvent) => void,
): Promise<KernelsTuned> {
  const goOn = (done: number, total: number) => {
    report({ done, total });
    return !signal.aborted;
  };
  const settings = settingsOf({ steps: 500, ...options }, vocabSize);
  const { choices, ...found } = await turns.take(() => engine.tuneKernels(settings, goOn));
  if (signal.aborted) throw new ClocheError("ABORTED", "stopped by the caller");
  await keepIn(KERNELS, keyOf(engine), choices);
  return found;
}

/** Browsers translate what a kernel says, each in its own way. */
function keyOf(engine: PlainEngine): string {
  const { kind, name } = engine.describe() as DeviceInfo;
  return [VERSION, kind, name, globalThis.navigator?.userAgent].join(" ");
}
