// stats = (norm, scale, bad, 0): norm = sqrt(sum of g^2), scale = min(1, MAX_NORM / (norm + 1e-6)), bad = 1 if the gradient
// holds a NaN or an infinity (or the norm overflows), and scale = 0 then.
// Host side: crates/tensor/src/ops/grad_norm.rs. Dispatch: `partials_*` leaves P pairs (sum of squares, count of bad
// elements), by a workgroup each on GPUs, by a thread each on CPU adapters; `finish` adds them up in one workgroup.

override N: u32 = 1u; // elements
override P: u32 = 1u; // partial sums
override MAX_NORM: f32 = 0.0; // 0: no clipping

@group(0) @binding(1) var<storage, read> grads: array<f32>; // (N)
@group(0) @binding(2) var<storage, read_write> partials: array<vec2<f32>>; // (P)

@group(0) @binding(1) var<storage, read_write> pairs: array<vec2<f32>>; // (P)
@group(0) @binding(2) var<storage, read_write> stats: array<f32>; // (4)

var<workgroup> sums: array<vec2<f32>, 256>;

fn term(i: u32) -> vec2<f32> {
    let g = grads[i];
    return vec2<f32>(g * g, select(1.0, 0.0, is_finite_bits(g)));
}

/// Adds up `sums` into its first element, as a tree.
fn tree(local: u32) {
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            sums[local] += sums[local + half];
        }
    }
}

@compute @workgroup_size(256)
fn partials_gpu(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    var sum = vec2<f32>(0.0);
    for (var i = workgroup.x * 256u + local; i < N; i += P * 256u) {
        sum += term(i);
    }
    sums[local] = sum;
    tree(local);
    if (local == 0u) {
        partials[workgroup.x] = sums[0];
    }
}

@compute @workgroup_size(16)
fn partials_software(@builtin(global_invocation_id) thread: vec3<u32>) {
    let p = thread.x;
    if (p >= P) {
        return;
    }
    // Blocks first, so that the rounding error of a long sum stays small.
    var sum = vec2<f32>(0.0);
    for (var first = p; first < N; first += P * 64u) {
        var block = vec2<f32>(0.0);
        for (var i = first; i < min(first + P * 64u, N); i += P) {
            block += term(i);
        }
        sum += block;
    }
    partials[p] = sum;
}

@compute @workgroup_size(256)
fn finish(@builtin(local_invocation_index) local: u32) {
    var sum = vec2<f32>(0.0);
    for (var p = local; p < P; p += 256u) {
        sum += pairs[p];
    }
    sums[local] = sum;
    tree(local);
    if (local == 0u) {
        let bad = sums[0].y > 0.0 || !is_finite_bits(sums[0].x);
        let norm = sqrt(sums[0].x);
        var scale = 1.0;
        if (MAX_NORM > 0.0) {
            scale = min(1.0, MAX_NORM / (norm + 1e-6));
        }
        stats[0] = norm;
        stats[1] = select(scale, 0.0, bad);
        stats[2] = select(0.0, 1.0, bad);
        stats[3] = 0.0;
    }
}
