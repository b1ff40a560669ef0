// The left operand of matmul_row.wgsl after layer normalisation or root-mean-square normalisation, which each workgroup
// computes for itself: that takes less time than a dispatch. Host side: crates/tensor/src/ops/norm_row.rs.

override EPS: f32 = 1e-5;
override RMS: bool = false; // no mean is subtracted
override BIAS: bool = false; // without it, binding 5 holds w again

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>; // (Z, K / 4)
@group(0) @binding(4) var<storage, read> w: array<vec4<f32>>; // (K / 4)
@group(0) @binding(5) var<storage, read> bias: array<vec4<f32>>; // (K / 4)
@group(0) @binding(6) var<storage, read> scales: array<vec4<f32>>; // (panels, K / 32, 16), for `packed`

var<workgroup> lane_sums: array<f32, 256>;
var<workgroup> sixteenths: array<f32, 16>;

/// The sum of `v` over all threads, for each of them.
fn sum_of_all(lane: u32, v: f32) -> f32 {
    lane_sums[lane] = v;
    workgroupBarrier();
    if (lane < 16u) {
        var part = 0.0;
        for (var i = 0u; i < 256u; i += 16u) {
            part += lane_sums[i + lane];
        }
        sixteenths[lane] = part;
    }
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < 16u; i++) {
        sum += sixteenths[i];
    }
    return sum;
}

/// The mean and 1 / sqrt(variance + EPS) of row z.
fn prepare(lane: u32, z: u32) -> vec2<f32> {
    let row = z * (K / 4u);
    var mean = 0.0;
    if (!RMS) {
        var sum = 0.0;
        for (var k = lane; k < K / 4u; k += 256u) {
            sum += dot(a[row + k], vec4(1.0));
        }
        mean = sum_of_all(lane, sum) / f32(K);
    }
    var squares = 0.0;
    for (var k = lane; k < K / 4u; k += 256u) {
        let x = a[row + k] - mean;
        squares += dot(x, x);
    }
    return vec2<f32>(mean, inverseSqrt(sum_of_all(lane, squares) / f32(K) + EPS));
}

fn input(i: u32, k: u32, prepared: vec2<f32>) -> f32 {
    let x = (a[i / 4u][i % 4u] - prepared.x) * prepared.y;
    return x * w[k / 4u][k % 4u] + select(0.0, bias[k / 4u][k % 4u], BIAS);
}

fn input4(i: u32, k: u32, prepared: vec2<f32>) -> vec4<f32> {
    return (a[i] - prepared.x) * prepared.y * w[k] + select(vec4<f32>(), bias[k], BIAS);
}
