// How matmul_scalar.wgsl reads a: each thread all that it needs.

const SHARING = 1u; // threads side by side that read the same rows
const STEP = 1u; // how far a turn of the loop gets along k

/// Four elements of a, one below the other.
fn four(i: u32, lane: u32) -> vec4<f32> {
    return vec4(a[i], a[i + AM], a[i + 2u * AM], a[i + 3u * AM]);
}
