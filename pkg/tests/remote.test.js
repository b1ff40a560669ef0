/** Calls across a boundary, with two ends of a message channel in place of a page and a worker. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ClocheError } from "../dist/errors.js";
import { Remote, serve } from "../dist/remote.js";

/** How far the stream `count` has come in the worker, and whether it was ended from outside. */
const counted = { made: 0, ended: false };

const handlers = {
  add: async ([a, b]) => a + b,
  fail: async () => {
    throw new ClocheError("SETTINGS", "lr is -1, expected more than 0");
  },
  trap: async () => {
    throw new RangeError("unreachable");
  },
  bytes: async () => ({ a: new Uint8Array([1, 2, 3]) }),
  async *count(to, signal) {
    try {
      for (counted.made = 0; counted.made < to; counted.made++) {
        signal.throwIfAborted();
        yield counted.made;
      }
    } finally {
      counted.ended = true;
    }
  },
  async *toil(reports, _signal, report) {
    for (let i = 0; i < reports; i++) report(i);
    yield "done";
  },
  never: () => new Promise(() => {}),
};

const { port1, port2 } = new MessageChannel();
serve(port2, handlers);
const remote = new Remote(port1);
port1.start();
port2.start();
after(() => port1.close());

const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

test("a request is answered", async () => {
  assert.equal(await remote.request("add", [2, 3]), 5);
  assert.deepEqual([...(await remote.request("bytes", {})).a], [1, 2, 3]);
});

test("an error keeps its code and its text; one without a code is a crash", async () => {
  await assert.rejects(remote.request("fail", {}), { name: "ClocheError", code: "SETTINGS", message: /lr is -1/ });
  await assert.rejects(remote.request("trap", {}), { code: "ENGINE_CRASHED", message: "unreachable" });
});

test("a stream arrives whole and in order", async () => {
  const items = [];
  for await (const item of remote.stream("count", 100)) items.push(item);
  assert.deepEqual(items, Array.from({ length: 100 }, (_, i) => i));
});

test("a reader that stops reading stops the worker", async () => {
  const stream = remote.stream("count", 1e9);
  await stream.next();
  await rest(50);
  assert.ok(counted.made < 50, `${counted.made} items were made for a reader of one`);
  await stream.return();
  await rest(20);
  assert.ok(counted.ended);
});

test("what is reported leaves before the stream can yield again", async () => {
  const items = [];
  for await (const item of remote.stream("toil", 3)) items.push(item);
  assert.deepEqual(items, [0, 1, 2, "done"]);
});

test("an abort is heard at once", async () => {
  const controller = new AbortController();
  const stream = remote.stream("count", 1e9, controller.signal);
  await stream.next();
  controller.abort();
  await assert.rejects(async () => {
    for await (const _ of stream);
  }, { code: "ABORTED" });
  await assert.rejects(remote.stream("count", 1, controller.signal).next(), { code: "ABORTED" });
});

test("the worker hears of an abort also where nobody reads on", async () => {
  const controller = new AbortController();
  const stream = remote.stream("count", 1e9, controller.signal);
  await stream.next();
  counted.ended = false;
  controller.abort();
  await rest(20);
  assert.ok(counted.ended);
  await assert.rejects(stream.next(), { code: "ABORTED" });
});

test("when the worker dies, whoever waits hears it, and whoever comes later too", async () => {
  const channel = new MessageChannel();
  serve(channel.port2, handlers);
  const dying = new Remote(channel.port1);
  const waiting = assert.rejects(dying.request("never", {}), { code: "LOAD_FAILED" });
  dying.fail(new ClocheError("LOAD_FAILED", "gone"));
  await waiting;
  assert.equal((await dying.closed).code, "LOAD_FAILED");
  await assert.rejects(dying.request("add", [1, 1]), { code: "LOAD_FAILED" });
  await assert.rejects(dying.stream("count", 1).next(), { code: "LOAD_FAILED" });
  channel.port1.close();
});

test("importing touches no global: it works where there is no window and no Worker", async () => {
  const { Cloche } = await import("../dist/index.js");
  assert.equal(typeof Cloche.create, "function");
  assert.equal(typeof globalThis.window, "undefined");
});
