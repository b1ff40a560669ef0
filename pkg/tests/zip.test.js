/** Archives: what goes in comes out, and what is damaged is named. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32, deflateRawSync } from "node:zlib";
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

/** An archive as other programs write it: compressed. */
async function deflated(bytes, { damage = (packed) => packed, size = bytes.length } = {}) {
  const archive = new Uint8Array(await zip(new Map([["text", damage(new Uint8Array(deflateRawSync(bytes)))]])).arrayBuffer());
  const view = new DataView(archive.buffer);
  const directory = view.getUint32(archive.length - 22 + 16, true);
  view.setUint16(directory + 10, 8, true);
  view.setUint32(directory + 16, crc32(bytes), true);
  view.setUint32(directory + 24, size, true);
  return new Blob([archive]);
}

test("what was compressed is read, if it is whole and as large as it says", async () => {
  const text = encoded("once there was a ".repeat(500));
  assert.deepEqual(await unzip(await deflated(text)), new Map([["text", text]]));
  const cut = { damage: (packed) => packed.subarray(0, packed.length - 5) };
  const noise = { damage: (packed) => packed.fill(255) };
  for (const change of [cut, noise, { size: text.length - 1 }, { size: text.length + 1 }, { size: 2 ** 32 - 1 }]) {
    await assert.rejects(unzip(await deflated(text, change)), { code: "CHECKPOINT", message: /^text: its checksum is wrong/ });
  }
});
