/** What the labs' own elements are: in the page's tree and style, drawn again when something has changed in the greenhouse. */
import { greenhouse } from "cloche/elements";
import { LitElement } from "lit";

export abstract class LabElement extends LitElement {
  /** Whether the reader has it in view. */
  protected isVisible = false;
  readonly #onChange = () => this.greenhouseChanged();
  readonly #watcher = new IntersectionObserver((entries) => {
    this.isVisible = entries.at(-1)!.isIntersecting;
    this.greenhouseChanged();
  });

  protected override createRenderRoot(): HTMLElement {
    return this;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    greenhouse.addEventListener("change", this.#onChange);
    this.#watcher.observe(this);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    greenhouse.removeEventListener("change", this.#onChange);
    this.#watcher.disconnect();
  }

  /** Called when something has changed there, a few times a second, and when the element comes into view or leaves it. */
  protected greenhouseChanged(): void {
    this.requestUpdate();
  }
}
