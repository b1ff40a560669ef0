/** Looking into the model of the page: what it thinks comes next, and where it looks. */
import type { Probe, ProbeOptions } from "cloche";
import { ClocheElement } from "./element.js";
import { greenhouse } from "./greenhouse.js";

/** A model that grows is looked into no more often than this. */
const PAUSE_MS = 400;

/** An element that looks into the model again whenever the model has changed, or the question. */
export abstract class ProbingElement extends ClocheElement {
  protected probe: Probe | undefined;
  #asked = "";
  #asking = false;
  #visible = false;
  readonly #watcher = new IntersectionObserver(([entry]) => {
    this.#visible = entry!.isIntersecting;
    this.requestUpdate();
  });

  override connectedCallback(): void {
    super.connectedCallback();
    this.#watcher.observe(this);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#watcher.disconnect();
  }

  /** What is asked, and about which text; nothing where there is nothing to ask. */
  protected abstract question(): { text: string; options: ProbeOptions } | undefined;

  protected override updated(): void {
    void this.#look();
  }

  /** Why there is nothing to see, in a sentence. */
  protected why(): string {
    return greenhouse.model && greenhouse.cloche ? "" : "There is no model yet: grow one first.";
  }

  async #look(): Promise<void> {
    const question = this.question();
    const { cloche, version } = greenhouse;
    const asked = JSON.stringify([version, question]);
    if (!question?.text || this.#asking || !this.#visible || this.why() || asked === this.#asked) return;
    this.#asking = true;
    this.#asked = asked;
    try {
      this.probe = await cloche!.probe(question.text, { ...question.options, adapter: greenhouse.adapter });
      this.trouble = "";
      this.send("cloche-probe", this.probe);
    } catch (error) {
      this.complain(error);
    }
    this.requestUpdate();
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    this.#asking = false;
    // The model may have changed meanwhile.
    this.requestUpdate();
  }
}
