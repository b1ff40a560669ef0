/**
 * The step of `nano` in TensorFlow.js. Its wasm backend multiplies slowly where an operand is stored transposed, and the gradients
 * of a product are such products. So products here have a gradient of their own, which transposes first: several times as fast.
 */
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-core/dist/register_all_gradients.js";
import { setThreadsCount, setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import "@tensorflow/tfjs-backend-webgpu";
import { ADAM, NANO } from "./weights.js";

/** On `wasm` or `webgpu`. @param {string} device @param {number} threads */
export async function open(device, threads) {
  setWasmPaths("/tfjs-wasm/");
  setThreadsCount(threads);
  // It takes no more than half of the processors that it believes there are.
  Object.defineProperty(navigator, "hardwareConcurrency", { value: 2 * threads });
  if (!(await tf.setBackend(device))) throw new Error(`TensorFlow.js has no ${device}`);
  await tf.ready();
  return { training, product };
}

/** The last two dimensions exchanged. */
const swapped = (x) => tf.transpose(x, [...x.shape.keys()].slice(0, -2).concat([x.rank - 1, x.rank - 2]));

/** (…, M, K) by (…, K, N), of the same rank. */
const matmul = tf.customGrad((a, b, save) => {
  save([a, b]);
  const gradFunc = (dy, [a, b]) => [tf.matMul(dy, swapped(b)), tf.matMul(swapped(a), dy)];
  return { value: tf.matMul(a, b), gradFunc };
});

/** LayerNorm without a bias. (R, C) → (R, C) */
function norm(x, w) {
  const { mean, variance } = tf.moments(x, -1, true);
  return tf.mul(tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, NANO.eps))), w);
}

/** x · Φ(x). */
const gelu = (x) => tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1));

/** Causal attention; `mask` is added to the scores. (B·T, C) → (B·T, C) */
function attention(x, [b, t], inWeight, outWeight, mask) {
  const [h, d] = [NANO.nHead, x.shape[1] / NANO.nHead];
  const parts = tf.split(matmul(x, inWeight), 3, 1);
  const [q, k, v] = parts.map((part) => tf.transpose(tf.reshape(part, [b, t, h, d]), [0, 2, 1, 3])); // (B, H, T, D)
  const scores = tf.add(tf.mul(matmul(q, swapped(k)), 1 / Math.sqrt(d)), mask); // (B, H, T, T)
  const y = tf.transpose(matmul(tf.softmax(scores), v), [0, 2, 1, 3]); // (B, T, H, D)
  return matmul(tf.reshape(y, x.shape), outWeight);
}

/** Mean cross-entropy of ids and targets (B, T). Rows are chosen by products with one-hot vectors: the wasm backend cannot add gradients up by index. */
function loss(p, ids, targets, mask) {
  const at = (path) => p[path];
  const [vocab, c] = at("wte.weight").shape;
  const [b, t] = ids.shape;
  const chosen = matmul(tf.oneHot(tf.reshape(ids, [b * t]), vocab), at("wte.weight"));
  let x = tf.reshape(tf.add(tf.reshape(chosen, [b, t, c]), at("wpe.weight")), [b * t, c]);
  for (let i = 0; i < NANO.nLayer; i++) {
    const h = (path) => at(`h.${i}.${path}.weight`);
    x = tf.add(x, attention(norm(x, h("ln_1")), [b, t], h("attn.c_attn"), h("attn.c_proj"), mask));
    x = tf.add(x, matmul(gelu(matmul(norm(x, h("ln_2")), h("mlp.c_fc"))), h("mlp.c_proj")));
  }
  const logits = matmul(norm(x, at("ln_f.weight")), swapped(at("wte.weight"))); // (B·T, V)
  const right = tf.oneHot(tf.reshape(targets, [b * t]), vocab);
  return tf.neg(tf.div(tf.sum(tf.mul(tf.logSoftmax(logits), right)), b * t));
}

/** Steps from the exported weights, over and over the exported batches. */
async function training({ weights, batches, rows, positions }) {
  const variable = ([name, { data, shape }]) => [name, tf.variable(tf.tensor(data, shape))];
  const p = Object.fromEntries(Object.entries(weights).map(variable));
  const optimizer = tf.train.adam(ADAM.lr, ADAM.beta1, ADAM.beta2, ADAM.eps);
  const later = (_, i) => (i % positions > Math.floor(i / positions) ? -1e9 : 0);
  const mask = tf.tensor(Float32Array.from({ length: positions ** 2 }, later), [positions, positions]);
  let [steps, value] = [0, undefined];
  const run = () => {
    const batch = batches[steps++ % batches.length];
    value?.dispose();
    value = tf.tidy(() => {
      const [ids, targets] = batch.map((ids) => tf.tensor2d(ids, [rows, positions], "int32"));
      return optimizer.minimize(() => loss(p, ids, targets, mask), true);
    });
  };
  const last = async () => (await value.data())[0];
  // On WebGPU, work is done when the last of it has been read.
  return { run, settled: last, last };
}

/** A product of two matrices, n × n. */
function product(n) {
  const [a, b] = [tf.randomUniform([n, n]), tf.randomUniform([n, n])];
  let c;
  const run = () => {
    c?.dispose();
    c = tf.matMul(a, b);
  };
  const settled = async () => {
    const corner = tf.slice(c, [0, 0], [1, 1]);
    await corner.data();
    corner.dispose();
  };
  return { run, settled };
}
