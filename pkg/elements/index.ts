/**
 * Custom elements: a language model that grows in an article, from one script tag.
 *
 * @example
 * <script type="module" src="https://example.org/cloche/dist/elements.js"></script>
 * <cloche-trainer preset="tiny" steps="300"></cloche-trainer>
 * <cloche-loss></cloche-loss>
 * <cloche-samples></cloche-samples>
 */
import { ClocheAttention } from "./attention.js";
import { ClocheChat } from "./chat.js";
import { define } from "./element.js";
import { ClocheLoss } from "./loss.js";
import { ClocheNextToken } from "./next-token.js";
import { ClochePrompt } from "./prompt.js";
import { ClocheSamples } from "./samples.js";
import { ClocheTokens } from "./tokens.js";
import { ClocheTrainer } from "./trainer.js";
import type { ClocheElements } from "./types.js";

export * from "./besides.js";

/** Every element by its name. */
export const ELEMENTS: Record<keyof ClocheElements, CustomElementConstructor> = {
  "cloche-trainer": ClocheTrainer,
  "cloche-loss": ClocheLoss,
  "cloche-samples": ClocheSamples,
  "cloche-tokens": ClocheTokens,
  "cloche-attention": ClocheAttention,
  "cloche-next-token": ClocheNextToken,
  "cloche-prompt": ClochePrompt,
  "cloche-chat": ClocheChat,
};

for (const [name, element] of Object.entries(ELEMENTS)) define(name, element);
