/** Zip archives: written without compression, since weights are noise to a compressor anyway, and read with it. */
import { ClocheError } from "./errors.js";
import type { Files } from "./tuning.js";

const SIGNATURES = { file: 0x04034b50, entry: 0x02014b50, end: 0x06054b50 };
/** UTF-8 names; everything else is the format's first version. */
const VERSION = 20;
const FLAGS = 0x0800;
/** 1 January 1980: the same model makes the same archive. */
const DATE = 0x21;

/** An archive of files. @throws `SETTINGS` where they are 4 GB or more, which the format cannot say */
export function zip(files: Files): Blob {
  const bodies: BlobPart[] = [];
  const directory: BlobPart[] = [];
  let offset = 0;
  let directorySize = 0;
  for (const [name, bytes] of files) {
    const path = new TextEncoder().encode(name);
    // version needed, flags, method, time, date, checksum, sizes, length of the name, length of extras
    const shared = fields([2, VERSION], [2, FLAGS], [2, 0], [2, 0], [2, DATE], [4, crc32(bytes)]);
    const sizes = fields([4, bytes.length], [4, bytes.length], [2, path.length], [2, 0]);
    bodies.push(fields([4, SIGNATURES.file]), shared, sizes, path, bytes);
    // ... then for the directory: comment, disk, attributes, where the file begins
    const place = fields([2, 0], [2, 0], [2, 0], [4, 0], [4, offset]);
    directory.push(fields([4, SIGNATURES.entry], [2, VERSION]), shared, sizes, place, path);
    offset += 30 + path.length + bytes.length;
    directorySize += 46 + path.length;
  }
  const size = offset + directorySize;
  if (size > 0xffffffff) throw new ClocheError("SETTINGS", `archive: found ${size} bytes, expected less than 4 GB: take the files one by one`);
  const counts = fields([4, SIGNATURES.end], [2, 0], [2, 0], [2, files.size], [2, files.size]);
  const end = fields([4, directorySize], [4, offset], [2, 0]);
  return new Blob([...bodies, ...directory, counts, end], { type: "application/zip" });
}

/** Methods of compression that are read. */
const METHODS = { stored: 0, deflated: 8 };
/** The record at the end, without its comment. */
const END_SIZE = 22;

/**
 * The files of an archive, or those of a folder that are given one by one, without the folders that all of them lie in.
 *
 * @throws `CHECKPOINT` where a file is no archive, or a damaged one
 */
export async function unpackedFolder(files: Files | Blob): Promise<Files> {
  return withoutFolder(files instanceof Blob ? await unzip(files) : files);
}

/** The files of an archive. */
export async function unzip(archive: Blob): Promise<Files> {
  const bytes = new Uint8Array(await archive.arrayBuffer());
  const view = new DataView(bytes.buffer);
  const files: Files = new Map();
  let packed = 0;
  let at = view.getUint32(endOf(view) + 16, true);
  for (let left = view.getUint16(endOf(view) + 10, true); left > 0; left--) {
    if (at + 46 > bytes.length || view.getUint32(at, true) !== SIGNATURES.entry) throw damaged();
    const method = view.getUint16(at + 10, true);
    const [checksum, packedSize, size] = [16, 20, 24].map((field) => view.getUint32(at + field, true)) as [
      number,
      number,
      number,
    ];
    const [nameLength, extra, comment] = [28, 30, 32].map((field) => view.getUint16(at + field, true)) as [
      number,
      number,
      number,
    ];
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
    const local = view.getUint32(at + 42, true);
    // Files that lie in one another would be more than the archive.
    packed += packedSize;
    if (local + 30 > bytes.length || packed > bytes.length) throw damaged();
    const from = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    if (!name.endsWith("/"))
      files.set(name, await unpacked(bytes.subarray(from, from + packedSize), { name, method, checksum, size }));
    at += 46 + nameLength + extra + comment;
  }
  return files;
}

/** Where the record at the end begins. */
function endOf(view: DataView): number {
  for (let at = view.byteLength - END_SIZE; at >= Math.max(0, view.byteLength - END_SIZE - 0xffff); at--) {
    if (view.getUint32(at, true) === SIGNATURES.end) return at;
  }
  throw new ClocheError("CHECKPOINT", "not a zip archive: there is no directory at its end");
}

async function unpacked(
  packed: Uint8Array<ArrayBuffer>,
  { name, method, checksum, size }: { name: string; method: number; checksum: number; size: number },
): Promise<Uint8Array<ArrayBuffer>> {
  if (method !== METHODS.stored && method !== METHODS.deflated) {
    throw new ClocheError("CHECKPOINT", `${name}: compressed by method ${method}, expected 0 or 8`);
  }
  const bytes = method === METHODS.stored ? packed.slice() : await inflated(packed, size);
  if (!bytes || crc32(bytes) !== checksum)
    throw new ClocheError("CHECKPOINT", `${name}: its checksum is wrong, the archive is damaged`);
  return bytes;
}

/** Deflate packs no more than so many bytes into one. */
const MOST_PACKED = 1032;

/** What was deflated, if it is of the size that the directory says. */
async function inflated(packed: Uint8Array<ArrayBuffer>, size: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
  if (size > MOST_PACKED * packed.length) return undefined;
  const bytes = new Uint8Array(size);
  const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  let at = 0;
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return at === size ? bytes : undefined;
      if (at + value.length > size) return undefined;
      bytes.set(value, at);
      at += value.length;
    }
  } catch {
    return undefined;
  } finally {
    void reader.cancel().catch(() => {});
  }
}

function damaged(): ClocheError {
  return new ClocheError("CHECKPOINT", "the zip archive is damaged: its directory does not fit it");
}

/** Folders are often packed with themselves around their files; a checkpoint has other models' configurations further within. */
function withoutFolder(files: Files): Files {
  const configs = [...files.keys()].filter((name) => name.split("/").at(-1) === "config.json");
  const [config = ""] = configs.sort((a, b) => a.length - b.length);
  const folder = config.slice(0, -"config.json".length);
  return new Map(
    [...files].flatMap(([name, bytes]) => (name.startsWith(folder) ? [[name.slice(folder.length), bytes]] : [])),
  );
}

/** Little-endian fields of the given widths. */
function fields(...values: [width: 2 | 4, value: number][]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(values.reduce((sum, [width]) => sum + width, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [width, value] of values) {
    if (width === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += width;
  }
  return bytes;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1;
  return crc;
});

/** The checksum of the zip format; of the ASCII text "123456789" it is 0xcbf43926. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  return ~crc >>> 0;
}
