/** What the module offers besides the elements themselves: it can be imported where there is no page. */
import { greenhouse } from "./greenhouse.js";

export { csv, download } from "./download.js";
export { bytes, duration, large } from "./format.js";
export {
  greenhouse,
  type Greenhouse,
  type GrowState,
  type LossRow,
  type RunRecord,
  type Sample,
} from "./greenhouse.js";
export type * from "./types.js";

/** Says where the pieces of the package lie, where that is not beside this file; before the first gesture. */
export function configure(files: typeof greenhouse.files): void {
  greenhouse.files = files;
}
