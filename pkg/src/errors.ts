/**
 * What can go wrong, as codes that stay the same from version to version. The message says what was found and
 * what was expected; a program should look at the code only.
 */
export type ErrorCode =
  /** The caller's signal was aborted. */
  | "aborted"
  /** The text cannot be used: empty, binary, not UTF-8, too short for the context. */
  | "bad-data"
  /** A setting is out of range or contradicts another. */
  | "bad-settings"
  /** A second run was started while one is going on. */
  | "busy"
  /** The browser took the device away. */
  | "device-lost"
  /** The engine stopped at a fault of its own; create a new `Cloche`. */
  | "engine-crashed"
  /** `dispose()` has been called. */
  | "disposed"
  /** The worker or one of its modules could not be loaded. */
  | "load-failed"
  /** There is nothing to sample from or to save yet. */
  | "no-model"
  /** WebGPU was asked for and the browser offers none. */
  | "no-webgpu"
  /** The run needs more memory than there is. */
  | "out-of-memory"
  /** Too many steps in a row gave a loss that is not a number; the last good weights are kept. */
  | "not-finite";

/** The one class of error this package throws. */
export class ClocheError extends Error {
  override readonly name = "ClocheError";

  constructor(
    readonly code: ErrorCode,
    message: string,
  ) {
    super(message);
  }
}

/** An error as it crosses from the worker to the page: a class instance would not survive the copy. */
export interface WireError {
  code: ErrorCode;
  message: string;
}

/** Packs whatever was thrown. The engine's errors carry a code; anything without one is a fault of ours. */
export function toWire(thrown: unknown): WireError {
  const { code, name, message } = (thrown ?? {}) as Partial<ClocheError>;
  if (name === "AbortError") return { code: "aborted", message: "stopped by the caller" };
  if (typeof code === "string") return { code, message: message ?? code };
  return { code: "engine-crashed", message: message ?? String(thrown) };
}

/** Unpacks what `toWire` packed. */
export function fromWire(wire: WireError): ClocheError {
  return new ClocheError(wire.code, wire.message);
}
