/** The models that the worker has: the current one, a reward model, and those that the page keeps beside them. */
import { ClocheError } from "./errors.js";
import { plainTokenizer, tokenizerOf } from "./folder.js";
import type { CopyOptions, ModelInfo } from "./models.js";
import type { Turns } from "./pace.js";
import type { NewModel } from "./protocol.js";
import type { Files } from "./tuning.js";
import type { Pretrain } from "./wasm/engine.js";
import type { Engine, Model } from "./wasm/teach.js";
import type { Chat, Tokenizer } from "./wasm/text.js";
import { unpackedFolder } from "./zip.js";

/** A model, to be sampled, saved and taught. */
export interface Grown {
  run: Pretrain | Model;
  tokenizer: Tokenizer;
  /** How conversations are written for it. */
  chat: Chat | undefined;
  /** What model cards of what it becomes call it. */
  name: string;
}

type TextModule = typeof import("./wasm/text.js");

export class Shelf {
  /** The one that is meant where nobody says otherwise. */
  current: Grown | undefined;
  /** The reward model of the last `reward`. */
  judge: Grown | undefined;
  readonly #turns: Turns;
  readonly #kept = new Map<number, Grown>();
  /** Those that were lost with the device; of the current one and the reward model, by name. */
  readonly #lost = new Set<number | "current" | "judge">();
  #next = 1;

  constructor(turns: Turns) {
    this.#turns = turns;
  }

  /** The model of a number, or the current one. */
  get(model?: number): Grown {
    const found = model === undefined ? this.current : this.#kept.get(model);
    if (found) return found;
    if (this.#lost.has(model ?? "current")) throw lost("this model");
    if (model !== undefined) throw new ClocheError("DISPOSED", "dispose() has been called on this model");
    throw new ClocheError("NO_MODEL", "nothing has grown yet: the first step must have been made");
  }

  /** The model of a number as one that guesses for another: by the same tokens, it has to mean the same. @throws `SETTINGS` */
  draft(model: number, tokenizer: Tokenizer): Model {
    const grown = this.get(model);
    if (grown.tokenizer !== tokenizer && jsonOf(grown.tokenizer) !== jsonOf(tokenizer)) {
      throw new ClocheError("SETTINGS", "draft: found a model with another tokenizer, expected the same");
    }
    return grown.run as Model;
  }

  rewardModel(): Grown {
    if (this.judge) return this.judge;
    if (this.#lost.has("judge")) throw lost("the reward model");
    throw new ClocheError("NO_MODEL", "there is no reward model yet: `reward` makes one");
  }

  /** Keeps a model until the page disposes of it. */
  keep(grown: Grown): ModelInfo & { model: number } {
    const model = this.#next++;
    this.#kept.set(model, grown);
    return { model, ...infoOf(grown) };
  }

  /** Gives a model back. */
  async free(model: number): Promise<void> {
    const grown = this.#kept.get(model);
    this.#kept.delete(model);
    if (grown) await this.#drop(grown);
  }

  /** Puts a model in the place of the current one, or a reward model in the place of the last one. */
  async become(grown: Grown, isJudge = false): Promise<void> {
    const before = isJudge ? this.judge : this.current;
    if (isJudge) this.judge = grown;
    else this.current = grown;
    this.#lost.delete(isJudge ? "judge" : "current");
    if (before) await this.#drop(before);
  }

  /** Lets go of all models, which lay on a device that is gone. */
  async lose(): Promise<void> {
    const gone = new Set([this.current, this.judge, ...this.#kept.values()]);
    for (const model of this.#kept.keys()) this.#lost.add(model);
    if (this.current) this.#lost.add("current");
    if (this.judge) this.#lost.add("judge");
    this.current = this.judge = undefined;
    this.#kept.clear();
    await this.#turns.take(() => gone.forEach((grown) => grown?.run.free()));
  }

  /**
   * Frees a model that nobody has any more: after the turn that may be under way, since an object that computes cannot be
   * freed. Its tokenizer and chat may still be spoken by; they are freed when nobody has them any more.
   */
  async #drop(grown: Grown): Promise<void> {
    const had = [this.current, this.judge, ...this.#kept.values()];
    if (!had.includes(grown)) await this.#turns.take(() => grown.run.free());
  }
}

function lost(what: string): ClocheError {
  return new ClocheError("DEVICE_LOST", `${what} was lost with the graphics device: load it again, or let it learn again`);
}

/** What tokenizers are, as far as somebody has asked; of a large one it takes a while to be written. */
const jsons = new WeakMap<Tokenizer, string>();

function jsonOf(tokenizer: Tokenizer): string {
  const json = jsons.get(tokenizer) ?? new Map(tokenizer.files(0)).get("tokenizer.json")!;
  jsons.set(tokenizer, json);
  return json;
}

/** Opens the model in the files of a folder. */
export async function opened(files: Files | Blob, name = "a model that was loaded", engine: Engine, text: TextModule, turns: Turns): Promise<Grown> {
  const folder = await unpackedFolder(files);
  const tokenizer = tokenizerOf(folder, text.Tokenizer);
  const run = await turns.take(() => engine.openModel([...folder]));
  return { run, tokenizer, chat: undefined, name };
}

/** Begins a model. The tokenizer becomes its own. */
export async function begun(
  { preset = "tiny", config, contextLen, seed = 1337 }: NewModel,
  given: Tokenizer | undefined,
  engine: Engine,
  text: TextModule,
  turns: Turns,
): Promise<Grown> {
  const files = given && new Map(given.files(0));
  const tokenizer = files ? text.Tokenizer.fromJson(files.get("tokenizer.json")!, files.get("tokenizer_config.json")) : plainTokenizer(text);
  const what = config ? JSON.stringify({ ...config, vocab_size: tokenizer.vocabSize }) : preset;
  const run = await turns.take(() => engine.newModel(what, tokenizer.vocabSize, contextLen, seed));
  return { run, tokenizer, chat: undefined, name: config ? "a new model" : `cloche-${preset}` };
}

/** A copy with weights of its own, or with codes in their place. @throws `SETTINGS` */
export function copyOf(model: Model, quantize: CopyOptions["quantize"]): Promise<Model> {
  if (quantize === undefined) return model.copy();
  if (quantize === "int8" || quantize === "int4") return model.quantized(quantize === "int8" ? 8 : 4);
  throw new ClocheError("SETTINGS", `quantize: found ${JSON.stringify(quantize)}, expected "int8" or "int4"`);
}

/** Asks a model something; without `adapter`, the model that an adapter may lie beside. */
export async function asking<T>(run: Pretrain | Model, adapter: boolean, ask: (run: Pretrain | Model) => Promise<T> | T): Promise<T> {
  if (adapter || !("withoutAdapter" in run)) return ask(run);
  const bare = run.withoutAdapter();
  try {
    return await ask(bare);
  } finally {
    bare.free();
  }
}

/** What is known of a model that the larger module has. */
export function infoOf({ run, tokenizer, name }: Grown): ModelInfo {
  const { layers, hasAdapter, contextLen } = run as Model;
  const [n = 0, heads = 0] = layers;
  return { name, layers: n, heads, vocabSize: tokenizer.vocabSize, contextLen, hasAdapter };
}
