/** The shell: a door for each lab, and the lab that the address names. Labs that were opened stay as they are. */
import { greenhouse } from "cloche/elements";
import { html, render, type TemplateResult } from "lit";
import { firstPage } from "./labs/first-page.ts";
import { LABS, type Lab } from "./labs/index.ts";
import { route, Setup } from "./route.ts";
import { seedling } from "./views/seedling.ts";

const main = document.querySelector<HTMLElement>("main")!;
const nav = document.querySelector<HTMLElement>("nav")!;
const device = document.getElementById("device")!;

/** The labs that were opened, each in its own part of the page; the first page has no name. */
const opened = new Map<string, { room: HTMLElement; setup: Setup }>();

addEventListener("hashchange", () => {
  // A link within the page, such as the one that skips to the lab, is no route.
  if (!location.hash.startsWith("#/")) return;
  show();
  main.focus();
  scrollTo(0, 0);
});
greenhouse.addEventListener("change", follow);
render(html`${seedling}<span>Cloche</span>`, document.querySelector<HTMLElement>(".name")!);
show();

function show(): void {
  const { lab: name, values } = route();
  const lab = LABS.find((candidate) => candidate.id === name);
  const id = lab?.id ?? "";
  const known = opened.get(id);
  // An address with another set-up opens the lab anew, but never takes it away from a model that grows.
  const stale = known?.setup.differs(values) && greenhouse.state === "idle";
  if (stale) known!.room.remove();
  const { room, setup } = known && !stale ? known : open(lab, values);
  for (const other of opened.values()) other.room.hidden = !(other.setup.shown = other.room === room);
  if (lab) setup.write();
  document.title = lab ? `${lab.question} – Cloche` : "Cloche: grow a language model";
  render(doors(lab), nav);
}

function open(lab: Lab | undefined, values: URLSearchParams): { room: HTMLElement; setup: Setup } {
  const room = document.createElement("article");
  const setup = new Setup(lab?.id ?? "", values);
  main.append(room);
  render(lab ? entered(lab, lab.render(setup)) : firstPage(), room);
  const found = { room, setup };
  opened.set(lab?.id ?? "", found);
  return found;
}

function doors(current: Lab | undefined): TemplateResult {
  return html`<ol>
    ${LABS.map((lab) => html`<li><a href="#/${lab.id}" aria-current=${lab === current ? "page" : "false"}>${lab.title}</a></li>`)}
  </ol>`;
}

/** A lab with its question above it and the next door below. */
function entered(lab: Lab, content: TemplateResult): TemplateResult {
  const at = LABS.indexOf(lab);
  const next = LABS[at + 1];
  return html`<div class="lead">
      <p class="eyebrow">Lab ${at + 1} of ${LABS.length}</p>
      <h1>${lab.question}</h1>
      <p>${lab.about}</p>
    </div>
    ${content}
    ${next ? html`<p class="next"><a href="#/${next.id}">Next: ${next.question}</a></p>` : ""}`;
}

/** The seedling grows with the run, and the foot of the page says where it is computed. */
function follow(): void {
  const run = greenhouse.runs.at(-1);
  const grown = run?.start ? (run.latest?.step ?? 0) / run.start.steps : 0;
  document.documentElement.style.setProperty("--grown", grown.toFixed(3));
  const { why = "", threads = 1 } = greenhouse.cloche?.device ?? {};
  const shared = threads > 1 ? ` ${threads} threads share the work.` : "";
  device.textContent = why && `Computing on ${why}.${shared}`;
}
