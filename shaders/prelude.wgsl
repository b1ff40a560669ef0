// Prepended to every shader of the engine; host side: crates/gpu/src/lib.rs.
//
// Binding 0 holds the values that change from run to run (learning rate, step, position, seed, ...), so that a
// recorded list of dispatches can be replayed without touching anything else. Kernels bind their own buffers
// from 1 on. Nothing here costs a kernel anything that does not call it.

@group(0) @binding(0) var<uniform> run: array<vec4<u32>, 16>; // 64 values of 32 bits

/// The k-th per-run value, k < 64.
fn run_u32(k: u32) -> u32 {
    return run[k >> 2u][k & 3u];
}

/// The k-th per-run value, read as a float.
fn run_f32(k: u32) -> f32 {
    return bitcast<f32>(run_u32(k));
}

// ---- indices ------------------------------------------------------------------------------------------------

/// The number of this workgroup in a grid made by `cloche_gpu::grid`, which folds long rows of workgroups into
/// two dimensions (a dimension ends at 65,535). The last row may be longer than needed: guard the result.
fn flat_id(workgroup_id: vec3<u32>, num_workgroups: vec3<u32>) -> u32 {
    return workgroup_id.y * num_workgroups.x + workgroup_id.x;
}

// ---- floats -------------------------------------------------------------------------------------------------

/// What a masked score is set to. Finite, because -inf minus -inf is NaN and because compilers may assume that
/// there are no infinities; far below any real score, so that its exponential is exactly zero.
const MASKED: f32 = -3.0e38;

/// False for NaN and both infinities. A test of the bits: `x != x` is optimised away by Tint and by naga.
fn is_finite_bits(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

/// True for NaN only.
fn is_nan_bits(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

/// erf(x) within 3e-7 relative. Two least-squares fits made for this file, near minimax: an odd polynomial up to
/// |x| = 1, then 1 - exp(polynomial), which reaches 1 in f32 before |x| = 4. NaN stays NaN.
fn erf(x: f32) -> f32 {
    let s = x * x;
    let near = x * (1.1283791 + s * (-0.37612626 + s * (0.11283585 + s * (-0.026853813
        + s * (0.0051883301 + s * (-0.00080102135 + s * 0.000078539219))))));
    let t = clamp(abs(x), 1.0, 4.0);
    let log_rest = -0.00034152178 + t * (-1.1270891 + t * (-0.63814485 + t * (-0.10310676
        + t * (0.021838068 + t * (-0.0029476592 + t * 0.00018637930)))));
    return select(near, sign(x) * (1.0 - exp(log_rest)), abs(x) > 1.0);
}

/// tanh(x) within 3e-7 relative, for any x. The built-in may be off by 1e-5, and on some drivers it divides
/// infinity by infinity for large |x|. An odd polynomial (own fit) up to 0.6, then 1 - 2 / (exp(2|x|) + 1).
fn safe_tanh(x: f32) -> f32 {
    let s = x * x;
    let near = x * (1.0 + s * (-0.33333284 + s * (0.13331689 + s * (-0.053768724
        + s * (0.020753685 + s * -0.0058522257)))));
    let t = clamp(abs(x), 0.6, 10.0); // tanh(10) is 1 in f32
    return select(near, sign(x) * (1.0 - 2.0 / (exp(2.0 * t) + 1.0)), abs(x) > 0.6);
}

// ---- random numbers -----------------------------------------------------------------------------------------

/// The upper half of the 64-bit product a * b, from 16-bit halves (WGSL has no wide multiplication).
fn mul_hi(a: u32, b: u32) -> u32 {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let low = a1 * b0 + ((a0 * b0) >> 16u); // cannot overflow: (2^16 - 1)^2 + 2^16 - 1 < 2^32
    let middle = a0 * b1 + (low & 0xffffu);
    return a1 * b1 + (low >> 16u) + (middle >> 16u);
}

/// Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011, https://doi.org/10.1145/2063384.2063405): four random
/// words for a counter and a key. The same bits as the engine's generator in Rust.
fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var k = key;
    for (var round = 0u; round < 10u; round++) {
        c = vec4<u32>(
            mul_hi(0xcd9e8d57u, c.z) ^ c.y ^ k.x,
            0xcd9e8d57u * c.z,
            mul_hi(0xd2511f53u, c.x) ^ c.w ^ k.y,
            0xd2511f53u * c.x,
        );
        k += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    }
    return c;
}

/// A number in [0, 1): the upper 24 bits, each value exact in f32.
fn uniform01(bits: u32) -> f32 {
    return f32(bits >> 8u) * 0x1p-24f;
}

fn square(x: f32) -> f32 {
    return x * x;
}
