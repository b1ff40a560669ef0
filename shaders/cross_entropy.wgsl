// losses[r] = lse[r] - logits[r, targets[r]] in nats, where lse[r] = log(sum over v of exp(logits[r, v])); 0 where the
// target is IGNORE or beyond V. Backward: dlogits[r, v] = (exp(logits[r, v] - lse[r]) - [v = targets[r]]) * dloss[r].
// Host side: crates/tensor/src/ops/cross_entropy.rs. Dispatch: `forward_gpu` shares a row among LANES threads of a workgroup
// of 256, `forward_software` gives each row a thread; `backward` gives each element a thread.

override R: u32 = 1u; // rows
override V: u32 = 1u; // logits of a row
override IGNORE: u32 = 0xffffffffu;
override LANES: u32 = 64u; // threads of one row: 64 or 256

@group(0) @binding(1) var<storage, read> logits: array<f32>; // (R, V)
@group(0) @binding(2) var<storage, read> targets: array<u32>; // (R)

@group(0) @binding(3) var<storage, read_write> losses: array<f32>; // (R)
@group(0) @binding(4) var<storage, read_write> new_lse: array<f32>; // (R)

@group(0) @binding(3) var<storage, read> lse: array<f32>; // (R)
@group(0) @binding(4) var<storage, read> dloss: array<f32>; // (R)
@group(0) @binding(5) var<storage, read_write> dlogits: array<f32>; // (R, V)

/// A part of a row: its maximum, and the sum of exp(logit - maximum).
var<workgroup> parts: array<vec2<f32>, 256>;

fn counts(t: u32) -> bool {
    return t != IGNORE && t < V;
}

fn finish(row: u32, part: vec2<f32>) {
    let total = part.x + log(part.y);
    new_lse[row] = total;
    let t = targets[row];
    losses[row] = select(0.0, total - logits[row * V + min(t, V - 1u)], counts(t));
}

/// The part that two parts make together.
fn merge(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    let maximum = max(a.x, b.x);
    return vec2<f32>(maximum, a.y * exp(a.x - maximum) + b.y * exp(b.x - maximum));
}

@compute @workgroup_size(256)
fn forward_gpu(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    // 1. One pass over the row (Milakov & Gimelshein 2018, https://arxiv.org/abs/1805.02867). Threads beyond the last
    //    row take part in the barriers, on the last row, and store nothing.
    let own = flat_id(workgroup, grid) * (256u / LANES) + local / LANES;
    let row = min(own, R - 1u);
    let lane = local % LANES;
    var part = vec2<f32>(MASKED, 0.0);
    for (var v = lane; v < V; v += LANES) {
        part = merge(part, vec2<f32>(logits[row * V + v], 1.0));
    }
    // 2. A tree over the threads of the row.
    parts[local] = part;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) {
            parts[local] = merge(parts[local], parts[local + half]);
        }
    }
    if (own < R && lane == 0u) {
        finish(row, parts[local]);
    }
}

@compute @workgroup_size(32)
fn forward_software(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = flat_id(workgroup, grid) * 32u + local;
    if (row >= R) {
        return;
    }
    var maximum = MASKED;
    for (var v = 0u; v < V; v++) {
        maximum = max(maximum, logits[row * V + v]);
    }
    // Blocks first, so that the rounding error of a long row stays small.
    var sum = 0.0;
    for (var first = 0u; first < V; first += 64u) {
        var block = 0.0;
        for (var v = first; v < min(first + 64u, V); v++) {
            block += exp(logits[row * V + v] - maximum);
        }
        sum += block;
    }
    finish(row, vec2<f32>(maximum, sum));
}

@compute @workgroup_size(256)
fn backward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_id(workgroup, grid) * 256u + local;
    if (i >= R * V) {
        return;
    }
    let row = i / V;
    let t = targets[row];
    let hit = select(0.0, 1.0, t == i % V);
    let d = (exp(logits[i] - lse[row]) - hit) * dloss[row];
    dlogits[i] = epilogue(i, select(0.0, d, counts(t)));
}
