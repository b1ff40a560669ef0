/** A zip archive without compression: weights are noise to a compressor anyway. */

const SIGNATURES = { file: 0x04034b50, entry: 0x02014b50, end: 0x06054b50 };
/** UTF-8 names; everything else is the format's first version. */
const VERSION = 20;
const FLAGS = 0x0800;
/** 1 January 1980: the same model makes the same archive. */
const DATE = 0x21;

/** The archive's parts in order, ready for a `Blob`. All files together must stay below 4 GB. */
export function zip(files: Map<string, Uint8Array<ArrayBuffer>>): BlobPart[] {
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
  const counts = fields([4, SIGNATURES.end], [2, 0], [2, 0], [2, files.size], [2, files.size]);
  return [...bodies, ...directory, counts, fields([4, directorySize], [4, offset], [2, 0])];
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
export function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  return ~crc >>> 0;
}
