/** A judge as a page brings one along: the worker imports it. Answers that are short are good, and blank ones a fault. */
export default function judge(/** @type {string} */ said, /** @type {{ asked: string }} */ { asked }) {
  if (asked.includes("fault")) throw new Error("a fault of the page's judge");
  return 1 / (1 + said.length);
}
