/** The package's worker, which tells how long each submission kept the graphics device, once `{ ask: true }` wants to know. */
// @ts-ignore: the server has it there
import "/pkg/worker.js";

/** In milliseconds, in the order in which they ended. @type {number[]} */
let taken = [];
/** When the device was done with what it had been given before. */
let free = 0;

const { submit } = GPUQueue.prototype;
GPUQueue.prototype.submit = function (commands) {
  const submitted = performance.now();
  submit.call(this, commands);
  // Empty ones hurry a browser along.
  if ([...commands].length === 0) return;
  this.onSubmittedWorkDone().then(() => {
    const now = performance.now();
    taken.push(now - Math.max(submitted, free));
    free = now;
  });
};

const clock = new BroadcastChannel("clock");
clock.onmessage = ({ data }) => {
  if (data.ask) clock.postMessage(taken);
  taken = [];
};
