/** The labs in the order of the course. A new one is a file here and a line in this table. */
import type { TemplateResult } from "lit";
import type { Setup } from "../route.ts";
import { grow } from "./grow.ts";
import { talk } from "./talk.ts";
import { tokens } from "./tokens.ts";

export interface Lab {
  /** In the address. */
  id: string;
  /** On its door. */
  title: string;
  question: string;
  /** What one does there. */
  about: TemplateResult | string;
  /** What is in it; asked for once, when it is first opened. */
  render(setup: Setup): TemplateResult;
}

export const LABS: Lab[] = [tokens, grow, talk];
