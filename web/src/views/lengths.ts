/** `<lab-lengths>`: how many tokens the same sentence takes in four languages, by each kind of tokenizer. */
import { csv, download, greenhouse } from "cloche/elements";
import { html, LitElement, nothing, type TemplateResult } from "lit";

const SENTENCES = [
  { language: "English", lang: "en", text: "Every morning the gardener waters the seeds." },
  { language: "German", lang: "de", text: "Jeden Morgen gießt die Gärtnerin die Samen." },
  { language: "Chinese", lang: "zh", text: "园丁每天早上给种子浇水。" },
  { language: "Arabic", lang: "ar", text: "كل صباح يسقي البستاني البذور." },
];

const KINDS = [
  { kind: "char", name: "characters" },
  { kind: "byte", name: "bytes" },
  { kind: "bpe:512", name: "word pieces" },
];

/** The tokens of a sentence, and whether they still say the same. */
interface Length {
  count: number;
  lost: boolean;
}

class LabLengths extends LitElement {
  static override properties = { lengths: { state: true }, trouble: { state: true } };
  /** By sentence, then by kind. */
  declare lengths: Length[][];
  declare trouble: string;

  constructor() {
    super();
    this.lengths = [];
    this.trouble = "";
  }

  protected override createRenderRoot(): HTMLElement {
    return this;
  }

  protected override async firstUpdated(): Promise<void> {
    try {
      const tokenizers = await Promise.all(KINDS.map(({ kind }) => greenhouse.tokenizer(kind, "stories", () => {})));
      const length = async (text: string, tokenizer: (typeof tokenizers)[number]) => {
        const ids = await tokenizer.encode(text);
        return { count: ids.length, lost: (await tokenizer.decode(ids)) !== text };
      };
      this.lengths = await Promise.all(
        SENTENCES.map(({ text }) => Promise.all(tokenizers.map((t) => length(text, t)))),
      );
    } catch (error) {
      this.trouble = error instanceof Error ? error.message : String(error);
    }
  }

  protected override render(): TemplateResult {
    if (this.trouble) return html`<p class="error" role="alert">${this.trouble}</p>`;
    if (this.lengths.length === 0)
      return html`<p class="note" role="status">Learning three tokenizers from the stories …</p>`;
    const longest = Math.max(...this.lengths.flat().map(({ count }) => count));
    return html`<figure>
      <figcaption>The same sentence in four languages <small>in tokens</small></figcaption>
      ${SENTENCES.map(
        ({ language, lang, text }, i) => html`<div class="sentence">
        <p><b>${language}</b> <span lang=${lang} dir="auto">${text}</span></p>
        ${KINDS.map(({ name }, k) => this.#bar(name, k, this.lengths[i]![k]!, longest))}
      </div>`,
      )}
      <div class="foot">
        <details><summary>Show as a table</summary>${this.#table()}</details>
        <button class="quiet" @click=${this.#save}>Save as CSV</button>
      </div>
    </figure>`;
  }

  #bar(name: string, kind: number, { count, lost }: Length, longest: number): TemplateResult {
    return html`<div class="bar">
      <span class="note">${name}${lost ? html`<small class="error">some left out</small>` : nothing}</span>
      <svg class="track" viewBox="0 0 ${longest} 1" preserveAspectRatio="none" aria-hidden="true"><rect class="k${kind}"
        width=${count} height="1"></rect></svg>
      <span class="count">${count}</span>
    </div>`;
  }

  #table(): TemplateResult {
    return html`<table>
      <thead><tr><th scope="col">Language</th>${KINDS.map(({ name }) => html`<th scope="col">${name}</th>`)}</tr></thead>
      <tbody>
        ${SENTENCES.map(({ language }, i) => {
          const cells = this.lengths[i]!.map(({ count, lost }) => html`<td>${count}${lost ? ", some left out" : ""}</td>`);
          return html`<tr><th scope="row">${language}</th>${cells}</tr>`;
        })}
      </tbody>
    </table>`;
  }

  #save(): void {
    const rows = SENTENCES.map(({ language, text }, i) => [
      language,
      text,
      ...this.lengths[i]!.map(({ count }) => count),
    ]);
    download("lengths.csv", [csv(["language", "text", ...KINDS.map(({ name }) => name)], rows)], "text/csv");
  }
}

customElements.define("lab-lengths", LabLengths);
