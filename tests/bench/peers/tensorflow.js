/**
 * The step of `nano` in TensorFlow.js. Its wasm backend multiplies slowly where an operand is stored transposed, and gradients of
 * a product are such products; so products here have a gradient of their own, which transposes first: five times as fast.
 */
import * as tf from "@tensorflow/tfjs-core";
import { setThreadsCount, setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import "@tensorflow/tfjs-backend-webgpu";
import "@tensorflow/tfjs-core/dist/public/chained_ops/register_all_chained_ops.js";
import { ADAM, NANO } from "./weights.js";

/** @typedef {import("@tensorflow/tfjs-core").Tensor} Tensor */

/** `wasm` or `webgpu`. @param {"wasm" | "webgpu"} device @param {number} [threads] */
export async function open(device, threads) {
  setWasmPaths("/tfjs-wasm/");
  if (threads) setThreadsCount(threads);
  if (!(await tf.setBackend(device))) throw new Error(`TensorFlow.js has no ${device}`);
  await tf.ready();
  return { training, product };
}

/** The last two dimensions exchanged. @param {Tensor} x */
const swapped = (x) => tf.transpose(x, [...x.shape.keys()].slice(0, -2).concat([x.rank - 1, x.rank - 2]));

/** (…, M, K) by (…, K, N), of the same rank. */
const matmul = tf.customGrad((/** @type {any} */ a, /** @type {any} */ b, /** @type {any} */ save) => {
  save([a, b]);
  return {
    value: tf.matMul(a, b),
    gradFunc: (/** @type {any} */ dy, /** @type {any} */ [a, b]) => [tf.matMul(dy, swapped(b)), tf.matMul(swapped(a), dy)],
  };
});

/** LayerNorm without a bias. (R, C) → (R, C) @param {Tensor} x @param {Tensor} w */
function norm(x, w) {
  const { mean, variance } = tf.moments(x, -1, true);
  return tf.mul(tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, NANO.eps))), w);
}

/** x · Φ(x). @param {Tensor} x */
const gelu = (x) => tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1));

/** Mean cross-entropy. @param {Record<string, Tensor>} p @param {Tensor} ids @param {Tensor} targets @param {Tensor} mask */
function loss(p, ids, targets, mask) {
  const at = (/** @type {string} */ path) => /** @type {Tensor} */ (p[path]);
  const [vocab = 0, c = 0] = at("wte.weight").shape;
  const [b = 0, t = 0] = ids.shape;
  const [h, d] = [NANO.nHead, c / NANO.nHead];
  const hot = tf.oneHot(tf.cast(tf.reshape(ids, [b * t]), "int32"), vocab);
  let x = tf.reshape(tf.add(tf.reshape(matmul(hot, at("wte.weight")), [b, t, c]), at("wpe.weight")), [b * t, c]);
  for (let i = 0; i < NANO.nLayer; i++) {
    const qkv = matmul(norm(x, at(`h.${i}.ln_1.weight`)), at(`h.${i}.attn.c_attn.weight`)); // (B·T, 3·C)
    const heads = tf.split(qkv, 3, 1).map((part) => tf.transpose(tf.reshape(part, [b, t, h, d]), [0, 2, 1, 3])); // (B, H, T, D)
    const [q, k, v] = /** @type {[Tensor, Tensor, Tensor]} */ (heads);
    const scores = tf.add(tf.mul(matmul(q, swapped(k)), 1 / Math.sqrt(d)), mask); // (B, H, T, T)
    const y = tf.reshape(tf.transpose(matmul(tf.softmax(scores), v), [0, 2, 1, 3]), [b * t, c]);
    x = tf.add(x, matmul(y, at(`h.${i}.attn.c_proj.weight`)));
    const hidden = gelu(matmul(norm(x, at(`h.${i}.ln_2.weight`)), at(`h.${i}.mlp.c_fc.weight`)));
    x = tf.add(x, matmul(hidden, at(`h.${i}.mlp.c_proj.weight`)));
  }
  const logits = matmul(norm(x, at("ln_f.weight")), swapped(at("wte.weight"))); // (B·T, V)
  const right = tf.oneHot(tf.cast(tf.reshape(targets, [b * t]), "int32"), vocab);
  return /** @type {import("@tensorflow/tfjs-core").Scalar} */ (tf.neg(tf.div(tf.sum(tf.mul(tf.logSoftmax(logits), right)), b * t)));
}

/** @param {Awaited<ReturnType<typeof import("./weights.js").exported>>} from */
async function training({ weights, batches, rows, positions }) {
  const p = Object.fromEntries(Object.entries(weights).map(([name, { data, shape }]) => [name, tf.variable(tf.tensor(data, shape), true, name)]));
  const optimizer = tf.train.adam(ADAM.lr, ADAM.beta1, ADAM.beta2, ADAM.eps);
  const above = Float32Array.from({ length: positions ** 2 }, (_, i) => (i % positions > Math.floor(i / positions) ? -1e9 : 0));
  const mask = tf.tensor(above, [positions, positions]);
  let [steps, value] = [0, /** @type {Tensor | null} */ (null)];
  const run = () => {
    const [ids, targets] = /** @type {Int32Array[]} */ (batches[steps++ % batches.length]);
    value?.dispose();
    value = tf.tidy(() => {
      const [x, y] = [ids, targets].map((batch) => tf.tensor2d(/** @type {Int32Array} */ (batch), [rows, positions], "int32"));
      return optimizer.minimize(() => loss(p, /** @type {Tensor} */ (x), /** @type {Tensor} */ (y), mask), true);
    });
  };
  const last = async () => Number((await /** @type {Tensor} */ (value).data())[0]);
  // On WebGPU, work is done when the last of it has been read.
  return { run, settled: async () => void (await last()), last };
}

/** A product of two matrices, n × n. @param {number} n */
function product(n) {
  const [a, b] = [tf.randomUniform([n, n]), tf.randomUniform([n, n])];
  /** @type {Tensor | undefined} */
  let c;
  const run = () => {
    c?.dispose();
    c = tf.matMul(a, b);
  };
  return { run, settled: async () => void (await tf.tidy(() => tf.slice(/** @type {Tensor} */ (c), [0, 0], [1, 1])).data()) };
}
