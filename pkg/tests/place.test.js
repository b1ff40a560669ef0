import assert from "node:assert/strict";
import { test } from "node:test";
import { Place } from "../dist/place.js";

test("a run is refused while another goes on, and waits for one that was given up", async () => {
  const place = new Place();
  const [first, second] = [new AbortController(), new AbortController()];
  const leave = await place.take(first.signal);
  assert.ok(place.isTaken);
  assert.throws(() => place.expectFree(), { code: "BUSY" });
  await assert.rejects(place.take(second.signal), { code: "BUSY" });
  first.abort();
  /** @type {string[]} */
  const heard = [];
  const waiting = place.take(second.signal).then((leave) => {
    heard.push("second");
    return leave;
  });
  // Of two that wait, the one that asked first has it.
  const late = place.take(undefined).catch((error) => heard.push(error.code));
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(heard, [], "it is still at its step");
  leave();
  const leaveSecond = await waiting;
  await late;
  assert.deepEqual(heard, ["second", "BUSY"]);
  leaveSecond();
  assert.ok(!place.isTaken);
  (await place.take(undefined))();
});
