/** Has the page start a new thread for a task, as the product does; resolves when it begins. @param {object} task */
export const start = (task) =>
  new Promise((resolve, reject) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = ({ data }) => (data === "begun" ? resolve(data) : reject(new Error(data)));
    self.postMessage({ task, answer: port2 }, { transfer: [port2] });
  });
