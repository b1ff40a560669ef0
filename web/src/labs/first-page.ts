/** The first page: what this is, one button, and the doors. */
import { html, type TemplateResult } from "lit";
import { seedling } from "../views/seedling.ts";
import { LABS } from "./index.ts";

export function firstPage(): TemplateResult {
  return html`<div class="hero"><div class="lead">
      <h1>Grow a language model in this tab</h1>
      <p>
        It starts as noise, reads, and learns to speak, in front of you. The whole way is here, small enough to watch:
        the text becomes tokens, the tokens become a model, and the model answers.
      </p>
      <p><a class="button" href="#/grow?start=1">Grow one now</a></p>
    </div>
    ${seedling}</div>
    <ol class="doors">
      ${LABS.map(
        (lab) => html`<li>
        <a href="#/${lab.id}"><h2>${lab.question}</h2></a>
        <p>${lab.about}</p>
      </li>`,
      )}
    </ol>`;
}
