/** The stages after pre-training as a page asks for them: what each takes, and the events that all of them yield. */
import type { Compiling } from "./compiling.js";
import type { SaveEvent, SaveOptions } from "./keeping.js";
import type { Hyperparameters, Preset } from "./protocol.js";

/** The files of a folder: each one's name and bytes. */
export type Files = Map<string, Uint8Array<ArrayBuffer>>;

/** What somebody says in a conversation. */
export interface Message {
  role: "system" | "user" | "assistant";
  content: string;
}

/** Text that goes on where the text before it ended, or turns of a conversation. */
export type Turns = string | Message[];

/** A record of a data set, in the shapes that people have; other fields are left alone. */
export type ChatRecord =
  | { messages: Message[] }
  | { prompt: Turns; completion: Turns }
  | { prompt: Turns; chosen: Turns; rejected: Turns }
  /** Answers best first, or in any order with a rank each (1 is best). */
  | { prompt: Turns; responses: Turns[]; ranks?: number[] }
  /** A question, and the answer that a verifier compares with. */
  | { prompt: Turns; answer: string }
  | { text: string };

/** An adapter that learns beside a frozen model: LoRA. */
export interface LoraOptions {
  /** @default 8 */
  rank?: number;
  /** @default 16 */
  alpha?: number;
  dropout?: number;
  /** Linear layers by their paths or the ends of these, such as `c_attn`. @default ["all-linear"] */
  targets?: string[];
}

/** What every stage takes. What is left out is as on the command line. */
export interface TuneOptions
  extends Pick<Hyperparameters, "warmupSteps" | "beta1" | "beta2" | "eps" | "weightDecay" | "maxGradNorm"> {
  /**
   * What is built in (`lessons`, `manners`, `preferences`, `stories`, `task:NAME`, `task:NAME:DIFFICULTY`), records, or a file of
   * them, one a line, as JSON.
   */
  data: string | ChatRecord[] | Blob;
  /** Records to examine with. By default every 20th record; of what is built in, draws set apart. */
  heldOut?: ChatRecord[] | Blob;
  /**
   * Begins with nothing, and not with the model that is there: a new model of a preset, whose tokens are the printable
   * characters of ASCII and the marks of a chat. Enough for the built-in tasks.
   */
  init?: Preset;
  /** Tokens that a new model sees at once. By default as many as the data needs. */
  contextLen?: number;
  /** Built-in records to learn from, which do not end. @default 10000 */
  examples?: number;
  /** Records that are held out at most. @default 100 */
  exam?: number;
  /** The most tokens of an answer. By default half as many again as the longest one to the exam, and no more than half the context. */
  maxTokens?: number;
  /** Takes prompts and answers that are strings for turns of a conversation; otherwise one goes on where the other ends. */
  turns?: boolean;
  /** Trains an adapter beside the frozen model. */
  lora?: LoraOptions;
  steps?: number;
  /** Examples, comparisons or questions of a step. */
  batchSize?: number;
  lr?: number;
  /** Where the cosine ends. By default a tenth of `lr`. */
  minLr?: number;
  /** Steps between evaluations; 0 for none but the first and the last. */
  evalEvery?: number;
  /** @default 1337 */
  seed?: number;
  /**
   * Goes on with a run from its checkpoint, on the same data and exactly as if it had never stopped. Options that are left
   * out are the run's; `steps` and `evalEvery` may be others. What has learnt takes the place of the model that is there.
   */
  resume?: Files;
  /** Keeps the run in the browser's own file system, so that it outlives the tab: see `cloche.runs`. */
  save?: SaveOptions;
}

/** Records, a file of them, or the name of what is built in: as `data`, and `stories`. */
export type DataSource = string | ChatRecord[] | Blob;

/** Supervised fine-tuning: a model learns to answer from demonstrations. */
export interface SftOptions extends TuneOptions {
  /**
   * Lets examples share rows as long as the model's context, as many as fit, instead of padding each to the longest; none
   * sees another. The batch size then counts rows.
   */
  packing?: boolean;
  /**
   * Other sources that have a share of every step, so that what was learnt before is not forgotten: `{ stories: 0.2 }`, or
   * a list of records and their share.
   */
  mix?: Record<string, number> | { data: DataSource; share: number }[];
}

/** A reward model learns from comparisons which answers people prefer. The model that is there stays as it is. */
export interface RewardOptions extends TuneOptions {
  margin?: number;
  centring?: number;
}

/** A model learns from comparisons, without a reward model. */
export interface DpoOptions extends TuneOptions {
  beta?: number;
  loss?: "sigmoid" | "ipo" | "hinge";
  labelSmoothing?: number;
  /** How much the tokens of the chosen answers count besides, as in fine-tuning. @default 0 */
  sftWeight?: number;
  precompute?: boolean;
}

/** How answers are drawn and judged where a model learns from rewards. */
export interface RewardedOptions extends TuneOptions {
  temperature?: number;
  epochs?: number;
  beta?: number;
  /**
   * A module of yours that judges answers, in place of what the data knows: the worker imports it, so it must have the
   * page's origin. Its default export is a {@link Verifier}.
   */
  verifier?: string | URL;
}

/** Reinforcement learning with a critic, near to the model at the beginning. */
export interface PpoOptions extends RewardedOptions {
  /** Whether the reward model of the last `reward` judges the answers. By default the data knows what is right. */
  judge?: boolean;
  criticLr?: number;
  minibatches?: number;
  clip?: number;
  valueClip?: number;
  gamma?: number;
  lambda?: number;
  whitenRewards?: boolean;
  missingEndPenalty?: number;
  /** Text that is not to be forgotten, whose loss is added. */
  pretraining?: DataSource;
  /** How much its loss counts. @default 1 */
  pretrainingWeight?: number;
}

/** Reinforcement learning from groups of answers, without a critic. */
export interface GrpoOptions extends RewardedOptions {
  group?: number;
  microBatch?: number;
  clipLow?: number;
  clipHigh?: number;
  scale?: "deviation" | "nothing";
}

/** The model that is there learns from another one. */
export interface DistillOptions extends TuneOptions {
  /**
   * The files of the teacher's folder, such as `export` gave; its tokenizer must be the student's. A checkpoint has its
   * teacher with it.
   */
  teacher?: Files;
  temperature?: number;
  divergence?: "forward" | "reverse";
  targets?: number;
}

/** What an answer is worth; a number alone is its reward, and the answer counts as right where that is 1 or more. */
export type Verdict = number | { reward: number; correct: boolean };

/** Judges an answer. Rewards are finite numbers; what it throws ends the stage. */
export type Verifier = (said: string, question: { asked: string; answer: string }) => Verdict;

/** What happens in a stage, named as the command line's `--json` names it. */
export type TuneEvent =
  | { event: "prepare"; phase: "loading" | "encoding"; done: number }
  | Compiling
  | {
      event: "start";
      stage: string;
      step: number;
      steps: number;
      n_params: number;
      /** Numbers that learn: all, or the adapter's. */
      n_trained: number;
      device: string;
    }
  /** What else a stage measures of a step has a name of its own, such as `token_accuracy` or `reward`. */
  | {
      event: "step";
      step: number;
      loss: number;
      lr: number;
      grad_norm: number;
      tokens_per_s: number;
      seconds_left: number;
      [metric: string]: number | "step";
    }
  /** What the numbers of a step mean, in words, said once. */
  | { event: "remark"; step: number; message: string }
  /** How the model does on what is held out, by name, such as `held_out_loss` or `exam_correct`. */
  | { event: "eval"; step: number; [metric: string]: number | "eval" }
  /** What the model answers to a question of the exam. */
  | { event: "sample"; step: number; prompt: number; ids: number[]; reward: number; question: string; text: string }
  | { event: "nonfinite"; step: number; in_a_row: number }
  | SaveEvent
  | { event: "done"; step: number; reason: "finished" | "stopped" | "diverged"; seconds: number };
