/** What the labs' own elements are: in the page's tree and style, drawn again when something has changed in the greenhouse. */
import { greenhouse } from "cloche/elements";
import { LitElement } from "lit";

export abstract class LabElement extends LitElement {
  readonly #onChange = () => this.greenhouseChanged();

  protected override createRenderRoot(): HTMLElement {
    return this;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    greenhouse.addEventListener("change", this.#onChange);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    greenhouse.removeEventListener("change", this.#onChange);
  }

  /** Called when something has changed there, a few times a second. */
  protected greenhouseChanged(): void {
    this.requestUpdate();
  }
}
