// Stands before the text of `matmul_wide`, for operands that lie in any way, number by number.

const PITCH: u32 = 2 * SIDE + 1; // neighbours along k in different banks

@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;

const IOTA = vec4<u32>(0u, 1u, 2u, 3u);

/// Quad of rows (of b: columns) and k of the numbers that load i of a slice brings: neighbours in memory come together.
fn place(i: u32, along_k: bool) -> vec2<u32> {
    return select(vec2(i % (2u * SIDE), i / (2u * SIDE)), vec2(i / DEPTH, i % DEPTH), along_k);
}

fn load_a(z: u32, m: u32, k: u32, i: u32) -> vec4<f32> {
    let at = place(i, A_ALONG_K);
    let rows = min(m + 4u * at.x + IOTA, vec4(M - 1u));
    let p = A0 + z * AZ + rows * AM + min(k + at.y, K - 1u) * AK;
    return select(vec4<f32>(), vec4(a[p.x], a[p.y], a[p.z], a[p.w]), k + at.y < K);
}

fn load_b(z: u32, n: u32, k: u32, i: u32) -> vec4<f32> {
    let at = place(i, B_ALONG_K);
    let columns = min(n + 4u * at.x + IOTA, vec4(N - 1u));
    let p = B0 + z * BZ + columns * BN + min(k + at.y, K - 1u) * BK;
    return select(vec4<f32>(), vec4(b[p.x], b[p.y], b[p.z], b[p.w]), k + at.y < K);
}

fn put_a(i: u32, quad: vec4<f32>) {
    let at = place(i, A_ALONG_K);
    a_tile[at.y][at.x] = quad;
}

fn put_b(i: u32, quad: vec4<f32>) {
    let at = place(i, B_ALONG_K);
    b_tile[at.y][at.x] = quad;
}
