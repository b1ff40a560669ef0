/** Threads that the page starts for the engine's worker, with workers that are made up. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Crew } from "../dist/crew.js";

/** Those that have been started. */
const workers = [];

class Worker {
  isOver = false;
  constructor(script, { type }) {
    if (script === "nowhere") throw new TypeError("no such script");
    Object.assign(this, { script, type });
    workers.push(this);
  }
  postMessage(message) {
    this.heard = message;
  }
  terminate() {
    this.isOver = true;
  }
}
Object.assign(globalThis, { Worker });

/** What the worker that asks is told. */
const wanted = (script) => {
  const told = [];
  return { told, wanted: { task: 7, script, type: "module", answer: { postMessage: (answer) => told.push(answer) } } };
};

test("a thread gets its task, and who wants it is told that it has begun, or why it cannot", () => {
  const crew = new Crew();
  const [one, other, none] = [wanted("a.js"), wanted("a.js"), wanted("nowhere")];
  for (const { wanted } of [one, other, none]) crew.start(wanted);
  assert.deepEqual(workers.map(({ script, type, heard }) => [script, type, heard]), Array(2).fill(["a.js", "module", { task: 7 }]));
  workers[0].onmessage();
  workers[1].onerror({ message: "not found", preventDefault() {} });
  assert.deepEqual([one.told, other.told, none.told], [[{}], [{ failed: "not found" }], [{ failed: "TypeError: no such script" }]]);
});

test("all end together, and nothing begins after that", () => {
  const crew = new Crew();
  workers.length = 0;
  crew.start(wanted("a.js").wanted);
  crew.terminate();
  crew.start(wanted("a.js").wanted);
  assert.deepEqual(workers.map(({ isOver }) => isOver), [true]);
});
