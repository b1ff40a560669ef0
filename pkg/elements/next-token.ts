/** `<cloche-next-token>`: what the model thinks comes next, and what the sampling controls make of it. */
import { css, html, nothing, type TemplateResult } from "lit";
import { csv, download } from "./download.js";
import { greenhouse } from "./greenhouse.js";
import type { NextToken } from "cloche";
import { ProbingElement } from "./probing.js";
import { hidesSampling, reshaped, samplingControls, samplingOf, samplingSettings, type Sampling } from "./sampling.js";
import { anyText, integer, setting } from "./settings.js";
import type { NextTokenElement } from "./types.js";

/** The controls act on so many tokens; what is less likely than these hardly counts. */
const ASKED = 512;

export interface ClocheNextToken extends Sampling {}
export class ClocheNextToken extends ProbingElement implements NextTokenElement {
  static override styles = [
    ProbingElement.styles,
    css`
    table { width: 100%; }
    th, td { padding: 0.1em 0.6em 0.1em 0; white-space: nowrap; }
    th:first-child, td:first-child { text-align: left; white-space: pre; }
    .bar { width: 55%; }
    svg { display: block; width: 100%; height: 1.1em; }
    .plain { min-height: 1.8em; }
    .own { fill: none; stroke: var(--quiet); stroke-width: 1; vector-effect: non-scaling-stroke; }
    .now { fill: var(--cloche-train, light-dark(#0072b2, #56b4e9)); }
    .out td { color: var(--quiet); }
  `,
  ];
  static override properties = {
    ...samplingSettings,
    text: setting(anyText, "Once there was"),
    bars: setting(integer(1, 50), 10),
    heading: setting(anyText, "What comes next"),
    hide: hidesSampling("text", "caption", "csv"),
  };
  declare text: string;
  declare bars: number;
  declare heading: string;

  protected override question() {
    return { text: this.text, options: { nextTokens: ASKED } };
  }

  protected override render(): TemplateResult {
    const next = this.probe?.next ?? [];
    const missing = this.why();
    return html`<figure part="figure">
      ${this.shows("caption")
        ? html`<figcaption part="heading">${this.heading} <small>in percent</small></figcaption>`
        : nothing}
      ${this.shows("text")
        ? html`<label class="field">The text so far <textarea part="text" rows="2" .value=${this.text}
          @input=${this.#onText}></textarea></label>`
        : nothing}
      ${samplingControls(
        this,
        (control) => this.shows(control),
        (change) => this.#choose(change),
      )}
      ${this.complaints()}
      ${missing ? html`<p class="note" role="status">${missing}</p>` : next.length > 0 ? this.#table(next) : nothing}
    </figure>`;
  }

  #table(next: NextToken[]): TemplateResult {
    const now = reshaped(
      next.map(({ probability }) => probability),
      samplingOf(this),
    );
    const longest = Math.max(next[0]!.probability, now[0]!);
    const likeliest = `Likeliest: ${next[0]!.token}, ${percent(now[0]!)} percent`;
    const kept = now.filter((p) => p > 0).length;
    return html`<table part="table">
        <thead><tr><th scope="col">Token</th><th scope="col">Id</th><th scope="col" class="bar"><span class="hidden">Bar</span></th>
          <th scope="col">Model</th><th scope="col">Drawn</th></tr></thead>
        <tbody>
          ${next.slice(0, this.bars).map(
            ({ token, id, probability }, i) => html`<tr class=${now[i] === 0 ? "out" : ""}>
            <td><button class="plain" aria-label="Go on with ${token}"
              @click=${() => this.#append(token)}>${token.replaceAll(" ", "·").replaceAll("\n", "⏎")}</button></td>
            <td>${id}</td>
            <td class="bar"><svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
              <rect class="now" y="2" height="6" width=${(100 * now[i]!) / longest}></rect>
              <rect class="own" x="0.3" y="0.6" height="8.8"
                width=${Math.max(0, (100 * probability) / longest - 0.6)}></rect>
            </svg></td>
            <td>${percent(probability)}</td><td>${percent(now[i]!)}</td>
          </tr>`,
          )}
        </tbody>
      </table>
      <p class="note">The outline is the model's own probability, the bar what a token is drawn with. ${kept} of the
        ${next.length} likeliest tokens can be drawn.
        ${this.shows("csv")
          ? html`<button class="plain" @click=${() => this.#save(now)}>Save as CSV</button>`
          : nothing}</p>
      <p class="hidden" aria-live="polite">${greenhouse.state === "idle" ? likeliest : ""}</p>`;
  }

  #append(token: string): void {
    this.text += token;
    this.send("cloche-text", this.text);
  }

  #onText(event: Event): void {
    this.text = (event.target as HTMLTextAreaElement).value;
    this.send("cloche-text", this.text);
  }

  #choose(change: Partial<Sampling>): void {
    Object.assign(this, change);
    this.send("cloche-sampling", samplingOf(this));
  }

  #save(now: number[]): void {
    const rows = this.probe!.next!.map(({ token, id, probability }, i) => [token, id, probability, now[i]!]);
    download("next-token.csv", [csv(["token", "id", "model", "drawn"], rows)], "text/csv");
  }
}

function percent(probability: number): string {
  return (100 * probability).toFixed(1);
}
