/** What a stage after pre-training will take. How long its answers are, nobody knows beforehand: a copy of the model tries. */
import { ClocheError } from "./errors.js";
import { breathe } from "./pace.js";
import type { StageEstimate } from "./protocol.js";
import { begin, type School, type StageName, type StageOptions } from "./teaching.js";
import type { Tune } from "./wasm/teach.js";

/** The first step still prepares something and does not count; those that follow do, until there are enough of them. */
const ENOUGH = { steps: 40, seconds: 0.5 };
/** Questions of the exam with which every run begins; it takes its time, but is no step. */
const EXAM = 2;

/** What has happened up to a step. */
interface Mark {
  /** Milliseconds. */
  time: number;
  /** Those that were held then. */
  bytes: number;
  flops: number;
  dispatches: number;
}

/** Makes a few steps of a stage with a copy of the model that is there, and leaves nothing behind. */
export async function rehearse(stage: StageName, asked: StageOptions, school: School, signal: AbortSignal): Promise<StageEstimate> {
  const { engine, model, turns } = school;
  const { save: _save, resume: _resume, exam = EXAM, ...options } = asked;
  const before = await turns.take(() => engine.memory()[1]!);
  const copy = model && !asked.init ? { ...model, model: await turns.take(() => model.model.copy()) } : undefined;
  try {
    const beginning = begin(stage, { ...options, exam: Math.min(exam, EXAM), evalEvery: 0 }, { ...school, model: copy }, signal);
    let told = await beginning.next();
    while (!told.done) told = await beginning.next();
    const { tune, pupil } = told.value;
    try {
      const { steps, parameters, trained, marks } = await attempt(tune, school, signal);
      const [first, last] = [marks[0]!, marks.at(-1)!];
      const each = (key: "flops" | "dispatches") => Math.round((last[key] - first[key]) / (marks.length - 1));
      // The middle one: a browser compiles meanwhile, and others share the machine.
      const times = marks.slice(1).map(({ time }, at) => time - marks[at]!.time).sort((a, b) => a - b);
      return {
        parameters,
        trained,
        vocabSize: pupil.tokenizer.vocabSize,
        peakBytes: last.bytes - before,
        flopsPerStep: each("flops"),
        dispatchesPerStep: each("dispatches"),
        seconds: (steps * times[times.length >> 1]!) / 1000,
      };
    } finally {
      tune.free();
    }
  } finally {
    copy?.model.free();
  }
}

/** Makes steps, until there is something to go by. */
async function attempt(tune: Tune, { engine, turns }: School, signal: AbortSignal) {
  const [size, marks] = [{ steps: 0, parameters: 0, trained: 0 }, [] as Mark[]];
  for (;;) {
    signal.throwIfAborted();
    const event = (await turns.take(() => tune.next())) as { event: string; steps: number; n_params: number; n_trained: number } | undefined;
    if (event?.event === "start") Object.assign(size, { steps: event.steps, parameters: event.n_params, trained: event.n_trained });
    if (event?.event === "step" || event?.event === "nonfinite") {
      const [, bytes, flops, dispatches] = engine.memory();
      marks.push({ time: performance.now(), bytes, flops, dispatches });
    }
    const isLong = marks.length > 1 && marks.at(-1)!.time - marks[0]!.time > 1000 * ENOUGH.seconds;
    if (isLong || marks.length > ENOUGH.steps || (!event && marks.length > 1)) return { ...size, marks };
    if (!event) throw new ClocheError("SETTINGS", "steps: found 1, expected at least 2 to tell how long one takes");
    await breathe();
  }
}
