/** Archives: what goes in comes out, and what is damaged is named. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { unpackedFolder, unzip, zip } from "../dist/zip.js";

const encoded = (text) => new TextEncoder().encode(text);
const files = new Map([
  ["config.json", encoded("{}")],
  ["weights/ä.bin", Uint8Array.from({ length: 3000 }, (_, at) => at % 251)],
  ["empty.txt", new Uint8Array()],
]);

test("what goes into an archive comes out", async () => {
  const archive = zip(files);
  assert.equal(archive.type, "application/zip");
  assert.deepEqual(await unzip(archive), files);
});

test("a folder around the files is left out, and one of a checkpoint stays", async () => {
  const packed = new Map([
    ["run/base/config.json", encoded("1")],
    ["run/config.json", encoded("2")],
    ["elsewhere.txt", encoded("3")],
  ]);
  const expected = new Map([
    ["base/config.json", encoded("1")],
    ["config.json", encoded("2")],
  ]);
  assert.deepEqual(await unpackedFolder(zip(packed)), expected);
  assert.deepEqual(await unpackedFolder(packed), expected);
});

test("what is damaged, or no archive, is named", async () => {
  const bytes = new Uint8Array(await zip(files).arrayBuffer());
  bytes[100] ^= 1;
  await assert.rejects(unzip(new Blob([bytes])), { code: "CHECKPOINT", message: /^weights\/ä\.bin: its checksum is wrong/ });
  await assert.rejects(unzip(new Blob(["<!doctype html>"])), { code: "CHECKPOINT", message: /^not a zip archive/ });
});
