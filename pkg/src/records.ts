/** What a stage learns from, as records: what is built in, what a page gives, files of JSON lines; a part is held out. */
import { ClocheError } from "./errors.js";
import type { ChatRecord, DataSource, PpoOptions, SftOptions, TuneOptions, Verdict, Verifier } from "./tuning.js";

type Stories = typeof import("./wasm/stories.js");
type Split = import("./wasm/stories.js").Split;

/** A record as JSON, where it stands, and who judges another answer to its question. */
export interface Item {
  json: string;
  name: string;
  line: number;
  judge: Verifier;
}

/** Records to learn from, and others to examine with. */
export interface Records {
  /** What a model card calls them. */
  name: string;
  train: Iterable<Item>;
  heldOut: Iterable<Item>;
  /** Other sources: those that have a share of every step, and text that PPO does not forget. */
  beside: { share?: number; items: Iterable<Item> }[];
}

/** Of records that somebody brings, every so manieth is held out. */
const HELD_OUT_EVERY = 20;
const DEFAULT_EXAMPLES = 10_000;
const DEFAULT_EXAM = 100;
const DEFAULT_SEED = 1337;
/** Built-in records that are drawn at once. */
const BATCH = 100;

type Options = TuneOptions & Pick<SftOptions, "mix"> & Pick<PpoOptions, "pretraining">;

/** The records that a stage asks for. `stories` loads the module with what is built in. */
export async function recordsOf(options: Options, stories: () => Promise<Stories>): Promise<Records> {
  const { mix = [], pretraining } = options;
  const { name, train, heldOut } = await mainRecords(options, stories);
  const [names, beside] = [[name], [] as Records["beside"]];
  for (const { data, share } of Array.isArray(mix) ? mix : Object.entries(mix).map(([data, share]) => ({ data, share }))) {
    const source = await whole(data, "mix", options, stories);
    names.push(`${Math.round(1000 * share) / 10} % ${source.name}`);
    beside.push({ share, items: source.items });
  }
  if (pretraining !== undefined) {
    const source = await whole(pretraining, "pretraining", options, stories);
    names.push(source.name);
    beside.push({ items: source.items });
  }
  return { name: names.join(", "), train, heldOut, beside };
}

/** All records of a source to learn from, none of which is held out. */
async function whole(data: DataSource, option: string, options: Options, stories: () => Promise<Stories>) {
  const { examples = DEFAULT_EXAMPLES, seed = DEFAULT_SEED } = options;
  if (typeof data !== "string") return { name: nameOf(data), items: await bring(data, option) };
  const { name, draw } = builtIn(data, await stories(), seed);
  return { name, items: draw("train", examples) };
}

async function mainRecords(options: Options, stories: () => Promise<Stories>): Promise<Omit<Records, "beside">> {
  const { data, heldOut, examples = DEFAULT_EXAMPLES, exam = DEFAULT_EXAM, seed = DEFAULT_SEED } = options;
  if (!(exam >= 1)) throw new ClocheError("SETTINGS", `exam: found ${exam}, expected at least 1`);
  const brought = heldOut && (await bring(heldOut, "heldOut"));
  if (typeof data === "string") {
    const { name, draw } = builtIn(data, await stories(), seed);
    return { name, train: draw("train", examples), heldOut: brought?.slice(0, exam) ?? draw("heldOut", exam) };
  }
  const all = await bring(data, "data");
  const name = nameOf(data);
  if (brought) return { name, train: all, heldOut: brought.slice(0, exam) };
  if (all.length < 2) {
    throw new ClocheError("DATA", `data: found ${all.length} records, expected at least 2, or heldOut with others`);
  }
  const isHeldOut = (_: Item, at: number) => at % HELD_OUT_EVERY === 0 && at < exam * HELD_OUT_EVERY;
  return { name, train: all.filter((item, at) => !isHeldOut(item, at)), heldOut: all.filter(isHeldOut) };
}

function nameOf(data: ChatRecord[] | Blob): string {
  return data instanceof File ? data.name : "records of a page";
}

/** The records of a page or a file, each with its line. The answer that a record has is the only right one. */
async function bring(data: ChatRecord[] | Blob, option: string): Promise<Item[]> {
  const name = data instanceof File ? data.name : option;
  if (!Array.isArray(data) && !(data instanceof Blob)) {
    throw new ClocheError("SETTINGS", `${option}: found ${data ?? "nothing"}, expected the name of what is built in, records or a file`);
  }
  const lines = Array.isArray(data) ? data.map((record) => JSON.stringify(record)) : (await data.text()).split("\n");
  const judge: Verifier = (said, { answer }) => {
    const correct = said.trim() === answer.trim();
    return { reward: Number(correct), correct };
  };
  const items = lines.map((json, at) => ({ json: json ?? "null", name, line: at + 1, judge }));
  return items.filter(({ json }) => json.trim() !== "");
}

/** A source that does not end: what it is called, and how to draw from it. */
interface Source {
  name: string;
  draw(split: Split, count: number): Iterable<Item>;
}

function builtIn(data: string, stories: Stories, seed: number): Source {
  const source = (name: string, batch: (split: Split, start: number, count: number) => [object, Verifier][]): Source => ({
    name,
    *draw(split, count) {
      for (let start = 0; start < count; start += BATCH) {
        const drawn = batch(split, start, Math.min(BATCH, count - start));
        for (const [at, [record, judge]] of drawn.entries()) {
          yield { json: JSON.stringify(record), name: data, line: start + at + 1, judge };
        }
      }
    },
  });
  if (data === "stories") {
    const nobody: Verifier = () => NaN;
    return source("Cloche's built-in stories", (split, start, count) => {
      const { texts } = stories.stories(seed, split === "train" ? "train" : "validation", start, count);
      return texts.map((text) => [{ text }, nobody]);
    });
  }
  /** Who knows the right answers, judges what is said and how. */
  const truth = (accepted: string[]): Verifier => (said) => ({
    reward: stories.judge(accepted, [said])[0] ?? NaN,
    correct: said.trim() === accepted[0],
  });
  if (data === "lessons" || data === "manners") {
    const draw = data === "lessons" ? stories.lessons : stories.mixedManners;
    const name = data === "lessons" ? "Cloche's built-in lessons" : "Cloche's built-in lessons of mixed manners";
    return source(name, (split, start, count) =>
      draw(seed, split, start, count).map(({ messages, accepted }) => [{ messages }, truth(accepted)]),
    );
  }
  if (data === "preferences") {
    const said = (content: string) => [{ role: "assistant", content }];
    return source("Cloche's built-in comparisons", (split, start, count) =>
      stories.preferences(seed, split, start, count).map(({ prompt, chosen, rejected, accepted }) => [
        { prompt, chosen: said(chosen), rejected: said(rejected) },
        truth(accepted),
      ]),
    );
  }
  const { task, difficulty } = taskOf(data, stories);
  return source(`Cloche's task ${task}, difficulty ${difficulty}`, (split, start, count) =>
    stories.taskItems(task, seed, split, start, count, difficulty).map(({ prompt, answer, demonstration }) => [
      { prompt, completion: demonstration },
      (said) => stories.verify(task, prompt, answer, [said])[0] ?? NaN,
    ]),
  );
}

/** `task:NAME` or `task:NAME:DIFFICULTY`. */
function taskOf(data: string, stories: Stories): { task: string; difficulty: number } {
  const [kind, task = "", level = "1", ...rest] = data.split(":");
  const refuse = (text: string) => new ClocheError("SETTINGS", text);
  if (kind !== "task" || rest.length > 0) {
    const expected = "lessons, manners, preferences, stories, task:NAME, records or a file";
    throw refuse(`data: found ${JSON.stringify(data)}, expected ${expected}`);
  }
  const found = stories.tasks().find(({ name }) => name === task);
  const names = () => stories.tasks().map(({ name }) => name);
  if (!found) throw refuse(`task: found ${JSON.stringify(task)}, expected one of ${names().join(", ")}`);
  const difficulty = Number(level);
  if (!Number.isInteger(difficulty) || difficulty < 1 || difficulty > found.hardest) {
    throw refuse(`difficulty of ${task}: found ${JSON.stringify(level)}, expected 1 to ${found.hardest}`);
  }
  return { task, difficulty };
}

/** A verdict as the engine takes it. */
export function verdictOf(verdict: Verdict): { reward: number; correct: boolean } {
  return typeof verdict === "object" ? verdict : { reward: verdict, correct: verdict >= 1 };
}
