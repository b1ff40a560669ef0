/**
 * The look that all elements share. A page changes it by the variables `--cloche-*`; the defaults are paper and green,
 * and follow the page's `color-scheme`.
 */
import { css } from "lit";

export const sheet = css`
  :host {
    --ink: var(--cloche-ink, light-dark(#22281f, #e6e9e0));
    --quiet: var(--cloche-quiet, light-dark(#5b6356, #a5ae9f));
    --card: var(--cloche-card, light-dark(#fffefb, #1c231e));
    --line: var(--cloche-line, light-dark(#d9d8cc, #38423a));
    --accent: var(--cloche-accent, light-dark(#276b43, #7cc796));
    --on-accent: var(--cloche-on-accent, light-dark(#ffffff, #10150f));
    --danger: var(--cloche-danger, light-dark(#a5320f, #ff9b7a));
    --radius: var(--cloche-radius, 0.5rem);
    display: block;
    margin-block: 1.2em;
    color: var(--ink);
    font-family: var(--cloche-font, inherit);
    line-height: 1.5;
    overflow-wrap: anywhere;
  }
  :host([hidden]),
  [hidden] {
    display: none !important;
  }
  *,
  *::before,
  *::after {
    box-sizing: border-box;
  }
  p {
    margin: 0 0 0.6em;
  }
  figure {
    margin: 0;
  }
  figcaption {
    font-weight: 600;
    font-size: 0.95em;
    margin-bottom: 0.4em;
  }
  figcaption small {
    font-weight: 400;
    color: var(--quiet);
  }
  .note,
  label,
  legend {
    color: var(--quiet);
    font-size: 0.9em;
  }
  form + .note,
  table + .note,
  .actions + .note {
    margin-top: 0.6em;
  }
  .error {
    color: var(--danger);
    margin: 0.4em 0;
  }
  fieldset {
    border: 0;
    margin: 0 0 1em;
    padding: 0;
    min-width: 0;
  }
  legend {
    padding: 0;
  }
  input,
  select,
  textarea,
  button {
    font: inherit;
    color: inherit;
  }
  .grid {
    display: grid;
    grid-template-columns: repeat(auto-fit, minmax(min(7.4em, 100%), 1fr));
    gap: 0.7em 1em;
    margin-bottom: 1em;
  }
  .field {
    display: block;
  }
  .field > input:not([type="range"]),
  .field > select,
  textarea,
  .bare {
    display: block;
    width: 100%;
    min-height: 2.5em;
    margin-top: 0.15em;
    padding: 0.35em 0.6em;
    color: var(--ink);
    background: var(--card);
    border: 1px solid var(--quiet);
    border-radius: var(--radius);
  }
  textarea {
    margin-bottom: 0.6em;
    resize: vertical;
  }
  input[type="range"] {
    display: block;
    width: 100%;
    height: 1.6em;
    margin: 0;
    accent-color: var(--accent);
  }
  input[type="radio"],
  input[type="checkbox"] {
    width: 1.1em;
    height: 1.1em;
    accent-color: var(--accent);
    vertical-align: -0.15em;
  }
  .actions {
    display: flex;
    flex-wrap: wrap;
    gap: 0.5em;
    align-items: center;
  }
  button {
    min-height: 2.5em;
    padding: 0.3em 1.1em;
    background: var(--card);
    border: 1px solid var(--quiet);
    border-radius: 2em;
    cursor: pointer;
  }
  button.primary {
    background: var(--accent);
    border-color: var(--accent);
    color: var(--on-accent);
  }
  button.plain {
    min-height: 2em;
    padding: 0.1em 0.2em;
    border: 0;
    background: none;
    color: var(--accent);
    text-decoration: underline;
    text-underline-offset: 0.2em;
  }
  button:disabled {
    opacity: 0.55;
    cursor: default;
  }
  :focus-visible {
    outline: 3px solid var(--accent);
    outline-offset: 2px;
  }
  summary {
    cursor: pointer;
    min-height: 2em;
    padding: 0.2em 0;
    font-size: 0.9em;
    color: var(--quiet);
  }
  .scroll {
    max-height: 18em;
    overflow: auto;
  }
  ::file-selector-button {
    margin-right: 0.6em;
    padding: 0.1em 0.8em;
    border: 1px solid var(--quiet);
    border-radius: 1em;
    font: inherit;
    color: inherit;
    background: var(--card);
  }
  table {
    border-collapse: collapse;
    font-size: 0.88em;
    font-variant-numeric: tabular-nums;
  }
  th {
    font-weight: 600;
  }
  th,
  td {
    text-align: right;
    padding: 0.15em 1em 0.15em 0;
  }
  .value {
    color: var(--ink);
    font-variant-numeric: tabular-nums;
  }
  .said {
    white-space: pre-wrap;
    margin: 0;
  }
  .hidden {
    position: absolute;
    width: 1px;
    height: 1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }
`;
