/**
 * Starts a thread of the engine for a worker that `start.js` asks for it in: the page does, for what `pkg/src/crew.ts` says.
 * @param {{ task: object, answer: MessagePort }} wanted
 */
export function help({ task, answer }) {
  const thread = new Worker(new URL("thread.js", import.meta.url), { type: "module" });
  thread.onmessage = () => answer.postMessage("begun");
  thread.onerror = (event) => answer.postMessage(event.message || "the thread could not be loaded");
  thread.postMessage(task);
}
