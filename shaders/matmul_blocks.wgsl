// y[z, m, n] = sum over k of a[z, m, k] * b[z, k, n], then the epilogue, for adapters that are CPUs, without barriers, and for
// operands that can be read in fours. Host side: crates/tensor/src/ops/matmul_blocks.rs.
// Dispatch: one thread for each tile of up to 16 x 16 sums in registers, block by block.
//
// A block of 4 x 4 sums is a matrix whose columns are rows of y; four k at a time, it grows by the product of a block of b
// (whose columns are rows of b) and a block of a (whose columns are rows of a). Loads cost more than arithmetic there, so
// both operands are read four at a time, and each block is used up to four times. How a is read, the file in front of
// this one says: blocks_alone.wgsl or blocks_eights.wgsl.

override Z: u32 = 1u; override M: u32 = 1u; override N: u32 = 1u; override K: u32 = 1u;

// Where an element lies: A0 + z * AZ + m * AM + k * AK, and so on.
override A0: u32 = 0u; override AZ: u32 = 0u; override AM: u32 = 0u; override AK: u32 = 0u;
override B0: u32 = 0u; override BZ: u32 = 0u; override BK: u32 = 0u; override BN: u32 = 0u;
override Y0: u32 = 0u; override YZ: u32 = 0u; override YM: u32 = 0u; override YN: u32 = 0u;
override A_ALONG_K: bool = AK < AM; // whether neighbours along k are closer than those along m
override B_ALONG_K: bool = BK < BN;

override BLOCKS_M: u32 = 4u; // blocks of a thread: 1, 2 or 4; where eight threads share rows, 2 or 4
override BLOCKS_N: u32 = 4u; // 1, 2 or 4

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

const IOTA = vec4<u32>(0u, 1u, 2u, 3u);

/// What a thread computes: batch z, rows from m and columns from n on.
struct Place { z: u32, m: u32, n: u32 }

/// Two blocks, of eight rows of a.
struct Pair { upper: mat4x4<f32>, lower: mat4x4<f32> }

/// The block of b from row k and column n on. Rows beyond the last k meet zeros of a; columns beyond the last repeat it.
fn block_of_b(z: u32, n: u32, k: u32) -> mat4x4<f32> {
    if (B_ALONG_K) {
        let at = (B0 + z * BZ + min(n + IOTA, vec4(N - 1u)) * BN + k) / 4u;
        return transpose(mat4x4<f32>(b[at.x], b[at.y], b[at.z], b[at.w]));
    }
    let at = (B0 + z * BZ + min(n, N - 4u) + min(k + IOTA, vec4(K - 1u)) * BK) / 4u;
    return mat4x4<f32>(b[at.x], b[at.y], b[at.z], b[at.w]);
}

/// Four rows of up to sixteen columns. Indices are constants, so that the array becomes registers.
alias Sums = array<mat4x4<f32>, 4>;

fn add(c: ptr<function, Sums>, a: mat4x4<f32>, b0: mat4x4<f32>, b1: mat4x4<f32>, b2: mat4x4<f32>, b3: mat4x4<f32>) {
    (*c)[0] += b0 * a;
    if (BLOCKS_N >= 2u) {
        (*c)[1] += b1 * a;
    }
    if (BLOCKS_N == 4u) {
        (*c)[2] += b2 * a;
        (*c)[3] += b3 * a;
    }
}

fn store(z: u32, m: u32, n: u32, sum: f32) {
    if (m < M && n < N) {
        y[Y0 + z * YZ + m * YM + n * YN] = epilogue((z * M + m) * N + n, sum);
    }
}

fn store_block(z: u32, m: u32, n: u32, block: mat4x4<f32>) {
    var sums = block;
    for (var i = 0u; i < 16u; i++) {
        store(z, m + i / 4u, n + i % 4u, sums[i / 4u][i % 4u]);
    }
}

fn store_sums(p: Place, row: u32, c: ptr<function, Sums>) {
    store_block(p.z, p.m + row, p.n, (*c)[0]);
    if (BLOCKS_N >= 2u) {
        store_block(p.z, p.m + row, p.n + 4u, (*c)[1]);
    }
    if (BLOCKS_N == 4u) {
        store_block(p.z, p.m + row, p.n + 8u, (*c)[2]);
        store_block(p.z, p.m + row, p.n + 12u, (*c)[3]);
    }
}

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let p = place_of(flat_id(workgroup, grid), lane);
    if (p.z >= Z) {
        return;
    }
    var c0: Sums; var c1: Sums; var c2: Sums; var c3: Sums;
    for (var k = 0u; k < K; k += 4u) {
        let b0 = block_of_b(p.z, p.n, k);
        let b1 = block_of_b(p.z, p.n + 4u, k);
        let b2 = block_of_b(p.z, p.n + 8u, k);
        let b3 = block_of_b(p.z, p.n + 12u, k);
        let a01 = pair_of_a(p.z, p.m, k, lane);
        add(&c0, a01.upper, b0, b1, b2, b3);
        if (BLOCKS_M >= 2u) {
            add(&c1, a01.lower, b0, b1, b2, b3);
        }
        if (BLOCKS_M == 4u) {
            let a23 = pair_of_a(p.z, p.m + 8u, k, lane);
            add(&c2, a23.upper, b0, b1, b2, b3);
            add(&c3, a23.lower, b0, b1, b2, b3);
        }
    }
    store_sums(p, 0u, &c0);
    if (BLOCKS_M >= 2u) {
        store_sums(p, 4u, &c1);
    }
    if (BLOCKS_M == 4u) {
        store_sums(p, 8u, &c2);
        store_sums(p, 12u, &c3);
    }
}
