/** Which run stands beside the newest one: another of this visit, or one that the browser has kept. */
import { html, nothing, type TemplateResult } from "lit";
import { greenhouse, type RunRecord } from "./greenhouse.js";

/** Who shows two runs. */
interface Comparing {
  /** The runs of this visit that can be shown, the newest last. */
  runs: RunRecord[];
  /** The number of the one that is chosen. */
  compareWith: number | undefined;
  choose: (number: number | undefined) => void;
  complain: (error: unknown) => void;
}

/** What stands before the name of a run that is kept, in the value of its option. */
const KEPT = "kept ";

/** The run that is chosen, unless it is the newest one itself. */
export function beside(runs: RunRecord[], compareWith: number | undefined): RunRecord | undefined {
  return [...runs.slice(0, -1), ...greenhouse.recalled].find(({ number }) => number === compareWith);
}

/** A list to choose it from, where there is one to choose. */
export function comparison({ runs, compareWith, choose, complain }: Comparing): TemplateResult | typeof nothing {
  const others = runs.slice(0, -1);
  const kept = runs.length > 0 ? greenhouse.kept : [];
  if (others.length + kept.length === 0) return nothing;
  const chosen = beside(runs, compareWith);
  const change = (event: Event) => {
    const { value } = event.target as HTMLSelectElement;
    if (!value.startsWith(KEPT)) return choose(Number(value) || undefined);
    greenhouse.recall(value.slice(KEPT.length)).then(({ number }) => choose(number), complain);
  };
  return html`<label>Compare with <select class="bare" @change=${change}>
    <option value="">no other run</option>
    ${others.map((run) => html`<option value=${run.number} ?selected=${run === chosen}>${run.name}</option>`)}
    ${kept.length > 0
      ? html`<optgroup label="Kept in this browser">${kept.map((name) => html`<option value=${KEPT + name}
          ?selected=${chosen && chosen.number < 0 && chosen.name === name}>${name}</option>`)}</optgroup>`
      : nothing}
  </select></label>`;
}

/** What a run that stands beside another one is called in few words. */
export function shortName({ number, name }: RunRecord): string {
  return number > 0 ? `run ${number}` : name;
}
