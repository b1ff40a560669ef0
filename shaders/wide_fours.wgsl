// Stands before the text of `matmul_wide`, for operands that can be read in fours: one stride is 1, all else whole fours.
// Where neighbours lie along k, four threads store the numbers of one vector, which only Vulkan allows.

const PITCH: u32 = 2 * SIDE;

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;

/// What load i of the slice from k on brings of the rows from m on: four neighbours along k, or along m.
fn load_a(z: u32, m: u32, k: u32, i: u32) -> vec4<f32> {
    if (A_ALONG_K) {
        let at = k + i % 2u * 4u;
        let quad = a[(A0 + z * AZ + min(m + i / 2u, M - 1u) * AM + min(at, K - 4u)) / 4u];
        return select(vec4<f32>(), quad, at < K);
    }
    let at = k + i / (2u * SIDE);
    let quad = a[(A0 + z * AZ + min(at, K - 1u) * AK + min(m + i % (2u * SIDE) * 4u, M - 4u)) / 4u];
    return select(vec4<f32>(), quad, at < K);
}

/// Likewise of the columns from n on.
fn load_b(z: u32, n: u32, k: u32, i: u32) -> vec4<f32> {
    if (B_ALONG_K) {
        let at = k + i % 2u * 4u;
        let quad = b[(B0 + z * BZ + min(n + i / 2u, N - 1u) * BN + min(at, K - 4u)) / 4u];
        return select(vec4<f32>(), quad, at < K);
    }
    let at = k + i / (2u * SIDE);
    let quad = b[(B0 + z * BZ + min(at, K - 1u) * BK + min(n + i % (2u * SIDE) * 4u, N - 4u)) / 4u];
    return select(vec4<f32>(), quad, at < K);
}

fn put_a(i: u32, quad: vec4<f32>) {
    if (A_ALONG_K) {
        let row = i / 2u;
        let k = i % 2u * 4u;
        a_tile[k][row / 4u][row % 4u] = quad.x;
        a_tile[k + 1u][row / 4u][row % 4u] = quad.y;
        a_tile[k + 2u][row / 4u][row % 4u] = quad.z;
        a_tile[k + 3u][row / 4u][row % 4u] = quad.w;
    } else {
        a_tile[i / (2u * SIDE)][i % (2u * SIDE)] = quad;
    }
}

fn put_b(i: u32, quad: vec4<f32>) {
    if (B_ALONG_K) {
        let column = i / 2u;
        let k = i % 2u * 4u;
        b_tile[k][column / 4u][column % 4u] = quad.x;
        b_tile[k + 1u][column / 4u][column % 4u] = quad.y;
        b_tile[k + 2u][column / 4u][column % 4u] = quad.z;
        b_tile[k + 3u][column / 4u][column % 4u] = quad.w;
    } else {
        b_tile[i / (2u * SIDE)][i % (2u * SIDE)] = quad;
    }
}
