/** `<cloche-samples>`: what the model says as it grows, on a time line from noise to words. */
import { css, html, nothing, type TemplateResult } from "lit";
import { ClocheElement } from "./element.js";
import type { Sample } from "./greenhouse.js";
import { anyOf, anyText, property, setting } from "./settings.js";
import type { SamplesElement } from "./types.js";

export class ClocheSamples extends ClocheElement implements SamplesElement {
  static override styles = [
    ClocheElement.styles,
    css`
    blockquote { margin: 0.6em 0 0.8em; padding: 0.9em 1.1em; min-height: 9em; background: var(--card);
      border-left: 3px solid var(--accent); border-radius: 0 var(--radius) var(--radius) 0; }
    .when { display: flex; justify-content: space-between; gap: 1em; font-variant-numeric: tabular-nums; }
    ol { list-style: none; margin: 0; padding: 0; }
    ol li { padding: 0.5em 0; border-top: 1px solid var(--line); }
  `,
  ];
  static override properties = {
    for: setting(anyText, ""),
    heading: setting(anyText, "What it says"),
    hide: setting(anyOf("caption", "all"), []),
    at: property<number | undefined>(undefined),
  };
  declare for: string;
  declare heading: string;
  /** The place on the time line; without one it is the newest sample. */
  declare protected at: number | undefined;

  protected override render(): TemplateResult {
    const samples = this.runsOf(this.for).at(-1)?.samples ?? [];
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
      <blockquote part="sample"><p class="said">${shown.text}</p></blockquote>
      ${this.shows("all") && samples.length > 1 ? this.#all(samples) : nothing}
    </figure>`;
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
