/** `<lab-model>`: which model there is; another one can be opened, and this one carried away. */
import type { DownloadProgress, LoadOptions, ModelSource } from "cloche";
import { bytes, download, greenhouse } from "cloche/elements";
import { html, nothing, type TemplateResult } from "lit";
import { LabElement } from "./lab-element.ts";

class LabModel extends LabElement {
  static override properties = {
    note: { state: true },
    trouble: { state: true },
    busy: { state: true },
    fetching: { state: true },
  };
  declare note: string;
  declare trouble: string;
  declare busy: boolean;
  /** Ends the download that is under way. */
  declare fetching: AbortController | undefined;

  constructor() {
    super();
    this.note = this.trouble = "";
    this.busy = false;
  }

  protected override render(): TemplateResult {
    const { model } = greenhouse;
    return html`<p class="model">
        ${model
          ? html`You are talking to <b>${model}</b>.`
          : "There is no model yet. Grow a small one here, or open one that was saved."}
      </p>
      ${model && !this.#growing() ? nothing : html`<cloche-trainer preset="tiny" tokenizer="bpe:512" steps="300"
        hide="source preset tokenizer steps device estimate pause save"></cloche-trainer>`}
      ${greenhouse.info?.hasAdapter
        ? html`<p><label><input type="checkbox" .checked=${greenhouse.adapter} @change=${this.#switchAdapter} />
          With what it has learnt beside its weights, its adapter</label></p>`
        : nothing}
      <div class="openers">
        <label class="field">Open a zip of a Hugging Face folder <input type="file" accept=".zip,application/zip"
          ?disabled=${this.busy} @change=${this.#openZip} /></label>
        <label class="field">or the folder itself <input type="file" webkitdirectory multiple ?disabled=${this.busy}
          @change=${this.#openFolder} /></label>
      </div>
      <form @submit=${this.#openAddress}>
        <label class="field">or what lies at an address, a zip or such a folder <input name="address" inputmode="url"
          autocomplete="off" spellcheck="false" placeholder="https://…/resolve/main/" required ?disabled=${this.busy} /></label>
        <p class="actions">
          <button ?disabled=${this.busy}>Fetch it</button>
          ${this.fetching
            ? html`<button type="button" @click=${() => this.fetching?.abort()}>Stop the download</button>`
            : nothing}
        </p>
      </form>
      ${model
        ? html`<p class="actions"><button ?disabled=${this.busy} @click=${() => this.#do(() => this.#save())}>Save the
          model</button></p>`
        : nothing}
      <p class="note" role="status">${this.note}</p>
      ${this.trouble ? html`<p class="error" role="alert">${this.trouble}</p>` : nothing}`;
  }

  /** Whether the model is one that grows here, so that it can be stopped. */
  #growing(): boolean {
    const owner = greenhouse.runs.at(-1)?.owner;
    return greenhouse.state !== "idle" && owner !== undefined && this.contains(owner);
  }

  #switchAdapter(event: Event): void {
    greenhouse.adapter = (event.target as HTMLInputElement).checked;
  }

  #openZip(event: Event): void {
    const file = (event.target as HTMLInputElement).files?.[0];
    if (file) void this.#do(() => this.#load(file, file.name));
  }

  #openFolder(event: Event): void {
    const chosen = [...((event.target as HTMLInputElement).files ?? [])];
    if (chosen.length === 0) return;
    void this.#do(async () => {
      const read = async (file: File) => [file.webkitRelativePath, new Uint8Array(await file.arrayBuffer())] as const;
      await this.#load(new Map(await Promise.all(chosen.map(read))), chosen[0]!.webkitRelativePath.split("/")[0]!);
    });
  }

  #openAddress(event: SubmitEvent): void {
    event.preventDefault();
    const address = String(new FormData(event.target as HTMLFormElement).get("address")).trim();
    void this.#do(async () => {
      if (!URL.canParse(address, location.href)) throw new Error(`Found "${address}", expected an address.`);
      const { signal } = (this.fetching = new AbortController());
      const onProgress = ({ file, loaded, total }: DownloadProgress) => {
        this.note = `${file}: ${bytes(loaded)}${total === undefined ? "" : ` of ${bytes(total)}`}`;
      };
      await this.#load(new URL(address, location.href), undefined, { signal, onProgress });
    });
  }

  async #load(from: ModelSource, title?: string, options?: LoadOptions): Promise<void> {
    await greenhouse.load(from, title, options);
    const { name, layers, contextLen, hasAdapter } = greenhouse.info!;
    this.note = `Opened ${name}: ${layers} layers, a context of ${contextLen} tokens${hasAdapter ? ", an adapter beside it" : ""}.`;
  }

  async #save(): Promise<void> {
    const archive = await (await greenhouse.open()).export({ zip: true });
    download("cloche-model.zip", [archive], "application/zip");
    this.note = `Saved, ${bytes(archive.size)}. The folder opens in transformers as it is.`;
  }

  async #do(work: () => Promise<void>): Promise<void> {
    this.busy = true;
    this.trouble = "";
    this.note = "One moment …";
    try {
      await work();
    } catch (error) {
      this.note = "";
      this.trouble = error instanceof Error ? error.message : String(error);
    } finally {
      this.busy = false;
      this.fetching = undefined;
    }
  }
}

customElements.define("lab-model", LabModel);
