/** `<cloche-samples>`: what the model says as it grows, on a time line from noise to words. */
import { css, html, nothing, type TemplateResult } from "lit";
import { beside, comparison, shortName } from "./comparing.js";
import { ClocheElement } from "./element.js";
import type { RunRecord, Sample } from "./greenhouse.js";
import { anyOf, anyText, property, setting } from "./settings.js";
import type { SamplesElement } from "./types.js";

export class ClocheSamples extends ClocheElement implements SamplesElement {
  static override styles = [
    ClocheElement.styles,
    css`
    blockquote { margin: 0.6em 0 0.8em; padding: 0.9em 1.1em; min-height: 9em; background: var(--card);
      border-left: 3px solid var(--accent); border-radius: 0 var(--radius) var(--radius) 0; }
    .when { display: flex; justify-content: space-between; gap: 1em; font-variant-numeric: tabular-nums; }
    .pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(16em, 100%), 1fr)); gap: 0 1.4em; }
    .other { border-left-style: dashed; }
    label select { width: auto; max-width: 100%; display: inline-block; margin: 0; }
    ol { list-style: none; margin: 0; padding: 0; }
    ol li { padding: 0.5em 0; border-top: 1px solid var(--line); }
  `,
  ];
  static override properties = {
    for: setting(anyText, ""),
    heading: setting(anyText, "What it says"),
    hide: setting(anyOf("caption", "all", "compare"), []),
    compareWith: property<number | undefined>(undefined),
    at: property<number | undefined>(undefined),
  };
  declare for: string;
  declare heading: string;
  /** The number of the run beside the newest one. */
  declare compareWith: number | undefined;
  /** The place on the time line; without one it is the newest sample. */
  declare protected at: number | undefined;

  protected override render(): TemplateResult {
    const runs = this.runsOf(this.for);
    const samples = runs.at(-1)?.samples ?? [];
    const other = beside(runs, this.compareWith);
    const at = Math.min(this.at ?? Infinity, samples.length - 1);
    const caption = this.shows("caption") ? html`<figcaption part="heading">${this.heading}</figcaption>` : nothing;
    const shown = samples[at];
    if (!shown) {
      return html`<figure>${caption}${this.complaints()}<p class="note">Samples appear here as it grows: first noise,
        then letters, then words.</p></figure>`;
    }
    return html`<figure>
      ${caption}${this.complaints()}
      <label class="when"><span>${when(shown)}</span><span>${at + 1} of ${samples.length}</span></label>
      <input part="timeline" type="range" min="0" max=${samples.length - 1} step="1" .value=${String(at)}
        ?disabled=${samples.length < 2}
        aria-label="Time line of samples" aria-valuetext=${when(shown)} @input=${this.#move} />
      ${other
        ? html`<div class="pair">
            <div>
              <blockquote part="sample"><p class="said">${shown.text}</p></blockquote>
              <p class="note">${shortName(runs.at(-1)!)}: ${when(shown)}</p>
            </div>
            ${this.#beside(other, shown.step)}
          </div>`
        : html`<blockquote part="sample"><p class="said">${shown.text}</p></blockquote>`}
      ${this.shows("compare") ? this.#comparison(runs) : nothing}
      ${this.shows("all") && samples.length > 1 ? this.#all(samples) : nothing}
    </figure>`;
  }

  /** What another run had said by the same step. */
  #beside(other: RunRecord, step: number): TemplateResult {
    const sample = other.samples.findLast((candidate) => candidate.step <= step) ?? other.samples[0];
    return html`<div>
      <blockquote class="other" part="other"><p class="said">${sample?.text ?? ""}</p></blockquote>
      <p class="note">${shortName(other)}: ${sample ? when(sample) : "it has said nothing"}</p>
    </div>`;
  }

  #comparison(runs: RunRecord[]): TemplateResult | typeof nothing {
    const choose = (number: number | undefined) => (this.compareWith = number);
    return comparison({ runs, compareWith: this.compareWith, choose, complain: (error) => this.complain(error) });
  }

  #all(samples: Sample[]): TemplateResult {
    return html`<details>
      <summary>All of them, one below the other</summary>
      <ol part="list">${samples.map((sample) => html`<li><span class="note">${when(sample)}</span><p
        class="said">${sample.text}</p></li>`)}</ol>
    </details>`;
  }

  #move(event: Event): void {
    const at = Number((event.target as HTMLInputElement).value);
    const last = (this.runsOf(this.for).at(-1)?.samples.length ?? 0) - 1;
    // At the end of the line it follows the run.
    this.at = at === last ? undefined : at;
  }
}

function when({ step, loss }: Sample): string {
  if (step === 0) return "before the first step";
  return `after step ${step.toLocaleString("en")}${loss === null ? "" : `, training loss ${loss.toFixed(2)}`}`;
}
