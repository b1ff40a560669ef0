// Stands before the text of `matmul_wide`, for operands that lie in any way.

@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;

const IOTA = vec4<u32>(0u, 1u, 2u, 3u);

/// What load i of the slice from k on brings of the rows from m on: four neighbours along k, or along m.
fn load_a(z: u32, m: u32, k: u32, i: u32) -> vec4<f32> {
    var rows = vec4(min(m + i / 2u, M - 1u));
    var ks = k + i % 2u * 4u + IOTA;
    if (!A_ALONG_K) {
        rows = min(m + i % (2u * SIDE) * 4u + IOTA, vec4(M - 1u));
        ks = vec4(k + i / (2u * SIDE));
    }
    let at = A0 + z * AZ + rows * AM + min(ks, vec4(K - 1u)) * AK;
    return select(vec4<f32>(), vec4(a[at.x], a[at.y], a[at.z], a[at.w]), ks < vec4(K));
}

/// Likewise of the columns from n on.
fn load_b(z: u32, n: u32, k: u32, i: u32) -> vec4<f32> {
    var columns = vec4(min(n + i / 2u, N - 1u));
    var ks = k + i % 2u * 4u + IOTA;
    if (!B_ALONG_K) {
        columns = min(n + i % (2u * SIDE) * 4u + IOTA, vec4(N - 1u));
        ks = vec4(k + i / (2u * SIDE));
    }
    let at = B0 + z * BZ + columns * BN + min(ks, vec4(K - 1u)) * BK;
    return select(vec4<f32>(), vec4(b[at.x], b[at.y], b[at.z], b[at.w]), ks < vec4(K));
}
