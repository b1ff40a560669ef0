/**
 * The worker: it alone owns the wasm modules, the device and the model. It is started by `Cloche.create` and answers
 * the calls listed in `protocol.ts`.
 */
import { kept, planFile, type Kept } from "./checkpoint.js";
import { compiling } from "./compiling.js";
import { learnTokenizer, prepare, storySource, textSource, type Corpus, type Source } from "./corpus.js";
import type { DownloadProgress } from "./downloads.js";
import { enduring, persistently, Refuge } from "./enduring.js";
import { ClocheError, toWire } from "./errors.js";
import { textOf, tokenizerFiles, tokenizerOf, type NamedBytes } from "./folder.js";
import { tune, type KernelsEvent } from "./kernels.js";
import { expectSave, historyIn, saving, type SaveEvent, type SaveOptions } from "./keeping.js";
import { Forecast, vocabularyOf } from "./forecast.js";
import { completed, DEFAULT_PRESET, DEFAULT_SEED, DEFAULT_TOKENIZER, expectSeed, fixed, settingsOf } from "./growing.js";
import type { CopyOptions, ModelInfo, Whom } from "./models.js";
import { Modules } from "./modules.js";
import { breathe, Gate, paced, Turns } from "./pace.js";
import { Place } from "./place.js";
import type { Probe, ProbeOptions } from "./probes.js";
import { promptOf, promptsOf, type Asked, type Prompt } from "./prompts.js";
import type {
  Api,
  DeviceInfo,
  Estimate,
  EstimateOptions,
  GrowEvent,
  GrowOptions,
  Guessing,
  MemoryInUse,
  NewModel,
  Opened,
  OpenOptions,
  SamplingOptions,
  Several,
  Slots,
  Steer,
  TokenPiece,
} from "./protocol.js";
import { serve, type Port } from "./remote.js";
import type { ResumeOptions } from "./runs.js";
import { DEFAULT_SLOTS, MAX_TOKENS, speak, type Speaker } from "./speech.js";
import { begun, copyOf, infoOf, opened, Shelf, type Grown } from "./shelf.js";
import { RunStore, type SavedRun } from "./storage.js";
import type { School, StageName, StageOptions } from "./teaching.js";
import type { DistillOptions, DpoOptions, Files, GrpoOptions, PpoOptions, RewardOptions, SftOptions, TuneEvent } from "./tuning.js";
import type { Engine as PlainEngine, Pretrain } from "./wasm/engine.js";
import type { Engine, Model, Tune } from "./wasm/teach.js";
import { help } from "./wasm/threads.js";
import type { Named, TokenizerEvent, TokenizerOptions } from "./tokenizers.js";
import { Viewer } from "./viewer.js";
import { Vocabularies } from "./vocabularies.js";
import { unzip, zip } from "./zip.js";

/** The module with the stages, and its engine. */
interface Teach {
  engine: Engine;
  Material: typeof import("./wasm/teach.js").Material;
}

class Session implements Api {
  readonly #turns = new Turns();
  readonly #gate = new Gate();
  /** The tokenizers that the page holds, apart from any model. */
  readonly #vocabularies = new Vocabularies(() => this.#modules.text());
  readonly #store = new RunStore();
  readonly #viewer = new Viewer(async () => this.#modules.device(await this.#modules.teach(), "cpu"));
  readonly #modules = new Modules();
  #kind: OpenOptions["device"] = "auto";
  /** The engine in use: the smaller one until a stage is asked for, then that of `#teach`. */
  #engine: PlainEngine | Engine | undefined;
  #teach: Teach | undefined;
  readonly #shelf = new Shelf(this.#turns);
  readonly #forecast = new Forecast(this.#turns);
  /** The run under way, or the last one until another begins: what a checkpoint is made of. */
  #run: { run: Pretrain | Tune; beside: NamedBytes[] } | undefined;
  readonly #place = new Place();
  /** Set by `stop`, which may come before there is a run to stop. */
  #stopping = false;

  async open(options: OpenOptions): Promise<DeviceInfo> {
    this.#kind = options.device;
    this.#modules.places = options;
    return this.#use(await this.#plainEngine()).describe();
  }

  async estimate(options: EstimateOptions): Promise<Estimate> {
    return this.#forecast.of(() => this.#awake(), options, await this.#vocabSize(options), this.#place.isTaken);
  }

  async *tuneKernels(options: EstimateOptions, signal: AbortSignal, report: (event: KernelsEvent) => void) {
    const vocabSize = await this.#vocabSize(options);
    yield await this.#exclusively(({ engine }) => tune(engine, this.#turns, options, vocabSize, signal, report), signal);
  }

  #vocabSize(options: EstimateOptions): Promise<number> {
    const { data = "stories", seed = DEFAULT_SEED } = options;
    return vocabularyOf(options, () => this.#source(data, seed), () => this.#modules.text());
  }

  async *estimateStage({ stage, ...options }: StageOptions & { stage: StageName }, signal: AbortSignal) {
    yield await this.#exclusively(async () => {
      const { rehearse } = await import("./rehearsal.js");
      return rehearse(stage, options, await this.#school(), signal);
    }, signal);
  }

  async memory(): Promise<MemoryInUse> {
    const copies = await this.#viewer.memory();
    const [buffers, bytes] = this.#awake().memory();
    return { buffers: buffers + copies[0], bytes: bytes + copies[1], wasmBytes: this.#modules.bytes };
  }

  /** The smaller module's engine, on a device that is opened for it. */
  async #plainEngine(): Promise<PlainEngine> {
    return this.#modules.device(await this.#modules.engine(), this.#kind);
  }

  /** Takes an engine into use, and tells the page which device it has. */
  #use<Kind extends PlainEngine | Engine>(engine: Kind): Kind {
    this.#engine = engine;
    scope.postMessage({ news: engine.describe() });
    return engine;
  }

  /** The engine, where it has a device. */
  #awake(): PlainEngine | Engine {
    if (this.#engine) return this.#engine;
    throw new ClocheError("DEVICE_LOST", "the graphics device was lost: the next run, or a model that is loaded, opens another");
  }

  async *load(asked: Opened, signal: AbortSignal): AsyncGenerator<DownloadProgress | ModelInfo> {
    yield* this.#opening(asked, signal, async (grown) => {
      await this.#shelf.become(grown);
      return infoOf(grown);
    });
  }

  async *loadModel(asked: Opened, signal: AbortSignal) {
    yield* this.#opening(asked, signal, async (grown) => this.#shelf.keep(grown));
  }

  /** Opens a model that may have to be fetched first, which a run may go on beside. */
  async *#opening<Info>(
    { from, name }: Opened,
    signal: AbortSignal,
    place: (grown: Grown) => Promise<Info>,
  ): AsyncGenerator<DownloadProgress | Info> {
    let here = { files: from as Files | Blob, forget: async () => {} };
    if ("href" in from) {
      const { downloaded, titleOf } = await import("./downloads.js");
      name ??= titleOf(from.href);
      here = yield* downloaded(from, signal);
    }
    const info = await this.#exclusively(async ({ engine }) => {
      const grown = await opened(here.files, name, engine, await this.#modules.text(), this.#turns);
      if (signal.aborted) {
        await this.#turns.take(() => grown.run.free());
        throw new ClocheError("ABORTED", "stopped by the caller");
      }
      return place(grown);
    }, signal);
    await here.forget();
    yield info;
  }

  async createModel({ tokenizer, ...asked }: NewModel) {
    return this.#exclusively(async ({ engine }) => {
      const given = tokenizer === undefined ? undefined : this.#vocabularies.get(tokenizer);
      return this.#shelf.keep(await begun(asked, given, engine, await this.#modules.text(), this.#turns));
    });
  }

  async copyModel({ model, quantize }: Whom & CopyOptions) {
    return this.#exclusively(async ({ engine }) => {
      const grown = this.#shelf.get(model);
      await this.#taught(grown, engine);
      return this.#shelf.keep({ ...grown, run: await this.#turns.take(() => copyOf(this.#shelf.get(model).run as Model, quantize)) });
    });
  }

  async useModel({ model }: { model: number }): Promise<void> {
    await this.#exclusively(() => this.#shelf.become(this.#shelf.get(model)));
  }

  freeModel({ model }: { model: number }): Promise<void> {
    return this.#shelf.free(model);
  }

  grow(options: GrowOptions, signal: AbortSignal): AsyncIterable<GrowEvent> {
    return this.#alone(() => this.#kept("grow", options, (asked: GrowOptions) => this.#grow(asked, signal)), signal);
  }

  async *#grow(asked: GrowOptions, signal: AbortSignal): AsyncGenerator<GrowEvent> {
    const resume = asked.resume && kept("grow", asked, asked.resume);
    const wanted = resume?.options ?? asked;
    const { preset = DEFAULT_PRESET, tokenizer: kind = DEFAULT_TOKENIZER } = wanted;
    const options = { ...wanted, preset, tokenizer: kind };
    const corpus = yield* this.#prepare(options, signal, resume);
    const settings = { ...settingsOf(options, corpus), ...(resume && fixed(resume.settings)) };
    const run = yield* compiling(this.#turns, await this.#beginning(settings, corpus, resume), signal);
    const { tokenizer } = corpus;
    const name = `cloche-${options.preset}`;
    const plan = planFile({ stage: "grow", name, isNew: true, options: { ...options } });
    this.#run = { run, beside: [plan, ...tokenizerFiles(tokenizer, undefined, run.contextLen)] };
    await this.#shelf.become({ run, tokenizer, chat: undefined, name });
    for await (const event of this.#events(run, signal)) {
      // The engine keeps its own checkpoints for a command line; a page asks for the files when it wants them.
      if (event.event !== "checkpoint") yield completed(event, corpus);
    }
  }

  sft(options: SftOptions, signal: AbortSignal) {
    return this.#tune("sft", options, signal);
  }

  reward(options: RewardOptions, signal: AbortSignal) {
    return this.#tune("reward", options, signal);
  }

  dpo(options: DpoOptions, signal: AbortSignal) {
    return this.#tune("dpo", options, signal);
  }

  ppo(options: PpoOptions, signal: AbortSignal) {
    return this.#tune("ppo", options, signal);
  }

  grpo(options: GrpoOptions, signal: AbortSignal) {
    return this.#tune("grpo", options, signal);
  }

  distill(options: DistillOptions, signal: AbortSignal) {
    return this.#tune("distill", options, signal);
  }

  #tune(stage: StageName, options: StageOptions, signal: AbortSignal): AsyncIterable<TuneEvent> {
    return this.#alone(() => this.#kept(stage, options, (asked: StageOptions) => this.#teaching(stage, asked, signal)), signal);
  }

  async *#teaching(stage: StageName, options: StageOptions, signal: AbortSignal): AsyncGenerator<TuneEvent> {
    yield { event: "prepare", phase: "loading", done: 0 };
    const { begin, told } = await import("./teaching.js");
    const lesson = yield* paced(begin(stage, options, await this.#school(), signal));
    const { tune, pupil, plan } = lesson;
    const { tokenizer, chat, name } = pupil;
    const learnt = { run: tune.model(), tokenizer, chat, name };
    this.#run = { run: tune, beside: [planFile(plan), ...tokenizerFiles(tokenizer, chat, learnt.run.contextLen)] };
    // A reward model cannot speak: the model that does stays, and the other one stands beside it.
    await this.#shelf.become(learnt, stage === "reward");
    for await (const event of this.#events(tune, signal)) yield told(event, lesson);
  }

  /** The events of a run that has the engine to itself, from before its first one to the end. */
  async *#alone<Event>(run: () => AsyncIterable<Event>, signal: AbortSignal): AsyncGenerator<Event> {
    const leave = await this.#claim(signal);
    try {
      yield* run();
    } finally {
      leave();
    }
  }

  /** Does something that no run may go on beside, with the larger module. */
  async #exclusively<T>(work: (teach: Teach) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const leave = await this.#claim(signal);
    try {
      return await work(await this.#stages());
    } catch (error) {
      // The engine's own word for it; the shelf's means a model that was lost before.
      if (error instanceof ClocheError || (error as { code?: unknown }).code !== "DEVICE_LOST") throw error;
      await this.#reopen();
      return await work(await this.#stages());
    } finally {
      leave();
    }
  }

  /** The events of a run, which is saved on the way where that is asked for, and where the browser has a place. */
  async *#kept<Options extends { save?: SaveOptions; resume?: Files }, Event extends { event: string; step?: number }>(
    stage: string,
    { save, ...asked }: Options,
    begin: (options: Options) => AsyncIterable<Event>,
  ): AsyncGenerator<Event | SaveEvent> {
    const options = asked as Options;
    const { events, checkpoint } = this.#lasting(stage, options, begin);
    if (!save) return yield* events;
    expectSave(save);
    const store = this.#store;
    const release = await store.holdNew(save.name).catch((error: ClocheError) => error);
    if (typeof release !== "function") {
      if (release.code !== "NO_STORAGE") throw release;
      yield { event: "warning", message: `the run is not kept: ${release.message}` };
      return yield* events;
    }
    try {
      yield* saving(events, { store, stage, save, options, checkpoint });
    } finally {
      release();
    }
  }

  /** The events of a run that goes on where its device is lost, and whoever makes checkpoints of it. */
  #lasting<Options extends { resume?: Files }, Event extends { event: string; step?: number }>(
    stage: string,
    options: Options,
    begin: (options: Options) => AsyncIterable<Event>,
  ) {
    const refuge = new Refuge(() => this.#checkpoint(), () => this.#engine?.describe().kind === "webgpu");
    const reopen = () => this.#reopen();
    const events = enduring({ options, begin, startsFromNothing: stage === "grow", refuge, reopen });
    return { events, checkpoint: () => refuge.renew() };
  }

  /** Opens another device in the place of one that was lost, with everything that lay on it. */
  async #reopen(): Promise<string> {
    const withStages = this.#teach !== undefined;
    const gone = [this.#run?.run !== this.#shelf.current?.run ? this.#run?.run : undefined, this.#engine];
    this.#run = this.#engine = this.#teach = undefined;
    this.#forecast.forget();
    await this.#shelf.lose();
    await this.#turns.take(() => gone.forEach((object) => object?.free()));
    return persistently(async () => {
      if (withStages) await this.#stages();
      else this.#use(await this.#plainEngine());
      return this.#engine!.describe().why;
    });
  }

  resumeRun(asked: ResumeOptions & { name: string }, signal: AbortSignal): AsyncIterable<GrowEvent | TuneEvent> {
    return this.#alone(() => this.#goingOn(asked, signal), signal);
  }

  async *#goingOn({ name, ...changes }: ResumeOptions & { name: string }, signal: AbortSignal): AsyncGenerator<GrowEvent | TuneEvent> {
    const store = this.#store;
    const release = await store.hold(name);
    try {
      const { run, every, files, damage } = await store.read(name, true);
      if (damage) yield { event: "warning", message: `${damage}; going on from the save before, of step ${run.step}` };
      const inputs = (await store.inputs(name)) as { data: string } | undefined;
      if (!inputs) throw new ClocheError("RUN_DAMAGED", `run "${name}": what it reads was not kept: give it again, with the files as \`resume\``);
      const { stage } = run;
      const history = historyIn(files);
      type Asked = GrowOptions & StageOptions;
      const begin = (asked: Asked): AsyncIterable<GrowEvent | TuneEvent> =>
        stage === "grow" ? this.#grow(asked, signal) : this.#teaching(stage as StageName, asked, signal);
      const { events, checkpoint } = this.#lasting(stage, { ...inputs, ...changes, resume: files } as Asked, begin);
      yield* saving(events, { store, stage, save: { name, every }, history, checkpoint });
    } finally {
      release();
    }
  }

  listRuns() {
    return this.#store.list();
  }

  async readRun({ name }: { name: string }) {
    const { files } = await this.#store.read(name);
    historyIn(files);
    return Object.fromEntries(files);
  }

  async runHistory({ name }: { name: string }) {
    return historyIn((await this.#store.read(name)).files);
  }

  async exportRun({ name }: { name: string }): Promise<Blob> {
    return zip(await this.#store.pack(name));
  }

  async importRun({ name, archive }: { name: string; archive: Blob }): Promise<SavedRun> {
    return this.#store.unpack(name, await unzip(archive));
  }

  renameRun({ name, to }: { name: string; to: string }) {
    return this.#store.rename(name, to);
  }

  removeRun({ name }: { name: string }) {
    return this.#store.remove(name);
  }

  async checkpoint(): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
    return Object.fromEntries(await this.#checkpoint());
  }

  async #checkpoint(): Promise<Files> {
    if (!this.#run) throw new ClocheError("NO_MODEL", "there is no run to make a checkpoint of");
    const { run, beside } = this.#run;
    return new Map(await this.#turns.take(() => run.files(beside)));
  }

  async steer(action: Steer): Promise<void> {
    if (action === "profile") {
      const run = this.#run?.run;
      return run && "profile" in run ? run.profile() : undefined;
    }
    if (action === "pause") return this.#gate.close();
    this.#stopping ||= action === "stop";
    this.#gate.open();
  }

  async *speak({ asked, model, ...options }: SamplingOptions & Several & Guessing & Whom & { asked: Asked }, signal: AbortSignal): AsyncGenerator<TokenPiece> {
    const grown = this.#shelf.get(model);
    const prompt = await promptOf(grown, asked, () => this.#modules.text());
    // An answer ends where the context does; a text goes on.
    const room = typeof asked === "string" ? Infinity : grown.run.contextLen - prompt.ids.length;
    const maxTokens = Math.min(options.maxTokens ?? MAX_TOKENS, room);
    yield* speak(this.#speaker(model, grown, [prompt]), { ...options, maxTokens }, signal);
  }

  async *speakMany({ asked, model, ...options }: SamplingOptions & Slots & Whom & { asked: Asked[] }, signal: AbortSignal): AsyncGenerator<TokenPiece> {
    const grown = this.#shelf.get(model);
    // The smaller module has no room to read prompts beside texts that go on.
    if (!("generateMany" in grown.run)) await this.#exclusively(({ engine }) => this.#taught(grown, engine));
    const prompts = await promptsOf(grown, asked, () => this.#modules.text());
    if (prompts.length > 0) yield* speak(this.#speaker(model, grown, prompts), { ...options, slots: options.slots ?? DEFAULT_SLOTS }, signal);
  }

  #speaker(model: number | undefined, { tokenizer }: Grown, prompts: Prompt[]): Speaker {
    const draft = (number: number) => this.#shelf.draft(number, tokenizer);
    return { run: () => this.#shelf.get(model).run, tokenizer, prompts, turns: this.#turns, draft };
  }

  probe({ text, model, ...options }: ProbeOptions & Whom & { text: string }): Promise<Probe> {
    return this.#viewer.look(() => this.#shelf.get(model), this.#turns, text, options);
  }

  async files(asked: Whom & { judge?: boolean }): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
    return Object.fromEntries(await this.#folder(asked));
  }

  async archive(asked: Whom & { judge?: boolean }): Promise<Blob> {
    return zip(await this.#folder(asked));
  }

  async #folder({ model, judge = false }: Whom & { judge?: boolean }): Promise<Files> {
    const asked = () => (judge ? this.#shelf.rewardModel() : this.#shelf.get(model));
    const { run, tokenizer, chat } = asked();
    const texts = tokenizerFiles(tokenizer, chat, run.contextLen);
    return new Map([...(await this.#turns.take(() => asked().run.files())), ...texts]);
  }

  async *trainTokenizer(
    { data, seed = DEFAULT_SEED, kind = DEFAULT_TOKENIZER }: TokenizerOptions,
    signal: AbortSignal,
    report: (event: TokenizerEvent) => void,
  ): AsyncGenerator<TokenizerEvent> {
    yield* this.#vocabularies.train(await this.#source(data, seed), kind, signal, report);
  }

  loadTokenizer({ json, config }: { json: string; config?: string | undefined }) {
    return this.#vocabularies.load(json, config);
  }

  async encode({ handle, text }: Named & { text: string }) {
    return this.#vocabularies.get(handle).encode(text) as Uint32Array<ArrayBuffer>;
  }

  async decode({ handle, ids }: Named & { ids: Uint32Array }) {
    return this.#vocabularies.get(handle).decode(ids);
  }

  async trace({ handle, text }: Named & { text: string }) {
    return this.#vocabularies.get(handle).trace(text);
  }

  async tokenizerFiles({ handle }: Named) {
    return this.#vocabularies.get(handle).files(0);
  }

  async freeTokenizer({ handle }: Named) {
    this.#vocabularies.free(handle);
  }

  async trainTrace({ text, merges }: { text: string; merges: number }) {
    return (await this.#modules.text()).trainTrace(text, merges);
  }

  /** One run at a time, until the answer is called. */
  async #claim(signal: AbortSignal | undefined): Promise<() => void> {
    this.#place.expectFree();
    // From here on `stop` is for this one, also while one that was given up is still at its step.
    this.#stopping = false;
    this.#gate.open();
    const leave = await this.#place.take(signal);
    // The last run ends here for good. A model that grew in it stays, and is freed when another one takes its place.
    const last = this.#run?.run;
    this.#run = undefined;
    if (last && last !== this.#shelf.current?.run) void this.#turns.take(() => last.free());
    return leave;
  }

  /** What begins a run of pre-training. To go on with one takes the larger module. */
  async #beginning(settings: object, { train, val, floor }: Corpus, resume?: Kept<GrowOptions>): Promise<() => Pretrain> {
    if (!resume) {
      const engine = this.#engine ?? this.#use(await this.#plainEngine());
      return () => engine.startPretrain(settings, train, val, floor);
    }
    const { engine } = await this.#stages();
    return () => engine.resumePretrain([...resume.files], settings, train, val, floor);
  }

  /** What stages have at their disposal. */
  async #school(): Promise<School> {
    const { engine, Material } = await this.#stages();
    const grown = this.#shelf.current;
    return {
      engine,
      Material,
      text: await this.#modules.text(),
      stories: () => this.#modules.stories(),
      model: grown && { model: await this.#taught(grown, engine), tokenizer: grown.tokenizer, name: grown.name },
      judge: this.#shelf.judge?.run as Model | undefined,
      turns: this.#turns,
      open: async (files, tokenizer) => {
        const json = textOf(files, "tokenizer.json");
        const own = tokenizer.files(0).find(([name]) => name === "tokenizer.json");
        if (json !== undefined && json !== own?.[1]) {
          throw new ClocheError("SETTINGS", "teacher: found another tokenizer.json, expected that of the model");
        }
        return this.#turns.take(() => engine.openModel([...files]));
      },
    };
  }

  /** A model as the engine with the stages has it: whatever grew in pre-training moves over as its files. */
  async #taught(grown: Grown, engine: Engine): Promise<Model> {
    if (!("scores" in grown.run)) {
      const run = grown.run;
      grown.run = await this.#turns.take(async () => engine.openModel(await run.files()));
      run.free();
    }
    return grown.run as Model;
  }

  /** The module with the stages, loaded when one is first asked for: from then on it does the work of the smaller one. */
  async #stages(): Promise<Teach> {
    if (this.#teach) return this.#teach;
    const teach = await this.#modules.teach();
    const engine = await this.#modules.device(teach, this.#kind);
    if (this.#shelf.current) await this.#taught(this.#shelf.current, engine);
    await this.#turns.take(() => {
      this.#engine?.free();
      this.#use(engine);
    });
    return (this.#teach = { engine, Material: teach.Material });
  }

  async *#prepare(
    options: GrowOptions & { tokenizer: string },
    signal: AbortSignal,
    resume?: Kept<GrowOptions>,
  ): AsyncGenerator<GrowEvent, Corpus> {
    const { data, tokenizer: kind, seed = DEFAULT_SEED, chatTokens = false } = options;
    const [source, text] = [await this.#source(data, seed), await this.#modules.text()];
    const tokenizer = resume
      ? tokenizerOf(resume.files, text.Tokenizer)
      : yield* paced(learnTokenizer(source, text, { kind, chatTokens }, signal));
    return yield* paced(prepare(source, tokenizer, signal));
  }

  async #source(data: string | Blob, seed: number): Promise<Source> {
    if (data === "stories") return storySource((await this.#modules.stories()).stories, seed);
    const blob = typeof data === "string" ? new Blob([data]) : data;
    if (!(blob instanceof Blob)) throw new ClocheError("SETTINGS", `data: found ${data ?? "nothing"}, expected "stories", a text or a file`);
    return textSource(await this.#modules.text(), blob, blob instanceof File ? blob.name : "the text");
  }

  /** The events of a run, as they are pulled; between two of them others have their turn. */
  async *#events<Event>(
    run: { next(): Promise<Event | undefined>; stop(): void },
    signal: AbortSignal,
  ): AsyncGenerator<Event> {
    for (;;) {
      await this.#gate.pass(signal);
      if (this.#stopping) run.stop();
      const event = await this.#turns.take(() => run.next());
      if (!event) return;
      yield event;
      await breathe();
    }
  }
}

// A fault inside an asynchronous call of the engine reaches nobody by itself: tell the page, which ends this worker.
const scope = self as unknown as Port;
const crash = (reason: unknown) => scope.postMessage({ crash: { ...toWire(reason), code: "ENGINE_CRASHED" } });
self.addEventListener("unhandledrejection", (event) => crash(event.reason));
self.addEventListener("error", (event) => crash(event.error ?? event.message));

// The same script is what a thread of the engine runs: it is told what to do once, and hears nothing any more.
scope.addEventListener("message", ({ data }) => {
  if ("task" in data) help(data.task, () => scope.postMessage("begun"));
});

serve<Api>(scope, new Session(), expectSeed);
