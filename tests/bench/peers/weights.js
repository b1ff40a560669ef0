/** Reading safetensors: what `contestant export` writes, all of it f32. */

/** @typedef {{ shape: number[], data: Float32Array }} Stored */

/**
 * The tensors of a file, by name.
 * @param {ArrayBuffer} file
 * @returns {Record<string, Stored>}
 */
function parse(file) {
  const length = Number(new DataView(file).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(file, 8, length)));
  delete header.__metadata__;
  const stored = Object.entries(header).map(([name, { shape, data_offsets: [begin, end] }]) => {
    return [name, { shape, data: new Float32Array(file.slice(8 + length + begin, 8 + length + end)) }];
  });
  return Object.fromEntries(stored);
}

/** Fetches a file and parses it. @param {string} url */
async function tensors(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return parse(await response.arrayBuffer());
}

/**
 * The initial weights under names without "transformer.", and the batches.
 * @param {string} folder
 */
export async function exported(folder) {
  const stored = await tensors(`${folder}model.safetensors`);
  const named = Object.entries(stored).map(([name, tensor]) => [name.replace("transformer.", ""), tensor]);
  const { ids, targets } = await tensors(`${folder}batches.safetensors`);
  if (!ids || !targets) throw new Error("batches without ids or targets");
  const [count = 0, rows = 0, positions = 0] = ids.shape;
  const size = rows * positions;
  const batch = (/** @type {number} */ i) => [ids, targets].map(({ data }) => Int32Array.from(data.slice(i * size, (i + 1) * size)));
  return {
    weights: /** @type {Record<string, Stored>} */ (Object.fromEntries(named)),
    batches: Array.from({ length: count }, (_, i) => batch(i)),
    rows,
    positions,
  };
}

/** The model of the exported weights, as far as shapes do not tell: `nano`'s. */
export const NANO = { nLayer: 4, nHead: 4, eps: 1e-5 };

/** The optimizer of "by Adam". */
export const ADAM = { lr: 1e-3, beta1: 0.9, beta2: 0.99, eps: 1e-8 };
