/** The step of `nano` in jax-js: one function, differentiated and compiled as a whole. */
import { blockUntilReady, defaultDevice, init, jit, nn, numpy as np, tree, valueAndGrad } from "@jax-js/jax";
import { ADAM, NANO } from "./weights.js";

/**
 * @typedef {import("@jax-js/jax").Array} Array
 * @typedef {Record<string, Array>} Params
 */

/** `wasm` or `webgpu`. @param {"wasm" | "webgpu"} device */
export async function open(device) {
  const devices = await init(device);
  if (!devices.includes(device)) throw new Error(`jax-js has no ${device}`);
  defaultDevice(device);
  return { training, product };
}

/** LayerNorm without a bias. @param {Array} x @param {Array} w */
const norm = (x, w) => nn.standardize(x, -1, { epsilon: NANO.eps }).mul(w);

/** The parameter at a path; everything in jax-js uses up what it is given, so a reference is taken. @param {Params} p @param {string} path */
const at = (p, path) => /** @type {Array} */ (p[path]).ref;

/** Causal attention. (B, T, C) → (B, T, C) @param {Array} x @param {Params} p @param {string} layer */
function attention(x, p, layer) {
  const [b = 0, t = 0, c = 0] = x.shape;
  const [q, k, v] = np
    .split(np.matmul(x, at(p, `${layer}.attn.c_attn.weight`)), 3, -1)
    .map((part) => part.reshape([b, t, NANO.nHead, c / NANO.nHead])); // (B, T, H, D)
  const y = nn.dotProductAttention(/** @type {Array} */ (q), /** @type {Array} */ (k), /** @type {Array} */ (v), { isCausal: true });
  return np.matmul(y.reshape([b, t, c]), at(p, `${layer}.attn.c_proj.weight`));
}

/** @param {Array} x @param {Params} p @param {string} layer */
function feedForward(x, p, layer) {
  const hidden = nn.gelu(np.matmul(x, at(p, `${layer}.mlp.c_fc.weight`)), { approximate: false });
  return np.matmul(hidden, at(p, `${layer}.mlp.c_proj.weight`));
}

/** Mean cross-entropy. Rows are chosen by products with one-hot vectors, since indexing has no gradient. @param {Params} p @param {Array} ids @param {Array} targets */
function loss(p, ids, targets) {
  const vocab = /** @type {Array} */ (p["wte.weight"]).shape[0] ?? 0;
  let x = np.matmul(nn.oneHot(ids, vocab), at(p, "wte.weight")).add(at(p, "wpe.weight")); // (B, T, C)
  for (let i = 0; i < NANO.nLayer; i++) {
    x = x.ref.add(attention(norm(x, at(p, `h.${i}.ln_1.weight`)), p, `h.${i}`));
    x = x.ref.add(feedForward(norm(x, at(p, `h.${i}.ln_2.weight`)), p, `h.${i}`));
  }
  const logits = np.matmul(norm(x, at(p, "ln_f.weight")), at(p, "wte.weight").transpose()); // (B, T, V)
  const logProbs = nn.logSoftmax(logits, -1);
  const count = targets.size;
  tree.dispose(p);
  return np.sum(logProbs.mul(nn.oneHot(targets, vocab))).div(-count);
}

/** Adam's step; `bias1` and `bias2` are 1 − betaᵗ. */
const step = jit((/** @type {Params} */ p, /** @type {Params} */ m, /** @type {Params} */ v, /** @type {Array} */ ids, /** @type {Array} */ targets, /** @type {Array} */ bias1, /** @type {Array} */ bias2) => {
  const [value, grads] = /** @type {[Array, Params]} */ (/** @type {unknown} */ (valueAndGrad(loss)(tree.ref(p), ids, targets)));
  /** @type {[Params, Params, Params]} */
  const next = [{}, {}, {}];
  for (const name of Object.keys(p)) {
    const [w, g, old1, old2] = /** @type {[Array, Array, Array, Array]} */ ([p[name], grads[name], m[name], v[name]]);
    const first = old1.mul(ADAM.beta1).add(g.ref.mul(1 - ADAM.beta1));
    const second = old2.mul(ADAM.beta2).add(np.square(g).mul(1 - ADAM.beta2));
    const change = first.ref.div(bias1.ref).div(np.sqrt(second.ref.div(bias2.ref)).add(ADAM.eps));
    [next[0][name], next[1][name], next[2][name]] = [w.sub(change.mul(ADAM.lr)), first, second];
  }
  bias1.dispose();
  bias2.dispose();
  return [...next, value];
});

/** @param {Awaited<ReturnType<typeof import("./weights.js").exported>>} from */
async function training({ weights, batches, rows, positions }) {
  const filled = (/** @type {(stored: import("./weights.js").Stored) => Float32Array} */ data) =>
    Object.fromEntries(Object.entries(weights).map(([name, stored]) => [name, np.array(/** @type {any} */ (data(stored))).reshape(stored.shape)]));
  let [p, m, v] = [filled(({ data }) => data), filled(({ data }) => new Float32Array(data.length)), filled(({ data }) => new Float32Array(data.length))];
  let [steps, value] = [0, /** @type {Array | undefined} */ (undefined)];
  const run = () => {
    const [ids, targets] = /** @type {Int32Array[]} */ (batches[steps++ % batches.length]).map((batch) =>
      np.array(/** @type {any} */ (batch), { dtype: np.int32 }).reshape([rows, positions]));
    value?.dispose();
    const bias = (/** @type {number} */ beta) => np.array(1 - beta ** steps);
    [p, m, v, value] = /** @type {any} */ (step)(p, m, v, ids, targets, bias(ADAM.beta1), bias(ADAM.beta2));
  };
  const settled = async () => void (await blockUntilReady(/** @type {Array} */ (value).ref));
  const last = async () => Number((await /** @type {Array} */ (value).ref.data())[0]);
  return { run, settled, last };
}

/** A product of two matrices, n × n. @param {number} n */
function product(n) {
  const random = () => np.array(/** @type {any} */ (Float32Array.from({ length: n * n }, () => Math.random()))).reshape([n, n]);
  const [a, b] = [random(), random()];
  const multiply = jit(np.matmul);
  /** @type {Array | undefined} */
  let c;
  const run = () => {
    c?.dispose();
    c = multiply(a.ref, b.ref);
  };
  return { run, settled: async () => void (await blockUntilReady(/** @type {Array} */ (c).ref)) };
}
