/** What all elements are: they watch the greenhouse, read their attributes by rules, and say in place what is wrong. */
import { html, LitElement, nothing, type CSSResultGroup, type TemplateResult } from "lit";
import { greenhouse, type RunRecord } from "./greenhouse.js";
import type { Rule } from "./settings.js";
import { sheet } from "./styles.js";

export abstract class ClocheElement extends LitElement {
  static override styles: CSSResultGroup[] = [sheet];

  /** Controls and captions that are left out. */
  declare hide: string[];
  /** What went wrong last, in a sentence. */
  protected trouble = "";

  /** Attributes that break their rules, each with the sentence that says so. */
  readonly #faults = new Map<string, string>();
  readonly #onChange = () => this.greenhouseChanged();

  constructor() {
    super();
    for (const [name, declaration] of (this.constructor as typeof LitElement).elementProperties) {
      if ("initial" in declaration) Reflect.set(this, name, declaration.initial);
    }
  }

  override connectedCallback(): void {
    super.connectedCallback();
    greenhouse.addEventListener("change", this.#onChange);
    this.requestUpdate();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    greenhouse.removeEventListener("change", this.#onChange);
  }

  override attributeChangedCallback(name: string, before: string | null, text: string | null): void {
    super.attributeChangedCallback(name, before, text);
    const rule = ruleOf(this.constructor as typeof LitElement, name);
    const wrong = rule && text !== null && rule.read(text) === undefined;
    if (wrong) this.#faults.set(name, `${name}="${text}" on <${this.localName}>: expected ${rule.expected}`);
    else this.#faults.delete(name);
    this.requestUpdate();
  }

  /** Called when something has changed in the greenhouse, a few times a second. */
  protected greenhouseChanged(): void {
    this.requestUpdate();
  }

  protected shows(control: string): boolean {
    return !this.hide.includes(control);
  }

  /** Sends an event that also leaves the shadow tree. */
  protected send(name: string, detail: unknown): void {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }

  /** Shows an error, and sends it to the page. */
  protected complain(error: unknown): void {
    const { code = "ENGINE_CRASHED", message = String(error) } = error as { code?: string; message?: string };
    this.trouble = message;
    this.send("cloche-error", { code, message });
    this.requestUpdate();
  }

  /** The sentences about wrong attributes and about what went wrong. */
  protected complaints(): TemplateResult | typeof nothing {
    const sentences = [...this.#faults.values(), this.trouble].filter(Boolean);
    if (sentences.length === 0) return nothing;
    return html`<div role="alert" part="error">${sentences.map((text) => html`<p class="error">${text}</p>`)}</div>`;
  }

  /** The runs that concern an element: all of the page, or those of one trainer. */
  protected runsOf(trainer: string): RunRecord[] {
    const begun = greenhouse.runs.filter((run) => run.start);
    return trainer ? begun.filter((run) => run.owner?.id === trainer) : begun;
  }
}

function ruleOf(element: typeof LitElement, attribute: string): Rule<unknown> | undefined {
  for (const [name, declaration] of element.elementProperties) {
    if ((declaration.attribute ?? String(name).toLowerCase()) !== attribute) continue;
    return (declaration as { rule?: Rule<unknown> }).rule;
  }
  return undefined;
}

/** Defines an element, unless the page has it already. */
export function define(name: string, element: CustomElementConstructor): void {
  if (!customElements.get(name)) customElements.define(name, element);
}
