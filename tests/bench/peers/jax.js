/**
 * The step of `nano` in jax-js: one function of everything that changes, compiled as a whole.
 *
 * Whatever jax-js is given it uses up; `.ref` and `tree.ref` keep an array for another use.
 */
import { defaultDevice, init, jit, nn, numpy as np, tree, valueAndGrad } from "@jax-js/jax";
import { ADAM, NANO } from "./weights.js";

/** On `wasm` or `webgpu`; threads are as many as the page may have. @param {string} device */
export async function open(device) {
  const devices = await init(device);
  if (!devices.includes(device)) throw new Error(`jax-js has no ${device}`);
  defaultDevice(device);
  return { training, product };
}

/** LayerNorm without a bias. (…, C) → (…, C) */
const norm = (x, w) => nn.standardize(x, -1, { epsilon: NANO.eps }).mul(w);

/** Causal attention. (B, T, C) → (B, T, C) */
function attention(x, inWeight, outWeight) {
  const [b, t, c] = x.shape;
  const parts = np.split(np.matmul(x, inWeight), 3, -1);
  const [q, k, v] = parts.map((part) => part.reshape([b, t, NANO.nHead, c / NANO.nHead])); // (B, T, H, D)
  const y = nn.dotProductAttention(q, k, v, { isCausal: true });
  return np.matmul(y.reshape([b, t, c]), outWeight);
}

/** Mean cross-entropy of ids and targets (B, T). */
function loss(p, ids, targets) {
  const at = (path) => p[path].ref;
  const vocab = p["wte.weight"].shape[0];
  let x = np.take(at("wte.weight"), ids, 0).add(at("wpe.weight")); // (B, T, C)
  for (let i = 0; i < NANO.nLayer; i++) {
    const h = (path) => at(`h.${i}.${path}.weight`);
    x = x.ref.add(attention(norm(x, h("ln_1")), h("attn.c_attn"), h("attn.c_proj")));
    const hidden = nn.gelu(np.matmul(norm(x.ref, h("ln_2")), h("mlp.c_fc")), { approximate: false });
    x = x.add(np.matmul(hidden, h("mlp.c_proj")));
  }
  const logits = np.matmul(norm(x, at("ln_f.weight")), at("wte.weight").transpose()); // (B, T, V)
  const right = nn.oneHot(targets.ref, vocab);
  const count = targets.size;
  [targets, p].forEach((used) => tree.dispose(used));
  return np.sum(nn.logSoftmax(logits, -1).mul(right)).div(-count);
}

/** Adam; `bias1` and `bias2` are 1 − betaᵗ. */
const step = jit((p, m, v, ids, targets, bias1, bias2) => {
  const [value, grads] = valueAndGrad(loss)(tree.ref(p), ids, targets);
  const next = { p: {}, m: {}, v: {} };
  for (const name of Object.keys(p)) {
    const g = grads[name];
    const first = m[name].mul(ADAM.beta1).add(g.ref.mul(1 - ADAM.beta1));
    const second = v[name].mul(ADAM.beta2).add(np.square(g).mul(1 - ADAM.beta2));
    const change = first.ref.div(bias1.ref).div(np.sqrt(second.ref.div(bias2.ref)).add(ADAM.eps));
    [next.p[name], next.m[name], next.v[name]] = [p[name].sub(change.mul(ADAM.lr)), first, second];
  }
  [bias1, bias2].forEach((bias) => bias.dispose());
  return [next.p, next.m, next.v, value];
});

/** Steps from the exported weights, over and over the exported batches. */
async function training({ weights, batches, rows, positions }) {
  const like = (data) => {
    const arrays = Object.entries(weights).map(([name, stored]) => [name, np.array(data(stored)).reshape(stored.shape)]);
    return Object.fromEntries(arrays);
  };
  let p = like(({ data }) => data);
  let [m, v] = [0, 0].map(() => like(({ data }) => new Float32Array(data.length)));
  let [steps, value] = [0, undefined];
  const run = () => {
    const ids = (batch) => np.array(batch, { dtype: np.int32 }).reshape([rows, positions]);
    const [x, y] = batches[steps++ % batches.length].map(ids);
    value?.dispose();
    const [bias1, bias2] = [ADAM.beta1, ADAM.beta2].map((beta) => np.array(1 - beta ** steps));
    [p, m, v, value] = step(p, m, v, x, y, bias1, bias2);
  };
  const last = async () => (await value.ref.data())[0];
  // By threads the loss is there before half of the step is done. Kernels run one after another, so what comes behind them
  // all tells their end.
  return { run, settled: () => value.ref.mul(2).data(), last };
}

/** Products of two matrices, n × n, each of the one before: what nobody asks for is never computed. */
function product(n) {
  const random = (most) => np.array(Float32Array.from({ length: n * n }, () => most * Math.random())).reshape([n, n]);
  const mean = random(2 / n); // The sum of a row is 1, or nearly: results neither grow nor vanish.
  let c = random(1);
  const multiply = jit(np.matmul);
  const run = () => {
    c = multiply(mean.ref, c);
  };
  return { run, settled: () => c.ref.data() };
}
