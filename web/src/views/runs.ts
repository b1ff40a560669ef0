/** `<lab-runs>`: the runs that this browser keeps; one goes on where it was, has another name, or is deleted. */
import { bytes, greenhouse } from "cloche/elements";
import type { Runs, SavedRun } from "cloche";
import { html, nothing, type TemplateResult } from "lit";
import { LabElement } from "./lab-element.ts";

/** What the lab's trainer can do with a run. */
interface Trainer extends HTMLElement {
  goOn(name: string): Promise<void>;
}

class LabRuns extends LabElement {
  static override properties = { runs: { state: true }, room: { state: true }, trouble: { state: true } };
  /** None before somebody asks, because to look takes the engine. */
  declare runs: SavedRun[] | undefined;
  declare room: string;
  declare trouble: string;
  #state = greenhouse.state;

  constructor() {
    super();
    this.room = this.trouble = "";
  }

  protected override greenhouseChanged(): void {
    const ended = this.#state !== "idle" && greenhouse.state === "idle";
    this.#state = greenhouse.state;
    // A run that has ended may have been saved.
    if (ended && this.runs) void this.#do(async () => {});
    super.greenhouseChanged();
  }

  protected override render(): TemplateResult {
    return html`${this.runs
        ? this.#table(this.runs)
        : html`<p class="actions"><button @click=${() => this.#do(async () => {})}>Show what is kept</button></p>`}
      <p class="note" role="status">${this.room}</p>
      ${this.trouble ? html`<p class="error" role="alert">${this.trouble}</p>` : nothing}`;
  }

  #table(runs: SavedRun[]): TemplateResult {
    if (runs.length === 0) return html`<p>Nothing is kept yet: what grows above will be.</p>`;
    return html`<div class="scroll" tabindex="0" role="region" aria-label="Runs that are kept"><table>
      <thead><tr><th scope="col">Run</th><th scope="col">Step</th><th scope="col">Size</th>
        <td></td></tr></thead>
      <tbody>${runs.map((run) => this.#row(run))}</tbody>
    </table></div>`;
  }

  #row({ name, step, stage, bytes: size }: SavedRun): TemplateResult {
    const busy = greenhouse.state !== "idle";
    const change = (event: Event) => {
      const to = (event.target as HTMLInputElement).value.trim();
      if (to && to !== name) void this.#do((kept) => kept.rename(name, to));
    };
    return html`<tr>
      <td><input aria-label="Name" .value=${name} ?disabled=${busy} @change=${change} /></td>
      <td>${step.toLocaleString("en")}</td>
      <td>${bytes(size)}</td>
      <td class="actions">
        ${stage === "grow"
          ? html`<button ?disabled=${busy} aria-label="Go on with ${name}" @click=${() => this.#goOn(name)}>Go on</button>`
          : nothing}
        <button ?disabled=${busy} aria-label="Delete ${name}" @click=${() => this.#do((kept) => kept.remove(name))}>Delete</button>
      </td>
    </tr>`;
  }

  #goOn(name: string): void {
    const trainer = this.closest("article")?.querySelector<Trainer>("cloche-trainer");
    trainer?.scrollIntoView({ block: "center" });
    void trainer?.goOn(name);
  }

  /** Changes something, and shows what there is then. */
  async #do(work: (kept: Runs) => Promise<void>): Promise<void> {
    this.trouble = "";
    try {
      const { runs: kept } = await greenhouse.open();
      await work(kept);
      this.runs = await greenhouse.lookForKept();
      const { used, available } = await kept.usage();
      this.room = `${bytes(used)} in use, room for ${bytes(available)}.`;
    } catch (error) {
      this.trouble = error instanceof Error ? error.message : String(error);
    }
  }
}

customElements.define("lab-runs", LabRuns);
