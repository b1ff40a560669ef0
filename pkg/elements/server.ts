/** What a server gets in the place of the elements: it renders their tags, and the page's own module brings them to life. */
import type { ClocheElements } from "./types.js";

export * from "./besides.js";

/** There are none without a page. */
export const ELEMENTS: Partial<Record<keyof ClocheElements, CustomElementConstructor>> = {};
