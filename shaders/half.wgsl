// h = x in half precision (IEEE 754 binary16), two numbers in a u32, the first in the lower half; and back. Rounded to the
// nearest, of two equally near ones to the even one, by operations on integers: pack2x16float may round either way.
// Beyond 65504 the largest finite number; infinities and NaN stay what they are.
// Host side: crates/tensor/src/ops/half.rs. Dispatch: a thread for each pair.

override N: u32 = 1u; // numbers

@group(0) @binding(1) var<storage, read> x: array<f32>; // (N)
@group(0) @binding(2) var<storage, read_write> h: array<u32>; // (ceil(N / 2))
@group(0) @binding(1) var<storage, read> packed: array<u32>; // (ceil(N / 2))
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (N)

const INFINITY: u32 = 0x7f800000u;
const REBIAS: u32 = 0x38000000u; // 112 in the exponent: 127 of f32 less 15 of f16

fn narrowed(number: f32) -> u32 {
    let bits = bitcast<u32>(number);
    let sign = (bits >> 16u) & 0x8000u;
    let size = bits & 0x7fffffffu;
    if (size >= INFINITY) {
        return sign | select(0x7c00u, 0x7e00u, size > INFINITY);
    }
    // Below 2^-14 halves have no leading one: the mantissa moves further, and beyond 24 places nothing is left of it.
    let small = size < REBIAS + 0x800000u;
    let mantissa = select(size - REBIAS, (size & 0x7fffffu) | 0x800000u, small);
    let shift = select(13u, min(126u - (size >> 23u), 25u), small);
    let up = (1u << (shift - 1u)) - 1u + ((mantissa >> shift) & 1u);
    return sign | min((mantissa + up) >> shift, 0x7bffu);
}

fn widened(half: u32) -> f32 {
    let sign = (half & 0x8000u) << 16u;
    let size = half & 0x7fffu;
    let normal = (size << 13u) + select(REBIAS, 2u * REBIAS, size >= 0x7c00u);
    let small = bitcast<u32>(f32(size) * 0x1p-24f);
    return bitcast<f32>(sign | select(normal, small, size < 0x400u));
}

@compute @workgroup_size(64)
fn pack(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_id(workgroup, grid) * 64u + local;
    if (i >= (N + 1u) / 2u) {
        return;
    }
    var pair = narrowed(x[2u * i]);
    if (2u * i + 1u < N) {
        pair |= narrowed(x[2u * i + 1u]) << 16u;
    }
    h[i] = pair;
}

@compute @workgroup_size(64)
fn unpack(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_id(workgroup, grid) * 64u + local;
    if (i >= (N + 1u) / 2u) {
        return;
    }
    let pair = packed[i];
    y[2u * i] = widened(pair & 0xffffu);
    if (2u * i + 1u < N) {
        y[2u * i + 1u] = widened(pair >> 16u);
    }
}
