/**
 * What all elements of a page share: one worker with at most one model in it, and the runs of this visit. An element
 * asks it for the engine, tells it to grow, and listens to `change`, which comes a few times a second.
 */
import { Cloche, ClocheError } from "cloche";
import type {
  CreateOptions,
  GrowEvent,
  GrowOptions,
  LoadOptions,
  ModelInfo,
  ModelSource,
  Run,
  SavedRun,
  Start,
  TokenizerHandle,
  TokenizerProgress,
} from "cloche";

type Event<Name extends GrowEvent["event"]> = Extract<GrowEvent, { event: Name }>;

/** What the worker is doing for a run. */
export type GrowState = "idle" | "waking" | "preparing" | "growing" | "paused";

/** What is known of the loss at a step, in nats per token. */
export interface LossRow {
  step: number;
  train: number | null;
  val: number | null;
}

/** What the model said after a step, and its training loss then. */
export interface Sample {
  step: number;
  text: string;
  loss: number | null;
}

/** A run of this visit, as far as it has come. */
export interface RunRecord {
  /** 1 for the first of the page; negative where it was kept from another visit. */
  number: number;
  name: string;
  options: GrowOptions;
  /** The element that started it. */
  owner: Element | undefined;
  phase?: Event<"prepare">;
  start?: Start;
  rows: LossRow[];
  samples: Sample[];
  latest?: Event<"step">;
  skipped?: Event<"nonfinite">;
  /** Where the time of a step went, when that was last asked. */
  profile?: Event<"profile">;
  done?: Event<"done">;
  /** The last save, where the run is kept. */
  saved?: Event<"saved">;
  warning?: string;
}

/** Who leads a run, where it is computed, and who hears of it. */
export interface Lead {
  device?: CreateOptions["device"];
  owner?: Element;
  onEvent?: (event: GrowEvent) => void;
}

/** Hundreds of steps a second are no reason to draw more often than people see. */
const CHANGE_MS = 60;
/** Errors after which the worker is of no use. */
const FATAL = ["ENGINE_CRASHED", "LOAD_FAILED", "DEVICE_LOST"];

export class Greenhouse extends EventTarget {
  /** Where the pieces of the package lie, for pages that keep them elsewhere. Read when the worker starts. */
  files: Omit<CreateOptions, "device" | "signal"> = {};
  state: GrowState = "idle";
  readonly runs: RunRecord[] = [];
  /** Names of runs of pre-training that the browser has kept from other visits, as far as is known: asking takes the engine. */
  kept: string[] = [];
  /** Those of them that were recalled. Their numbers are negative. */
  readonly recalled: RunRecord[] = [];
  /** What can be sampled at the moment, by name. */
  model: string | undefined;
  /** What is known of it, where it was opened from files. */
  info: ModelInfo | undefined;
  /** How often there was another model, or the same one has learnt: who looks inside looks again. */
  version = 0;

  #cloche: Promise<Cloche> | undefined;
  #opened: Cloche | undefined;
  #device: CreateOptions["device"];
  #run: Run | undefined;
  readonly #tokenizers = new Map<string, Promise<TokenizerHandle>>();
  #adapter = true;
  /** How often it was asked which runs are kept, and what came of it last. */
  #looks = 0;
  #saved: SavedRun[] = [];
  /** When each run that was recalled had been saved: another one may have its name by now. */
  readonly #savedAt = new Map<RunRecord, number | undefined>();
  #telling: ReturnType<typeof setTimeout> | undefined;

  /** Whether the adapter beside the model speaks too; all elements ask the model in the same way. */
  get adapter(): boolean {
    return this.#adapter;
  }

  set adapter(speaks: boolean) {
    this.#adapter = speaks;
    this.version += 1;
    this.changed();
  }

  /** The engine where it is awake already. */
  get cloche(): Cloche | undefined {
    return this.#opened;
  }

  /** Whether asking for a device would take another worker than the one that is awake. */
  isElsewhere(device: CreateOptions["device"]): boolean {
    return this.#opened !== undefined && device !== this.#device && device !== this.#opened.device.kind;
  }

  /** The engine, started when it is first asked for. Another device than the last one takes a new worker. */
  open(device: CreateOptions["device"] = this.#device ?? "auto"): Promise<Cloche> {
    if (this.#cloche && device === this.#device) return this.#cloche;
    this.forget();
    this.#device = device;
    const opening = Cloche.create({ ...this.files, device });
    this.#cloche = opening;
    const forget = () => this.#cloche === opening && this.forget();
    opening.then((cloche) => {
      // A worker that has crashed is replaced by whoever asks for the engine next.
      void cloche.closed.then(forget);
      if (this.#cloche === opening) this.#opened = cloche;
      this.changed();
    }, forget);
    return opening;
  }

  /** Grows a model; `onEvent` hears what happens. Ends with the run, or with its error. */
  async grow(options: GrowOptions, { device, owner, onEvent }: Lead): Promise<void> {
    if (this.state !== "idle") throw new ClocheError("BUSY", "another model is growing on this page: stop it first");
    const record = this.#record(options, owner);
    await this.#follow(record, device, (cloche) => cloche.grow(options), onEvent);
  }

  /** Goes on with a run of pre-training that the browser has kept, and shows what it was like before. */
  async goOn(name: string, { device, owner, onEvent }: Lead): Promise<void> {
    if (this.state !== "idle") throw new ClocheError("BUSY", "another model is growing on this page: stop it first");
    const record = this.#record({ data: "stories" }, owner);
    record.name = name;
    await this.#follow(record, device, (cloche) => cloche.runs.resume(name) as Run, onEvent);
  }

  /** Looks which runs are kept, where the engine is awake. */
  async lookForKept(): Promise<SavedRun[]> {
    const asked = ++this.#looks;
    const kept = (await this.#opened?.runs.list().catch(() => [])) ?? [];
    // Whoever asked later has seen more.
    if (asked < this.#looks) return kept;
    this.#saved = kept;
    const ofThisVisit = this.runs.flatMap(({ saved, name }) => [saved?.name, name]);
    this.kept = kept.flatMap(({ name, stage }) => (stage === "grow" && !ofThisVisit.includes(name) ? [name] : []));
    this.changed();
    return kept;
  }

  /** A run that was kept, as it was seen until it was saved last. */
  async recall(name: string): Promise<RunRecord> {
    const savedAt = this.#saved.find((run) => run.name === name)?.savedAt;
    const known = this.recalled.find((run) => run.name === name && this.#savedAt.get(run) === savedAt);
    if (known) return known;
    const past = await (await this.open()).runs.history(name);
    const number = -1 - this.recalled.length;
    const record: RunRecord = { number, name, options: { data: "stories" }, owner: undefined, rows: [], samples: [] };
    for (const event of past) note(record, event as unknown as GrowEvent);
    this.recalled.push(record);
    this.#savedAt.set(record, savedAt);
    return record;
  }

  async #follow(
    record: RunRecord,
    device: CreateOptions["device"],
    begin: (cloche: Cloche) => Run,
    onEvent?: (event: GrowEvent) => void,
  ): Promise<void> {
    this.#enter("waking");
    try {
      const cloche = await this.open(device);
      this.#run = begin(cloche);
      for await (const event of this.#run) {
        this.#take(record, event);
        onEvent?.(event);
      }
    } catch (error) {
      if (error instanceof ClocheError && FATAL.includes(error.code)) this.forget();
      if (!record.start) this.runs.splice(this.runs.indexOf(record), 1);
      throw error;
    } finally {
      this.#run = undefined;
      this.#enter("idle");
      void this.lookForKept();
    }
  }

  async pause(): Promise<void> {
    if (this.state !== "growing") return;
    this.#enter("paused");
    await this.#run?.pause();
  }

  async resume(): Promise<void> {
    if (this.state !== "paused") return;
    this.#enter("growing");
    await this.#run?.resume();
  }

  /** Has the next step timed: the run's record has a `profile` soon. */
  async profile(): Promise<void> {
    await this.#run?.profile();
  }

  async stop(): Promise<void> {
    await this.#run?.stop();
  }

  /** Opens a model from the files of a Hugging Face folder, from a zip of them, or from the address of either. */
  async load(from: ModelSource, name?: string, options: Omit<LoadOptions, "name"> = {}): Promise<void> {
    if (this.state !== "idle") throw new ClocheError("BUSY", "a model is growing on this page: stop it first");
    const info = await (await this.open()).load(from, { ...options, ...(name !== undefined && { name }) });
    this.#become(info.name, info);
  }

  /** A tokenizer that all elements share which ask for the same one, learnt when it is first asked for. */
  tokenizer(kind: string, data: string, onProgress: (progress: TokenizerProgress) => void): Promise<TokenizerHandle> {
    const key = `${kind} ${data}`;
    const known = this.#tokenizers.get(key);
    if (known) return known;
    const learning = this.open().then((cloche) => cloche.tokenizers.train({ kind, data, onProgress }));
    this.#tokenizers.set(key, learning);
    learning.catch(() => this.#tokenizers.delete(key));
    return learning;
  }

  /** Ends the worker; the next who asks for it starts a new one. The runs stay as they were seen. */
  forget(): void {
    void this.#cloche?.then(
      (cloche) => cloche.dispose(),
      () => {},
    );
    this.#cloche = undefined;
    this.#opened = undefined;
    this.#tokenizers.clear();
    this.model = undefined;
    this.changed();
  }

  /** Tells the elements soon, once for whatever else changes until then. */
  changed(): void {
    this.#telling ||= setTimeout(() => {
      this.#telling = undefined;
      this.dispatchEvent(new Event("change"));
    }, CHANGE_MS);
  }

  #record(options: GrowOptions, owner: Element | undefined): RunRecord {
    const number = (this.runs.at(-1)?.number ?? 0) + 1;
    const { preset = "tiny", tokenizer = "char", lr } = options;
    const parts = [`run ${number}`, preset, tokenizer, ...(lr ? [`lr ${lr}`] : [])];
    const record = { number, name: parts.join(" · "), options, owner, rows: [], samples: [] };
    this.runs.push(record);
    return record;
  }

  #take(record: RunRecord, event: GrowEvent): void {
    switch (event.event) {
      case "prepare":
        record.phase = event;
        if (this.state === "waking") this.#enter("preparing");
        break;
      case "start":
        record.start = event;
        this.#become(record.name);
        this.#enter("growing");
        void this.lookForKept();
        break;
      case "step":
        this.version += 1;
        break;
      case "profile":
        record.profile = event;
        break;
      case "nonfinite":
        record.skipped = event;
        break;
      case "history":
        for (const past of event.events) this.#take(record, past as unknown as GrowEvent);
        break;
      case "saved":
        record.saved = event;
        break;
      case "warning":
        record.warning = event.message;
        break;
      case "done":
        record.done = event;
    }
    note(record, event);
    this.changed();
  }

  #become(name: string, info?: ModelInfo): void {
    this.model = name;
    this.info = info;
    this.#adapter = true;
    this.version += 1;
    this.changed();
  }

  #enter(state: GrowState): void {
    this.state = state;
    this.changed();
  }
}

/** Adds what happened to the curves and the samples of a run. */
function note(record: RunRecord, event: GrowEvent): void {
  if (event.event === "eval") return add(record.rows, event.step, { val: event.val_loss });
  if (event.event === "sample") {
    record.samples.push({ step: event.step, text: event.text, loss: record.latest?.loss ?? null });
  }
  if (event.event !== "step") return;
  record.latest = event;
  add(record.rows, event.step, { train: event.loss });
}

/** Adds to the row of a step. */
function add(rows: LossRow[], step: number, losses: { train?: number; val?: number }): void {
  let row = rows.at(-1);
  if (row?.step !== step) rows.push((row = { step, train: null, val: null }));
  Object.assign(row, losses);
}

/** The one of this page. */
export const greenhouse = new Greenhouse();
