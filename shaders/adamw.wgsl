// AdamW (Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101), in PyTorch's order, with g = clip scale * gradient:
//   p -= lr * WEIGHT_DECAY * decay * p,  m += (1 - beta1) * (g - m),  v = beta2 * v + (1 - beta2) * g^2,
//   p -= lr / bias1 * m / (sqrt(v) / sqrt(bias2) + eps), both sides of the fraction times sqrt(bias2).
// Host side: crates/tensor/src/ops/adamw.rs. Dispatch: a thread for four elements. Nothing changes when stats[2] is not 0.

override N4: u32 = 1u; // elements / 4
override LR: u32 = 0u; // places in the uniform block
override BIAS1: u32 = 1u;
override BIAS2: u32 = 2u;
override KEEP1: f32 = 0.1; // 1 - beta1
override BETA2: f32 = 0.999;
override KEEP2: f32 = 0.001; // 1 - beta2
override EPS: f32 = 1e-8;
override WEIGHT_DECAY: f32 = 0.0;

@group(0) @binding(1) var<storage, read> grads: array<vec4<f32>>; // (N)
@group(0) @binding(2) var<storage, read> stats: array<f32>; // (4): norm, clip scale, 1 if not finite, 0
@group(0) @binding(3) var<storage, read> decay: array<f32>; // (N / 64)
@group(0) @binding(4) var<storage, read_write> params: array<vec4<f32>>; // (N)
@group(0) @binding(5) var<storage, read_write> first: array<vec4<f32>>; // m (N)
@group(0) @binding(6) var<storage, read_write> second: array<vec4<f32>>; // v (N)

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_id(workgroup, grid) * 64u + local;
    if (i >= N4 || stats[2] != 0.0) {
        return;
    }
    let lr = run_f32(LR);
    let g = grads[i] * stats[1];
    let m = first[i] + KEEP1 * (g - first[i]);
    let v = BETA2 * second[i] + KEEP2 * g * g;
    let p = params[i] * (1.0 - lr * WEIGHT_DECAY * decay[i / 16u]);
    first[i] = m;
    second[i] = v;
    let root = sqrt(run_f32(BIAS2));
    params[i] = p - lr / run_f32(BIAS1) * root * m / (sqrt(v) + EPS * root);
}
