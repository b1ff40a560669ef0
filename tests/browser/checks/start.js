/** Has a new thread do a task; resolves when it begins. @param {object} task */
export const start = (task) =>
  new Promise((resolve, reject) => {
    const thread = new Worker(new URL("thread.js", import.meta.url), { type: "module" });
    thread.onmessage = resolve;
    thread.onerror = (event) => reject(new Error(event.message));
    thread.postMessage(task);
  });
