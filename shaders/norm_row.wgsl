// The left operand of matmul_row.wgsl after layer normalisation or root-mean-square normalisation, which each workgroup
// computes for itself: that takes less time than a dispatch. Host side: crates/tensor/src/ops/norm_row.rs.

override EPS: f32 = 1e-5;
override RMS: bool = false; // no mean is subtracted
override BIAS: bool = false; // without it, binding 5 holds w again

@group(0) @binding(4) var<storage, read> w: array<f32>; // (K)
@group(0) @binding(5) var<storage, read> bias: array<f32>; // (K)

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

/// The mean and 1 / sqrt(variance + EPS).
fn prepare(lane: u32) -> vec2<f32> {
    var mean = 0.0;
    if (!RMS) {
        var sum = 0.0;
        for (var k = lane; k < K; k += 256u) {
            sum += a[A0 + k];
        }
        mean = sum_of_all(lane, sum) / f32(K);
    }
    var squares = 0.0;
    for (var k = lane; k < K; k += 256u) {
        squares += square(a[A0 + k] - mean);
    }
    return vec2<f32>(mean, inverseSqrt(sum_of_all(lane, squares) / f32(K) + EPS));
}

fn input(i: u32, k: u32, prepared: vec2<f32>) -> f32 {
    return (a[i] - prepared.x) * prepared.y * w[k] + select(0.0, bias[k], BIAS);
}
