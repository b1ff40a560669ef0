// How matmul_blocks.wgsl reads a: each thread all that it needs.

/// Neighbours lie side by side along n.
fn place_of(workgroup: u32, lane: u32) -> Place {
    let thread = workgroup * 8u + lane;
    let across = (N + 4u * BLOCKS_N - 1u) / (4u * BLOCKS_N);
    let down = (M + 4u * BLOCKS_M - 1u) / (4u * BLOCKS_M);
    return Place(thread / across / down, thread / across % down * 4u * BLOCKS_M, thread % across * 4u * BLOCKS_N);
}

/// Zeros in place of what lies beyond the last k.
fn below_k(v: vec4<f32>, k: vec4<u32>) -> vec4<f32> {
    return select(vec4<f32>(), v, k < vec4(K));
}

/// The block of a from row m and column k on, in fours along k or along m. Rows beyond the last repeat it.
fn block_of_a(z: u32, m: u32, k: u32) -> mat4x4<f32> {
    if (A_ALONG_K) {
        let at = (A0 + z * AZ + min(m + IOTA, vec4(M - 1u)) * AM + k) / 4u;
        return mat4x4<f32>(a[at.x], a[at.y], a[at.z], a[at.w]);
    }
    let at = (A0 + z * AZ + min(m, M - 4u) + min(k + IOTA, vec4(K - 1u)) * AK) / 4u;
    let v = transpose(mat4x4<f32>(a[at.x], a[at.y], a[at.z], a[at.w]));
    let ks = k + IOTA;
    return mat4x4<f32>(below_k(v[0], ks), below_k(v[1], ks), below_k(v[2], ks), below_k(v[3], ks));
}

fn pair_of_a(z: u32, m: u32, k: u32, lane: u32) -> Pair {
    return Pair(block_of_a(z, m, k), block_of_a(z, m + 4u, k));
}
