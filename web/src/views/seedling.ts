/** The seedling under its glass; it grows with the run, by the variable `--grown`. */
import { svg } from "lit";

export const seedling = svg`<svg class="seedling" viewBox="0 0 96 112" aria-hidden="true">
  <path class="glass" d="M14 100V52a34 34 0 0 1 68 0v48z" />
  <circle class="glass" cx="48" cy="11" r="6" />
  <path class="ground" d="M6 100h84" />
  <path class="stem" pathLength="1" d="M48 100c0-14 1-26-1-44" />
  <path class="leaf leaf-1" d="M48 82c-10 1-17-5-18-14 10-1 17 5 18 14z" />
  <path class="leaf leaf-2" d="M48 70c9 0 16-6 17-15-10-1-17 5-17 15z" />
  <path class="leaf leaf-3" d="M47 58c-8-2-12-9-10-17 8 2 12 9 10 17z" />
</svg>`;
