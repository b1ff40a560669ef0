// y[z, m, n] = sum over k of a[z, m, k] * b[z, k, n], then the epilogue.
// Host side: crates/tensor/src/ops/matmul.rs. Dispatch: `gpu`, one workgroup for 32 x 32 sums, see also `matmul_wide.wgsl`;
// for adapters that are CPUs, without barriers, `software`, one thread for each tile, see also `matmul_scalar.wgsl`.

override Z: u32 = 1u; override M: u32 = 1u; override N: u32 = 1u; override K: u32 = 1u;

// Where an element lies: A0 + z * AZ + m * AM + k * AK, and so on.
override A0: u32 = 0u; override AZ: u32 = 0u; override AM: u32 = 0u; override AK: u32 = 0u;
override B0: u32 = 0u; override BZ: u32 = 0u; override BK: u32 = 0u; override BN: u32 = 0u;
override Y0: u32 = 0u; override YZ: u32 = 0u; override YM: u32 = 0u; override YN: u32 = 0u;
override A_ALONG_K: bool = AK < AM; // whether neighbours along k are closer than those along m
override B_ALONG_K: bool = BK < BN;

@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(1) var<storage, read> a4: array<vec4<f32>>; // the same, four at a time
@group(0) @binding(2) var<storage, read> b4: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

struct Thread {
    @builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
}

fn store(z: u32, m: u32, n: u32, sum: f32) {
    if (m < M && n < N) {
        y[Y0 + z * YZ + m * YM + n * YN] = epilogue((z * M + m) * N + n, sum);
    }
}

/// Indices of the first elements of four rows of a; rows beyond the last one repeat it.
fn rows_of_a(z: u32, m: u32) -> vec4<u32> {
    return A0 + z * AZ + min(m + vec4(0u, 1u, 2u, 3u), vec4(M - 1u)) * AM;
}

/// Indices of the first elements of four columns of b; columns beyond the last one repeat it.
fn columns_of_b(z: u32, n: u32) -> vec4<u32> {
    return B0 + z * BZ + min(n + vec4(0u, 1u, 2u, 3u), vec4(N - 1u)) * BN;
}

fn four_of_a(at: vec4<u32>) -> vec4<f32> {
    return vec4(a[at.x], a[at.y], a[at.z], a[at.w]);
}

fn four_of_b(at: vec4<u32>) -> vec4<f32> {
    return vec4(b[at.x], b[at.y], b[at.z], b[at.w]);
}

// ---- CPU adapters: a thread computes up to 16 x 16 sums in registers, block by block ---------------------------
//
// A block of 4 x 4 sums is a matrix whose columns are rows of y; four k at a time, it grows by the product of a block
// of b (whose columns are rows of b) and a block of a (whose columns are rows of a). Loads cost more than arithmetic
// there, so both operands are read four at a time where they can be, and each block is used up to four times.

override BLOCKS_M: u32 = 4u; // blocks of a thread: 1, 2 or 4
override BLOCKS_N: u32 = 4u;

const IOTA = vec4<u32>(0u, 1u, 2u, 3u);

/// Zeros in place of what lies beyond the last k.
fn below_k(v: vec4<f32>, k: vec4<u32>) -> vec4<f32> {
    return select(vec4<f32>(), v, k < vec4(K));
}

/// The block of a from row m and column k on, read in fours along k or along m.
fn block_of_a4(z: u32, m: u32, k: u32) -> mat4x4<f32> {
    if (A_ALONG_K) {
        let at = (rows_of_a(z, m) + k) / 4u;
        return mat4x4<f32>(a4[at.x], a4[at.y], a4[at.z], a4[at.w]);
    }
    let at = (A0 + z * AZ + min(m, M - 4u) + min(k + IOTA, vec4(K - 1u)) * AK) / 4u;
    let v = transpose(mat4x4<f32>(a4[at.x], a4[at.y], a4[at.z], a4[at.w]));
    let ks = k + IOTA;
    return mat4x4<f32>(below_k(v[0], ks), below_k(v[1], ks), below_k(v[2], ks), below_k(v[3], ks));
}

/// The block of b from row k and column n on. Rows beyond the last k meet zeros of a.
fn block_of_b4(z: u32, n: u32, k: u32) -> mat4x4<f32> {
    if (B_ALONG_K) {
        let at = (columns_of_b(z, n) + k) / 4u;
        return transpose(mat4x4<f32>(b4[at.x], b4[at.y], b4[at.z], b4[at.w]));
    }
    let at = (B0 + z * BZ + min(n, N - 4u) + min(k + IOTA, vec4(K - 1u)) * BK) / 4u;
    return mat4x4<f32>(b4[at.x], b4[at.y], b4[at.z], b4[at.w]);
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

fn store_block(z: u32, m: u32, n: u32, block: mat4x4<f32>) {
    var sums = block;
    for (var i = 0u; i < 16u; i++) {
        store(z, m + i / 4u, n + i % 4u, sums[i / 4u][i % 4u]);
    }
}

fn store_sums(z: u32, m: u32, n: u32, c: ptr<function, Sums>) {
    store_block(z, m, n, (*c)[0]);
    if (BLOCKS_N >= 2u) {
        store_block(z, m, n + 4u, (*c)[1]);
    }
    if (BLOCKS_N == 4u) {
        store_block(z, m, n + 8u, (*c)[2]);
        store_block(z, m, n + 12u, (*c)[3]);
    }
}

/// What a thread computes: batch z, rows from m and columns from n on. Neighbours lie side by side along n.
struct Place { z: u32, m: u32, n: u32 }

fn place_of(t: Thread) -> Place {
    let thread = flat_id(t.workgroup, t.grid) * 8u + t.lane;
    let across = (N + 4u * BLOCKS_N - 1u) / (4u * BLOCKS_N);
    let down = (M + 4u * BLOCKS_M - 1u) / (4u * BLOCKS_M);
    return Place(thread / across / down, thread / across % down * 4u * BLOCKS_M, thread % across * 4u * BLOCKS_N);
}

/// For operands that can be read in fours.
@compute @workgroup_size(8)
fn software(t: Thread) {
    let p = place_of(t);
    if (p.z >= Z) {
        return;
    }
    var c0: Sums; var c1: Sums; var c2: Sums; var c3: Sums;
    for (var k = 0u; k < K; k += 4u) {
        let b0 = block_of_b4(p.z, p.n, k);
        let b1 = block_of_b4(p.z, p.n + 4u, k);
        let b2 = block_of_b4(p.z, p.n + 8u, k);
        let b3 = block_of_b4(p.z, p.n + 12u, k);
        add(&c0, block_of_a4(p.z, p.m, k), b0, b1, b2, b3);
        if (BLOCKS_M >= 2u) {
            add(&c1, block_of_a4(p.z, p.m + 4u, k), b0, b1, b2, b3);
        }
        if (BLOCKS_M == 4u) {
            add(&c2, block_of_a4(p.z, p.m + 8u, k), b0, b1, b2, b3);
            add(&c3, block_of_a4(p.z, p.m + 12u, k), b0, b1, b2, b3);
        }
    }
    store_sums(p.z, p.m, p.n, &c0);
    if (BLOCKS_M >= 2u) {
        store_sums(p.z, p.m + 4u, p.n, &c1);
    }
    if (BLOCKS_M == 4u) {
        store_sums(p.z, p.m + 8u, p.n, &c2);
        store_sums(p.z, p.m + 12u, p.n, &c3);
    }
}

// ---- GPUs: a workgroup computes 32 x 32 sums, as tile.wgsl says ------------------------------------------------

/// Four rows of a that load i of the slice from k on brings.
fn load_a(z: u32, m: u32, k: u32, i: u32) -> vec4<f32> {
    let at = place(i, A_ALONG_K);
    let quad = four_of_a(rows_of_a(z, m + 4u * at.y) + min(k + at.x, K - 1u) * AK);
    return select(vec4<f32>(), quad, k + at.x < K);
}

/// Four columns of b, likewise.
fn load_b(z: u32, n: u32, k: u32, i: u32) -> vec4<f32> {
    let at = place(i, B_ALONG_K);
    let quad = four_of_b(columns_of_b(z, n + 4u * at.y) + min(k + at.x, K - 1u) * BK);
    return select(vec4<f32>(), quad, k + at.x < K);
}

@compute @workgroup_size(256)
fn gpu(t: Thread) {
    let across = (N + 31u) / 32u;
    let down = (M + 31u) / 32u;
    let tile = flat_id(t.workgroup, t.grid);
    let z = tile / (across * down); // beyond Z in the few workgroups too many, which compute and do not store
    let m = tile / across % down * 32u;
    let n = tile % across * 32u;
    let second = t.lane + 256u;
    var a0 = load_a(z, m, 0u, t.lane);
    var a1 = load_a(z, m, 0u, second);
    var b0 = load_b(z, n, 0u, t.lane);
    var b1 = load_b(z, n, 0u, second);
    var c = mat4x4<f32>();
    for (var k = 0u; k < K; k += DEPTH) {
        put(0u, place(t.lane, A_ALONG_K), a0);
        put(0u, place(second, A_ALONG_K), a1);
        put(1u, place(t.lane, B_ALONG_K), b0);
        put(1u, place(second, B_ALONG_K), b1);
        workgroupBarrier();
        // The next slice is on its way while this one is multiplied.
        a0 = load_a(z, m, k + DEPTH, t.lane);
        a1 = load_a(z, m, k + DEPTH, second);
        b0 = load_b(z, n, k + DEPTH, t.lane);
        b1 = load_b(z, n, k + DEPTH, second);
        c = multiply(c, t.lane);
        workgroupBarrier();
    }
    let sums = add_parts(c, t.lane);
    let at = place_of_sums(t.lane) + vec2(m, n);
    if (z < Z) {
        store(z, at.x, at.y, sums.x);
        store(z, at.x, at.y + 1u, sums.y);
        store(z, at.x, at.y + 2u, sums.z);
        store(z, at.x, at.y + 3u, sums.w);
    }
}
