/** One stage after pre-training in the worker: from options to a stage of the engine, and from its events to the page's. */
import { kept, within, type Kept, type Plan } from "./checkpoint.js";
import { compiling } from "./compiling.js";
import { ClocheError } from "./errors.js";
import { plainTokenizer, tokenizerOf } from "./folder.js";
import { snakeCase } from "./growing.js";
import { answerTokens, encode, fit, judgeOf, longest, type Asked, type Learning } from "./material.js";
import type { Turns } from "./pace.js";
import { recordsOf } from "./records.js";
import { chatOf } from "./templates.js";
import type { DistillOptions, Files, PpoOptions, RewardedOptions, SftOptions, TuneEvent, TuneOptions, Verifier } from "./tuning.js";
import type { Engine, Material, Model, Tune } from "./wasm/teach.js";
import type { Chat, Tokenizer } from "./wasm/text.js";

/** What each stage learns from. */
const LEARNS_FROM = {
  sft: "demonstrations",
  reward: "comparisons",
  dpo: "comparisons",
  ppo: "questions",
  grpo: "questions",
  distill: "demonstrations",
} satisfies Record<string, Learning>;

export type StageName = keyof typeof LEARNS_FROM;

/** All that stages take. */
export type StageOptions = TuneOptions &
  Partial<Omit<SftOptions & RewardedOptions & PpoOptions & DistillOptions, keyof TuneOptions>>;

/** Who reads and writes for a model that is taught. */
export interface Pupil {
  tokenizer: Tokenizer;
  chat: Chat;
  /** What a model card calls it. */
  name: string;
  /** Whether it has learnt nothing before. */
  isNew: boolean;
}

/** What the worker has for a stage to use. */
export interface School {
  engine: Engine;
  Material: new () => Material;
  text: typeof import("./wasm/text.js");
  stories: () => Promise<typeof import("./wasm/stories.js")>;
  /** The model that is there; where `init` asks for a new one, it is not needed. */
  model?: { model: Model; tokenizer: Tokenizer; name: string } | undefined;
  /** The reward model of the last `reward`. */
  judge?: Model | undefined;
  turns: Turns;
  /** Opens the model in the files of a folder, whose tokenizer must be this one. */
  open: (files: Files, tokenizer: Tokenizer) => Promise<Model>;
}

/** A stage before its first event. */
export interface Lesson {
  tune: Tune;
  pupil: Pupil;
  /** What is to be remembered of it. */
  plan: Plan;
  /** The questions of the exam, in the order in which samples name them. */
  exam: Asked[];
}

type Progress = Extract<TuneEvent, { event: "prepare" | "warning" }>;

/** Prepares a stage. Yields its progress, and what had to be cut or left out. */
export async function* begin(
  stage: StageName,
  asked: StageOptions,
  school: School,
  signal: AbortSignal,
): AsyncGenerator<Progress, Lesson> {
  const resume = asked.resume && kept(stage, asked, asked.resume);
  const options = resume?.options ?? asked;
  for (const [option, only] of Object.entries(ONLY)) {
    if (option in options && only !== stage) throw new ClocheError("SETTINGS", `${option}: found it in ${stage}, expected it in ${only}`);
  }
  const records = await recordsOf(options, school.stories);
  const verifier = options.verifier === undefined ? undefined : await verifierOf(options.verifier);
  const { tokenizer, name, isNew } = whoever(options, school, resume);
  const chat = await chatOf(school.text, tokenizer, options.turns ?? false);
  const pupil: Pupil = { tokenizer, chat, name, isNew };
  // 1. All texts as tokens; and a model that has room for them, or the one that is there.
  const tokens = yield* encode(records, LEARNS_FROM[stage], chat, signal);
  const enough = answerTokens(tokens.heldOut.questions, tokenizer, chat);
  const model = resume
    ? await school.open(baseOf(resume.files), tokenizer)
    : options.init
      ? newModel(options, school, tokenizer, longest(tokens) + Math.floor(enough / 3))
      : present(school).model;
  const contextLen = model.contextLen;
  const maxTokens = Math.max(1, options.maxTokens ?? Math.min(enough, Math.floor(contextLen / 2)));
  // 2. What fits, and who judges.
  const material = new school.Material();
  const { asked: questions, warnings } = fit(material, tokens, { contextLen, maxTokens, tokenizer });
  for (const message of warnings) yield { event: "warning", message };
  if (chat.stopIds.length === 0) {
    const message = "the vocabulary has no token that ends an answer: answers go on until there is no room";
    yield { event: "warning", message };
  }
  material.verifier(judgeOf(questions, chat, verifier));
  const adviser = await adviserOf(stage, options, school, tokenizer);
  if (adviser) material.adviser(adviser);
  // 3. The stage. The material is the engine's from here on.
  const settings = JSON.stringify(settingsOf(resume?.changed ?? options, options, pupil, records.name, maxTokens));
  const files = resume && [...resume.files];
  try {
    const start = () => school.engine.startStage(stage, model, settings, material, files);
    const tune = yield* compiling(school.turns, start, signal);
    return { tune, pupil, plan: { stage, name, isNew, options: { ...options } }, exam: questions[1] };
  } finally {
    // Handles that nobody else has; the stage has its own.
    if (model !== school.model?.model) model.free();
    if (adviser !== school.judge) adviser?.free();
  }
}

/** Who is to learn: what a checkpoint says, a beginner, or the model that is there. */
function whoever(options: StageOptions, school: School, resume?: Kept<StageOptions>): Omit<Pupil, "chat"> {
  const { text } = school;
  if (resume) return { tokenizer: tokenizerOf(resume.files, text.Tokenizer), name: resume.name, isNew: resume.isNew };
  if (options.init) return { tokenizer: plainTokenizer(text), name: options.init, isNew: true };
  return { ...present(school), isNew: false };
}

/** The model that a stage began with, where the checkpoint still needs it; otherwise what has learnt stands for it. */
function baseOf(files: Files): Files {
  const base = within(files, "base");
  if (base.size > 0) return base;
  const own = ["config.json", "generation_config.json", "model.safetensors"];
  return new Map([...files].filter(([name]) => own.includes(name)));
}

/** An event as the page has it: the text of samples, and their question. */
export function told(event: { event: string; ids?: number[]; prompt?: number }, { pupil, exam }: Lesson): TuneEvent {
  if (event.event !== "sample") return event as TuneEvent;
  const text = pupil.chat.answer(Uint32Array.from(event.ids ?? []));
  return { ...event, question: exam[event.prompt ?? 0]?.asked ?? "", text } as unknown as TuneEvent;
}

function present({ model }: School) {
  if (model) return model;
  throw new ClocheError("NO_MODEL", "there is no model to begin with: grow or load one, or name a preset by `init`");
}

function newModel({ init = "nano", contextLen, seed = 1337 }: StageOptions, { engine }: School, tokenizer: Tokenizer, room: number): Model {
  return engine.newModel(init, tokenizer.vocabSize, contextLen ?? Math.ceil(room / 32) * 32, seed);
}

/** Imports the page's own judge. */
async function verifierOf(url: string | URL): Promise<Verifier> {
  const module: { default?: unknown } = await import(/* @vite-ignore */ /* webpackIgnore: true */ String(url)).catch(
    (error: unknown) => {
      throw new ClocheError("LOAD_FAILED", `verifier: ${error instanceof Error ? error.message : String(error)}`);
    },
  );
  if (typeof module.default === "function") return module.default as Verifier;
  throw new ClocheError("SETTINGS", `verifier: found no function in ${String(url)}, expected one as its default export`);
}

/** The model that a stage asks for its opinion. */
async function adviserOf(stage: StageName, options: StageOptions, school: School, tokenizer: Tokenizer): Promise<Model | undefined> {
  const adviser = options.resume && within(options.resume, "adviser");
  if (adviser && adviser.size > 0) return school.open(adviser, tokenizer);
  if (stage === "distill") return options.teacher && (await school.open(options.teacher, tokenizer));
  if (stage !== "ppo" || !options.judge) return undefined;
  if (school.judge) return school.judge;
  throw new ClocheError("NO_MODEL", "judge: found no reward model, expected one from a run of `reward`");
}

/** Options of one stage alone that are not the engine's business. */
const ONLY = { mix: "sft", pretraining: "ppo", judge: "ppo", teacher: "distill" } satisfies Partial<Record<keyof StageOptions, StageName>>;

/** Options that are not the engine's business. */
const OURS = new Set<keyof StageOptions>([
  ...(["data", "heldOut", "init", "contextLen", "examples", "exam", "maxTokens", "turns", "resume"] as const),
  ...(["verifier", "judge", "teacher", "mix", "pretraining"] as const),
]);

/** What the engine is told: the `own` settings of the stage in its spelling, an adapter, and names for the model card. */
function settingsOf(own: Partial<StageOptions>, { lora }: StageOptions, { chat, name, isNew }: Pupil, dataName: string, maxTokens: number): object {
  const settings = Object.entries(own).filter(([option]) => !OURS.has(option as keyof StageOptions));
  const weight = own.pretraining === undefined ? {} : { pretrainingWeight: 1 };
  return {
    ...snakeCase({ ...weight, ...Object.fromEntries(settings), lora }),
    stop_ids: Array.from(chat.stopIds),
    max_tokens: maxTokens,
    data_name: dataName,
    base_name: name,
    is_new: isNew,
  };
}
