/** `<cloche-trainer>`: what to read, what to grow, for how long; and the reins of the run. */
import { css, html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { ClocheError, type CreateOptions, type GrowEvent, type GrowOptions, type Preset } from "cloche";
import { download } from "./download.js";
import { ClocheElement } from "./element.js";
import { bytes } from "./format.js";
import { greenhouse, type RunRecord } from "./greenhouse.js";
import { factsOf, outcomeOf, PAUSED, prospectOf, statusOf } from "./progress.js";
import { anyOf, anyText, flag, integer, number, oneOf, property, setting, tokenizerKind } from "./settings.js";
import type { TrainerElement } from "./types.js";

const SIZES: [Preset, string][] = [
  ["tiny", "tiny: seconds"],
  ["nano", "nano: minutes"],
  ["mini", "mini: for a graphics card"],
  ["llama-tiny", "llama-tiny"],
  ["llama-nano", "llama-nano"],
  ["llama-mini", "llama-mini"],
];
const TOKENIZERS = [
  ["char", "characters"],
  ["byte", "bytes"],
  ["bpe:512", "512 pieces of words"],
  ["bpe:2048", "2048 pieces of words"],
];
const DEVICES = [
  ["auto", "the faster one"],
  ["webgpu", "WebGPU"],
  ["cpu", "CPU"],
];
/** How often a run evaluates and how often it speaks. */
const EVALUATIONS = 10;
const SAMPLES = 8;
/** Screen readers hear of the progress this often. */
const ANNOUNCE_MS = 5000;

export class ClocheTrainer extends ClocheElement implements TrainerElement {
  static override styles = [
    ClocheElement.styles,
    css`
    .choice { display: flex; flex-wrap: wrap; gap: 0.3em 1.4em; margin: 0.3em 0 0.8em; }
    .choice label { color: var(--ink); }
    .drop { border: 2px dashed var(--line); border-radius: var(--radius); padding: 0.8em; margin-bottom: 1em; }
    .drop.over { border-color: var(--accent); }
    input[type="file"] { display: block; max-width: 100%; margin: 0.3em 0 0.6em; }
    .status { font-variant-numeric: tabular-nums; min-height: 1.5em; margin: 0.9em 0 0.3em; }
    progress { appearance: none; display: block; width: 100%; height: 0.5em; border: 0; border-radius: 1em; 
      overflow: hidden;
      background: var(--line); }
    progress::-webkit-progress-bar { background: var(--line); }
    progress::-webkit-progress-value { background: var(--accent); }
    progress::-moz-progress-bar { background: var(--accent); }
    .facts { margin: 0.6em 0 0; }
  `,
  ];
  static override properties = {
    preset: setting(oneOf<Preset>("tiny", "nano", "mini", "gpt2", "llama-tiny", "llama-nano", "llama-mini"), "tiny"),
    tokenizer: setting(tokenizerKind, "char"),
    steps: setting(integer(1, 1_000_000), 500),
    device: setting(oneOf("auto", "webgpu", "cpu"), "auto"),
    seed: setting(integer(0, Number.MAX_SAFE_INTEGER), 1337),
    lr: setting<number | undefined>(number(0, 1), undefined),
    batchSize: setting<number | undefined>(integer(1, 4096), undefined, "batch-size"),
    contextLen: setting<number | undefined>(integer(8, 4096), undefined, "context-len"),
    src: setting(anyText, ""),
    autostart: flag(),
    pauseHidden: flag("pause-hidden"),
    keep: flag(),
    hide: setting(
      anyOf("source", "preset", "tokenizer", "steps", "device", "estimate", "status", "pause", "stop", "save"),
      [],
    ),
    data: property<"stories" | Blob | string>("stories"),
    over: property(false),
  };
  declare preset: Preset;
  declare tokenizer: string;
  declare steps: number;
  declare device: NonNullable<CreateOptions["device"]>;
  declare seed: number;
  declare lr: number | undefined;
  declare batchSize: number | undefined;
  declare contextLen: number | undefined;
  declare src: string;
  declare autostart: boolean;
  declare pauseHidden: boolean;
  /** Whether runs are kept in the browser's own file system, so that they outlive the tab. */
  declare keep: boolean;
  /** What is read: `"stories"`, a text, or a file. */
  declare data: "stories" | Blob | string;
  declare protected over: boolean;

  #own = false;
  #outcome = "";
  #announced = -Infinity;
  #announcement = "";
  #saved = "";
  /** Whether somebody wants to know what a run takes, about which settings that was asked last, and the answer. */
  #curious = false;
  #asked: unknown[] = [];
  #prospect = "";
  /** Whether it was this element that paused, because nobody was looking. */
  #dozing = false;
  #visible = true;
  readonly #watcher = new IntersectionObserver(([entry]) => {
    this.#visible = entry!.isIntersecting;
    this.#doze();
  });
  readonly #doze = () => void this.#heedVisibility();

  override connectedCallback(): void {
    super.connectedCallback();
    this.#watcher.observe(this);
    document.addEventListener("visibilitychange", this.#doze);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#watcher.disconnect();
    document.removeEventListener("visibilitychange", this.#doze);
  }

  protected override firstUpdated(_changed: PropertyValues): void {
    if (this.autostart) void this.grow();
  }

  /** The run that this element started last. */
  get run(): RunRecord | undefined {
    return greenhouse.runs.findLast((run) => run.owner === this);
  }

  /** Begins, as the button does. */
  async grow(): Promise<void> {
    await this.#lead(async (onEvent) => {
      await greenhouse.grow(await this.#options(), { device: this.device, owner: this, onEvent });
    });
  }

  /** Goes on with a run that was kept. */
  async goOn(name: string): Promise<void> {
    await this.#lead((onEvent) => greenhouse.goOn(name, { device: this.device, owner: this, onEvent }));
  }

  /** Has the reins of a run from its beginning to its end. */
  async #lead(run: (onEvent: (event: GrowEvent) => void) => Promise<void>): Promise<void> {
    if (this.#own) return this.complain(new ClocheError("BUSY", "a model is growing here already: stop it first"));
    this.trouble = this.#outcome = this.#saved = "";
    this.#announced = -Infinity;
    this.#own = true;
    try {
      await run((event) => this.#hear(event));
    } catch (error) {
      this.#outcome = this.run?.start && !this.run.done ? "It stopped growing." : "It did not begin to grow.";
      this.complain(error);
    } finally {
      this.#own = this.#dozing = false;
      this.requestUpdate();
    }
  }

  async #options(): Promise<GrowOptions> {
    const { preset, tokenizer, steps, seed, lr, batchSize, contextLen } = this;
    if (this.data === "") throw new ClocheError("TEXT_EMPTY", "Choose a text first, or let it read the stories.");
    if (this.src && this.data === "stories") this.data = await fetched(this.src);
    return {
      data: this.data,
      preset,
      tokenizer,
      steps,
      seed,
      ...(lr !== undefined && { lr }),
      ...(batchSize !== undefined && { batchSize }),
      ...(contextLen !== undefined && { contextLen }),
      ...(this.keep && { save: { name: `${preset} · ${tokenizer} · ${new Date().toLocaleString("sv")}` } }),
      evalEvery: Math.max(1, Math.round(steps / EVALUATIONS)),
      sampleAt: Array.from({ length: SAMPLES + 1 }, (_, i) => Math.round((i / SAMPLES) ** 2 * steps)),
    };
  }

  #hear(event: GrowEvent): void {
    this.send("cloche-event", event);
    if (event.event === "warning") this.complain(new ClocheError("WARNING", event.message));
    if (event.event === "done") this.#outcome = outcomeOf(event);
  }

  /** Asks what the run would take, as the button does, and again whenever the settings change. */
  async estimate(): Promise<void> {
    this.#curious = true;
    const { preset, tokenizer, steps, batchSize, contextLen, data, device } = this;
    const size = { preset, tokenizer, steps, ...(batchSize !== undefined && { batchSize }), ...(contextLen !== undefined && { contextLen }) };
    const asked = [preset, tokenizer, steps, batchSize, contextLen, data, device];
    if (greenhouse.state !== "idle" || asked.every((value, at) => value === this.#asked[at])) return;
    this.#asked = asked;
    this.#prospect = "One moment …";
    this.requestUpdate();
    const told = await greenhouse
      .open(greenhouse.cloche ? undefined : device)
      .then((cloche) => cloche.estimate({ ...size, data: data || "stories" }))
      .then((estimate) => prospectOf(estimate, steps), (error: Error) => error.message);
    // Another answer may be under way.
    if (asked === this.#asked) this.#prospect = told;
    this.requestUpdate();
  }

  protected override greenhouseChanged(): void {
    super.greenhouseChanged();
    // A run may have begun while nobody was looking.
    this.#doze();
  }

  protected override updated(): void {
    if (this.#curious && !greenhouse.isElsewhere(this.device)) void this.estimate();
  }

  /** Pauses while nobody sees the element, where the page asks for that. */
  async #heedVisibility(): Promise<void> {
    if (!this.pauseHidden || !this.#own) return;
    const seen = this.#visible && document.visibilityState === "visible";
    if (!seen && greenhouse.state === "growing") {
      this.#dozing = true;
      await greenhouse.pause();
    } else if (seen && this.#dozing) {
      this.#dozing = false;
      await greenhouse.resume();
    }
  }

  protected override render(): TemplateResult {
    const busy = greenhouse.state !== "idle";
    return html`<form part="form" @submit=${this.#onSubmit} @input=${this.#onInput}>
        <fieldset ?disabled=${busy} part="settings">
          ${this.shows("source") ? this.#source() : nothing}
          <div class="grid">
            ${this.shows("preset") ? this.#menu("preset", "Size", SIZES) : nothing}
            ${this.shows("tokenizer") ? this.#menu("tokenizer", "Units of text", TOKENIZERS) : nothing}
            ${
              this.shows("steps")
                ? html`<label class="field">Steps <input name="steps" type="number" min="1" max="1000000" required
                  .value=${String(this.steps)} /></label>`
                : nothing
            }
            ${this.shows("device") ? this.#menu("device", "Device", DEVICES) : nothing}
          </div>
          ${this.shows("estimate") ? this.#forecast() : nothing}
        </fieldset>
        ${this.#actions(busy)}
      </form>
      ${this.complaints()} ${this.shows("status") ? this.#progress() : nothing}`;
  }

  #source(): TemplateResult {
    const mine = this.data !== "stories";
    const drag = (event: DragEvent) => this.#onDrag(event);
    return html`<div class="choice" role="radiogroup" aria-label="What it reads">
        <label><input type="radio" name="source" value="stories" .checked=${!mine} /> Small stories, made up here</label>
        <label><input type="radio" name="source" value="mine" .checked=${mine} /> A text of mine</label>
      </div>
      ${
        mine
          ? html`<div class="drop ${this.over ? "over" : ""}" part="drop" @dragover=${drag} @dragleave=${drag}
            @drop=${drag}>
            <label>Drop a text file here, or choose one <input name="file" type="file"
              accept=".txt,.md,.csv,.html,.tex,text/*" /></label>
            ${
              this.data instanceof File
                ? html`<p class="note">${this.data.name}, ${bytes(this.data.size)}</p>`
                : nothing
            }
            <label>or paste a text <textarea name="text" rows="3"
              .value=${typeof this.data === "string" ? this.data : ""}></textarea></label>
          </div>`
          : nothing
      }`;
  }

  #forecast(): TemplateResult {
    const elsewhere = "What it takes on another device shows when it grows there.";
    return html`<p class="note" part="estimate" role="status">${greenhouse.isElsewhere(this.device) ? elsewhere : this.#prospect}</p>
      ${this.#curious || greenhouse.isElsewhere(this.device)
        ? nothing
        : html`<p><button type="button" class="quiet" part="ask" @click=${this.estimate}>What will it take?</button></p>`}`;
  }

  #menu(name: "preset" | "tokenizer" | "device", title: string, choices: string[][]): TemplateResult {
    const known = choices.some(([value]) => value === this[name]);
    const all = known ? choices : [...choices, [this[name], this[name]]];
    return html`<label class="field">${title}
      <select name=${name}>${all.map(
        ([value, text]) => html`<option value=${value!}
        .selected=${value === this[name]}>${text}</option>`,
      )}</select>
    </label>`;
  }

  #actions(busy: boolean): TemplateResult {
    const paused = greenhouse.state === "paused";
    const running = this.#own && (paused || greenhouse.state === "growing");
    return html`<div class="actions">
      <button type="submit" class="primary" part="grow" ?disabled=${busy}>Grow</button>
      ${
        this.shows("pause")
          ? html`<button type="button" part="pause" ?disabled=${!running}
            @click=${() => (paused ? greenhouse.resume() : greenhouse.pause())}>${paused ? "Resume" : "Pause"}</button>`
          : nothing
      }
      ${
        this.shows("stop")
          ? html`<button type="button" part="stop" ?disabled=${!running} @click=${() => greenhouse.stop()}>Stop</button>`
          : nothing
      }
      ${
        this.shows("save") && greenhouse.model
          ? html`<button type="button" part="save" @click=${this.#save}>Save the model</button>`
          : nothing
      }
    </div>`;
  }

  #progress(): TemplateResult {
    const run = this.run;
    const share = run?.start ? (run.latest?.step ?? 0) / run.start.steps : 0;
    const sentence = this.#status(run);
    const waiting = this.#own && !run?.start;
    this.#announce(sentence);
    return html`<p class="status" part="status">${sentence}</p>
      <progress part="progress" max="1" value=${waiting ? nothing : share} aria-label="Progress"></progress>
      ${run?.start ? html`<p class="note facts" part="facts">${factsOf(run, greenhouse.cloche?.device.why)}</p>` : nothing}
      ${this.#saved ? html`<p class="note" role="status">${this.#saved}</p>` : nothing}
      <p class="hidden" aria-live="polite">${this.#announcement}</p>`;
  }

  #status(run: RunRecord | undefined): string {
    if (this.#own) return greenhouse.state === "paused" ? PAUSED : statusOf(run);
    if (greenhouse.state !== "idle") return "Another model is growing on this page.";
    return this.#outcome || "Nothing is growing yet.";
  }

  #announce(sentence: string): void {
    const ended = greenhouse.state === "idle" || greenhouse.state === "paused";
    if (!ended && performance.now() - this.#announced < ANNOUNCE_MS) return;
    this.#announced = performance.now();
    this.#announcement = sentence;
  }

  #onSubmit(event: Event): void {
    event.preventDefault();
    void this.grow();
  }

  #onInput(event: Event): void {
    const field = event.target as HTMLInputElement;
    const { name, value } = field;
    if (name === "steps" && field.validity.valid) this.steps = Number(value);
    if (name === "preset" || name === "tokenizer" || name === "device") Reflect.set(this, name, value);
    if (name === "source") this.data = value === "stories" ? "stories" : "";
    if (name === "text") this.data = value;
    if (name === "file" && field.files?.[0]) this.data = field.files[0];
    this.send("cloche-settings", settingsOf(this));
  }

  #onDrag(event: DragEvent): void {
    event.preventDefault();
    this.over = event.type === "dragover";
    const file = event.type === "drop" ? event.dataTransfer?.files[0] : undefined;
    if (file) this.data = file;
  }

  async #save(): Promise<void> {
    try {
      const archive = await (await greenhouse.open()).export({ zip: true });
      download("cloche-model.zip", [archive], "application/zip");
      this.#saved = `Saved as a Hugging Face folder in a zip, ${bytes(archive.size)}.`;
      this.requestUpdate();
    } catch (error) {
      this.complain(error);
    }
  }
}

/** What decides how long a run takes. */
function settingsOf({ preset, tokenizer, steps, device }: TrainerElement) {
  return { preset, tokenizer, steps, device };
}

/** The text at an address that the page's author gave. */
async function fetched(src: string): Promise<Blob> {
  const refused = (found: unknown) => new ClocheError("DOWNLOAD", `src="${src}" could not be loaded: ${found}`);
  const response = await fetch(src).catch((error) => Promise.reject(refused(error)));
  if (response.ok) return new File([await response.blob()], src);
  throw refused(`the server answered ${response.status}`);
}
