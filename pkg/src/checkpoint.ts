/** What a checkpoint holds beside the engine's files, and what must be the same in a run that goes on. */
import { ClocheError } from "./errors.js";
import { json, textFile, textOf, type NamedBytes } from "./folder.js";
import { snakeCase } from "./growing.js";
import type { Files } from "./tuning.js";

/** What the worker has to remember of a run. */
export interface Plan {
  /** `grow`, or the stage. */
  stage: string;
  /** What model cards call the model. */
  name: string;
  /** Whether the model had learnt nothing before. */
  isNew: boolean;
  /** What the page asked for, without the data and files. */
  options: Record<string, unknown>;
}

/** A checkpoint that a run goes on from. */
export interface Kept<Options> extends Omit<Plan, "options"> {
  /** What was asked for when the run began, and in its place what is now. */
  options: Options;
  files: Files;
  /** What is asked for now of that which may change. */
  changed: Partial<Options>;
  /** All settings that the run had, as the engine spells them. */
  settings: Record<string, unknown>;
}

const PLAN = "run.json";
const STATE = "trainer_state.json";

/** Whether an option is no part of a plan: data and files, which a page gives again. */
function isGivenAgain(name: string, value: unknown): boolean {
  const isData = ["mix", "pretraining"].includes(name) && (Array.isArray(value) || value instanceof Blob);
  return isData || ["data", "heldOut", "teacher", "resume"].includes(name);
}

/** Options that may change: how long a run lasts, how often it looks and when it speaks. */
const FREE = new Set(["steps", "evalEvery", "sampleAt"]);

/** The file that remembers a run. */
export function planFile({ options, ...plan }: Plan): NamedBytes {
  const kept = Object.entries(options).filter(([name, value]) => !isGivenAgain(name, value) && value !== undefined);
  return textFile(PLAN, json({ ...plan, options: Object.fromEntries(kept) }));
}

/** Reads what `planFile` has written, and requires that what is asked for now is the same run. */
export function kept<Options extends object>(stage: string, asked: Options, files: Files): Kept<Options> {
  const plan = parsed<Plan>(files, PLAN);
  const state = parsed<{ step: number; settings: Record<string, unknown> & { model?: object } }>(files, STATE);
  if (plan.stage !== stage) differs("the stage", plan.stage, stage);
  const { model, ...own } = state.settings;
  const settings: Record<string, unknown> = { ...own, ...model };
  const all = Object.entries(asked).filter(([, value]) => value !== undefined);
  const given = all.filter(([name, value]) => !isGivenAgain(name, value));
  for (const [name, value] of given.filter(([name]) => !FREE.has(name))) {
    const [spelled] = Object.keys(snakeCase({ [name]: 0 }));
    const found = plan.options[name] ?? settings[spelled!];
    if (!isSame(found, value)) differs(name, found, value);
  }
  const { steps = settings["steps"] } = asked as { steps?: number };
  if (state.step > Number(steps)) differs("step", state.step, `at most ${steps}`);
  const changed = Object.fromEntries(given.filter(([name]) => FREE.has(name))) as Partial<Options>;
  return { ...plan, files, changed, settings, options: { ...plan.options, ...(Object.fromEntries(all) as Options) } };
}

/** Which run a checkpoint is of, and how far it has come. */
export function runIn(files: Files): { stage: string; step: number } {
  return { stage: parsed<Plan>(files, PLAN).stage, step: parsed<{ step: number }>(files, STATE).step };
}

/** The files in a folder of a checkpoint; none where it has no such folder. */
export function within(files: Files, folder: string): Files {
  const inside = [...files].filter(([name]) => name.startsWith(`${folder}/`));
  return new Map(inside.map(([name, bytes]) => [name.slice(folder.length + 1), bytes]));
}

/** The content of a file that must be there, as JSON. @throws `CHECKPOINT` */
export function parsed<Content>(files: Files, name: string): Content {
  const text = textOf(files, name);
  if (text === undefined) throw new ClocheError("CHECKPOINT", `checkpoint file "${name}": found nothing, expected a file`);
  try {
    return JSON.parse(text) as Content;
  } catch (error) {
    throw new ClocheError("CHECKPOINT", `checkpoint file "${name}": found ${error}, expected what Cloche writes`);
  }
}

/** Whether two options are the same to the engine, which counts in single precision. */
function isSame(a: unknown, b: unknown): boolean {
  if (typeof a === "number" && typeof b === "number") return Math.fround(a) === Math.fround(b);
  return JSON.stringify(a) === JSON.stringify(b);
}

function differs(what: string, found: unknown, expected: unknown): never {
  const shown = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value) ?? "left out");
  throw new ClocheError("CHECKPOINT_DIFFERS", `checkpoint of another run: ${what} is ${shown(found)}, expected ${shown(expected)}`);
}
