/** Runs as the page holds them: several readers, each at its own pace, and whom the reins belong to. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Run } from "../dist/run.js";
import { Held } from "../dist/stops.js";

/** A worker that remembers what it is told. */
function worker() {
  const told = [];
  return { told, request: async (name, args) => (told.push([name, args]), { a: new Uint8Array([1]) }) };
}

async function* events(n, error) {
  for (let i = 1; i <= n; i++) yield i;
  if (error) throw error;
}

async function all(run) {
  const found = [];
  for await (const event of run) found.push(event);
  return found;
}

test("all readers hear everything, a slow one too", async () => {
  const run = new Run(worker(), events(4));
  const slow = run[Symbol.asyncIterator]();
  const first = await slow.next();
  assert.deepEqual(await all(run), [2, 3, 4]);
  assert.deepEqual([first.value, ...(await all({ [Symbol.asyncIterator]: () => slow }))], [1, 2, 3, 4]);
});

test("a reader that leaves does not end the run for the others; the last one does", async () => {
  let ended = false;
  const source = (async function* () {
    try {
      yield* events(9);
    } finally {
      ended = true;
    }
  })();
  const run = new Run(worker(), source);
  const stays = run[Symbol.asyncIterator]();
  await stays.next();
  for await (const _ of run) break;
  assert.ok(!ended);
  assert.equal((await stays.next()).value, 2);
  await stays.return();
  assert.ok(ended);
});

test("what went wrong is heard by every reader, after what came before it", async () => {
  const run = new Run(worker(), events(2, new Error("lost")));
  const slow = run[Symbol.asyncIterator]();
  await slow.next();
  await assert.rejects(all(run), /lost/);
  assert.equal((await slow.next()).value, 2);
  await assert.rejects(slow.next(), /lost/);
  await assert.rejects(all(run), /lost/);
});

test("the reins are those of the run that has begun last", async () => {
  const remote = worker();
  const [first, second] = [new Run(remote, events(2)), new Run(remote, events(2))];
  await first.stop();
  assert.equal(remote.told.length, 1, "a run may be stopped before its first event");
  await all(first);
  assert.deepEqual(remote.told[1], ["steer", "stop"], "once it has begun, the worker is told again: it may not have known it before");
  assert.equal((await first.checkpoint()).size, 1);
  await second[Symbol.asyncIterator]().next();
  await first.stop();
  assert.equal(remote.told.length, 3, "an old run stops nobody else's");
  await assert.rejects(first.checkpoint(), { code: "NO_MODEL" });
  await second.pause();
  assert.deepEqual(remote.told.at(-1), ["steer", "pause"]);
});

test("no piece ends between the halves of a character", () => {
  const held = new Held(["ab"]);
  assert.deepEqual(["x😀", "y", "b"].map((piece) => held.push(piece)), ["x", "😀", "y"]);
  assert.equal(held.rest(), "b");
});
