/** A thread of the engine under test: says that it begins, and is heard of no more. */
self.onmessage = async ({ data: task }) => {
  const { help } = await import(/** @type {string} */ ("/wasm/threads.js"));
  help(task, () => self.postMessage("begun"));
};
