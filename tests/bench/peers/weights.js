/** What all begin with: the exported weights and batches, and the numbers that they do not tell. */

/** The model. */
export const NANO = { nLayer: 4, nHead: 4, eps: 1e-5 };

/** The optimizer of "by Adam". */
export const ADAM = { lr: 1e-3, beta1: 0.9, beta2: 0.99, eps: 1e-8 };

/**
 * The weights by their names in the model, each `{ shape, data }`, and the batches, each ids and targets one behind the other,
 * `rows` times `positions` of them.
 * @param {string} folder an address
 */
export async function exported(folder) {
  const stored = Object.entries(await tensors(`${folder}model.safetensors`));
  const weights = Object.fromEntries(stored.map(([name, tensor]) => [name.replace("transformer.", ""), tensor]));
  const { ids, targets } = await tensors(`${folder}batches.safetensors`);
  const [count, rows, positions] = ids.shape;
  const size = rows * positions;
  const part = (i) => (tensor) => Int32Array.from(tensor.data.slice(i * size, (i + 1) * size));
  const batches = Array.from({ length: count }, (_, i) => [ids, targets].map(part(i)));
  return { weights, batches, rows, positions };
}

/** The tensors of a file of safetensors that holds f32 only, by name. */
async function tensors(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  const file = await response.arrayBuffer();
  const start = 8 + Number(new DataView(file).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.slice(8, start)));
  delete header.__metadata__;
  const read = ([name, { shape, data_offsets: [begin, end] }]) => {
    return [name, { shape, data: new Float32Array(file.slice(start + begin, start + end)) }];
  };
  return Object.fromEntries(Object.entries(header).map(read));
}
