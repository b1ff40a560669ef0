// How matmul_blocks.wgsl reads a where the eight threads of a workgroup can ask each other: they have the same rows, each
// reads an eighth of them and hears the rest. Such an adapter makes a load by eight loads, and an answer by one instruction.

fn place_of(workgroup: u32, lane: u32) -> Place {
    let across = (N + 32u * BLOCKS_N - 1u) / (32u * BLOCKS_N);
    let down = (M + 4u * BLOCKS_M - 1u) / (4u * BLOCKS_M);
    let n = (workgroup % across * 8u + lane) * 4u * BLOCKS_N;
    return Place(workgroup / across / down, workgroup / across % down * 4u * BLOCKS_M, n);
}

/// What a thread reads of eight rows: a row's vec4 along k, or one of four rows; zeros in place of what lies beyond the last k.
fn eighth_of_a(z: u32, m: u32, k: u32, lane: u32) -> vec4<f32> {
    if (A_ALONG_K) {
        return a[(A0 + z * AZ + min(m + lane, M - 1u) * AM + k) / 4u];
    }
    let at = k + lane % 4u;
    let quad = a[(A0 + z * AZ + min(m + lane / 4u * 4u, M - 4u) + min(at, K - 1u) * AK) / 4u];
    return select(vec4<f32>(), quad, at < K);
}

fn pair_of_a(z: u32, m: u32, k: u32, lane: u32) -> Pair {
    let x = eighth_of_a(z, m, k, lane);
    let upper = mat4x4<f32>(
        subgroupBroadcast(x, 0u), subgroupBroadcast(x, 1u), subgroupBroadcast(x, 2u), subgroupBroadcast(x, 3u),
    );
    let lower = mat4x4<f32>(
        subgroupBroadcast(x, 4u), subgroupBroadcast(x, 5u), subgroupBroadcast(x, 6u), subgroupBroadcast(x, 7u),
    );
    if (A_ALONG_K) {
        return Pair(upper, lower);
    }
    return Pair(transpose(upper), transpose(lower));
}
