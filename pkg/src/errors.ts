/**
 * What can go wrong, as codes that stay the same from version to version. The message says what was found and what
 * was expected, for people; a program should look at the code only.
 */
export type ErrorCode =
  /** The caller's signal was aborted. */
  | "ABORTED"
  /** A second run was started while one is going on. */
  | "BUSY"
  /** Files that are no model, no tokenizer or no checkpoint, or damaged. */
  | "CHECKPOINT"
  /** A checkpoint of another run: of other data, another stage, or other settings. */
  | "CHECKPOINT_DIFFERS"
  /** Records that cannot be learnt from. */
  | "DATA"
  /** The browser took the device away. */
  | "DEVICE_LOST"
  /** `dispose()` has been called. */
  | "DISPOSED"
  /** An address gave no answer, an answer that is no success, a page in place of a file, or other bytes than were expected. */
  | "DOWNLOAD"
  /** The engine stopped at a fault of its own: create a new `Cloche`. */
  | "ENGINE_CRASHED"
  /** The worker or one of its modules could not be loaded. */
  | "LOAD_FAILED"
  /** There is nothing to sample from or to save yet. */
  | "NO_MODEL"
  /** Not UTF-8 text, or a file that cannot be read. */
  | "NOT_TEXT"
  /** The device has no room for what is asked; nothing of it stays behind. */
  | "OUT_OF_MEMORY"
  /** A setting is out of range, or contradicts another. */
  | "SETTINGS"
  /** A chat template that cannot be read, raises an error, does not end, or leaves out what is said. */
  | "TEMPLATE"
  /** There is no text. */
  | "TEXT_EMPTY"
  /** A vocabulary of characters was to be learnt from one. */
  | "TEXT_ONE_CHARACTER"
  /** Too little text for the context. */
  | "TEXT_TOO_SHORT"
  /** What your verifier threw, or gave in place of verdicts. */
  | "VERIFIER"
  /** More tokens than the text gives. */
  | "VOCAB_TOO_LARGE"
  /** There is no run of that name. */
  | "NO_RUN"
  /** There is no WebGPU, or it finds no adapter. */
  | "NO_WEBGPU"
  /** The browser gives this page no file system. */
  | "NO_STORAGE"
  /** No file of a run's saves is whole. */
  | "RUN_DAMAGED"
  /** There is a run of that name already. */
  | "RUN_EXISTS"
  /** A page has the run, perhaps this one. */
  | "RUN_IN_USE"
  /** A run could not be saved; the second, for want of room. */
  | "STORAGE"
  | "STORAGE_FULL"
  /** Not an error: what a run that goes on has warned of, as elements tell it. */
  | "WARNING"
  /** The engine's own codes, each with its sentence. */
  | (string & {});

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
  const { code, name, message } = (thrown ?? {}) as { code?: unknown; name?: string; message?: string };
  if (name === "AbortError") return { code: "ABORTED", message: "stopped by the caller" };
  if (typeof code === "string") return { code, message: message ?? code };
  return { code: "ENGINE_CRASHED", message: message ?? String(thrown) };
}

/** Unpacks what `toWire` packed. */
export function fromWire(wire: WireError): ClocheError {
  return new ClocheError(wire.code, wire.message);
}
