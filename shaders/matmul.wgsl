// y[z, m, n] = sum over k of a[z, m, k] * b[z, k, n], then the epilogue.
// Host side: crates/tensor/src/ops/matmul.rs, which swaps the roles of a and b where that saves work: then y is
// seen transposed, and only YM, YN, IM and IN know it.
//
// Entry points: `gpu`, tiles in workgroup memory; and without barriers, for adapters that are CPUs, `software_n`,
// `software_k` and `software`, which differ in how they read b. Dispatch: see each.

override Z: u32 = 1u; override M: u32 = 1u; override N: u32 = 1u; override K: u32 = 1u;

// Where an element lies: A0 + z * AZ + m * AM + k * AK, and so on; IM and IN give its index for the epilogue.
override A0: u32 = 0u; override AZ: u32 = 0u; override AM: u32 = 0u; override AK: u32 = 0u;
override B0: u32 = 0u; override BZ: u32 = 0u; override BK: u32 = 0u; override BN: u32 = 0u;
override Y0: u32 = 0u; override YZ: u32 = 0u; override YM: u32 = 0u; override YN: u32 = 0u;
override IM: u32 = 0u; override IN: u32 = 0u;

@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> b4: array<vec4<f32>>; // the same, four at a time
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

struct Thread {
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
}

fn store(z: u32, m: u32, n: u32, sum: f32) {
    if (m < M && n < N) {
        y[Y0 + z * YZ + m * YM + n * YN] = epilogue(z * M * N + m * IM + n * IN, sum);
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

// ---- CPU adapters: a thread computes ROWS x 8 sums in registers -----------------------------------------------

override ROWS: u32 = 8u; // 1, 4 or 8

/// Eight rows of eight columns. Every index below is a constant, so that the array becomes registers.
alias Sums = array<vec4<f32>, 16>;

/// What a thread computes: batch z, rows from m and columns from n on.
struct Place {
    z: u32,
    m: u32,
    n: u32,
    inside: bool,
}

/// Neighbouring threads share their rows and lie side by side along n.
fn place_of(t: Thread) -> Place {
    let thread = flat_id(t.workgroup, t.grid) * 8u + t.lane;
    let across = (N + 7u) / 8u;
    let down = (M + ROWS - 1u) / ROWS;
    let tile = thread / across;
    return Place(tile / down, tile % down * ROWS, thread % across * 8u, Z > tile / down);
}

/// Adds the products of one column of a (at `lo` and `hi`) and one row of b.
fn add_products(c: ptr<function, Sums>, lo: vec4<u32>, hi: vec4<u32>, b0: vec4<f32>, b1: vec4<f32>) {
    if (ROWS == 1u) {
        let v = a[lo.x];
        (*c)[0] += v * b0;
        (*c)[1] += v * b1;
        return;
    }
    let u = four_of_a(lo);
    (*c)[0] += u.x * b0;
    (*c)[1] += u.x * b1;
    (*c)[2] += u.y * b0;
    (*c)[3] += u.y * b1;
    (*c)[4] += u.z * b0;
    (*c)[5] += u.z * b1;
    (*c)[6] += u.w * b0;
    (*c)[7] += u.w * b1;
    if (ROWS == 8u) {
        let v = four_of_a(hi);
        (*c)[8] += v.x * b0;
        (*c)[9] += v.x * b1;
        (*c)[10] += v.y * b0;
        (*c)[11] += v.y * b1;
        (*c)[12] += v.z * b0;
        (*c)[13] += v.z * b1;
        (*c)[14] += v.w * b0;
        (*c)[15] += v.w * b1;
    }
}

fn store_sums(p: Place, c: ptr<function, Sums>) {
    var sums = *c; // a copy, because indices that vary would keep all of it out of registers
    for (var i = 0u; i < 8u * ROWS; i++) {
        store(p.z, p.m + i / 8u, p.n + i % 8u, sums[i / 4u][i % 4u]);
    }
}

/// b lies along n, in rows that begin at multiples of four. One thread for each tile, 8 in a workgroup.
@compute @workgroup_size(8)
fn software_n(t: Thread) {
    let p = place_of(t);
    if (!p.inside) {
        return;
    }
    var c: Sums;
    var lo = rows_of_a(p.z, p.m);
    var hi = rows_of_a(p.z, p.m + 4u);
    var at = (B0 + p.z * BZ + p.n) / 4u;
    // The second half of the last tile may lie beyond the last column; it then repeats the first.
    let half = select(0u, 1u, p.n + 4u < N);
    for (var k = 0u; k < K; k++) {
        add_products(&c, lo, hi, b4[at], b4[at + half]);
        lo += vec4(AK);
        hi += vec4(AK);
        at += BK / 4u;
    }
    store_sums(p, &c);
}

/// b lies along k, in columns that begin at multiples of four; K is a multiple of four. Dispatch as above.
@compute @workgroup_size(8)
fn software_k(t: Thread) {
    let p = place_of(t);
    if (!p.inside) {
        return;
    }
    var c: Sums;
    var lo = rows_of_a(p.z, p.m);
    var hi = rows_of_a(p.z, p.m + 4u);
    let at0 = columns_of_b(p.z, p.n) / 4u;
    let at1 = columns_of_b(p.z, p.n + 4u) / 4u;
    for (var k = 0u; k < K / 4u; k++) {
        // Four rows of b at once, transposed in registers.
        let b0 = transpose(mat4x4<f32>(b4[at0.x + k], b4[at0.y + k], b4[at0.z + k], b4[at0.w + k]));
        let b1 = transpose(mat4x4<f32>(b4[at1.x + k], b4[at1.y + k], b4[at1.z + k], b4[at1.w + k]));
        add_products(&c, lo, hi, b0[0], b1[0]);
        add_products(&c, lo + AK, hi + AK, b0[1], b1[1]);
        add_products(&c, lo + 2u * AK, hi + 2u * AK, b0[2], b1[2]);
        add_products(&c, lo + 3u * AK, hi + 3u * AK, b0[3], b1[3]);
        lo += vec4(4u * AK);
        hi += vec4(4u * AK);
    }
    store_sums(p, &c);
}

/// b lies anywhere. Dispatch as above.
@compute @workgroup_size(8)
fn software(t: Thread) {
    let p = place_of(t);
    if (!p.inside) {
        return;
    }
    var c: Sums;
    var lo = rows_of_a(p.z, p.m);
    var hi = rows_of_a(p.z, p.m + 4u);
    var at0 = columns_of_b(p.z, p.n);
    var at1 = columns_of_b(p.z, p.n + 4u);
    for (var k = 0u; k < K; k++) {
        add_products(&c, lo, hi, four_of_b(at0), four_of_b(at1));
        lo += vec4(AK);
        hi += vec4(AK);
        at0 += vec4(BK);
        at1 += vec4(BK);
    }
    store_sums(p, &c);
}

// ---- GPUs: a workgroup computes a square tile, 4 x 4 sums a thread ---------------------------------------------

override SIDE: u32 = 16u; // threads along a side of the tile: 16 (64 x 64 sums) or 8 (32 x 32)
override A_ALONG_K: bool = true; // which way lanes read a, so that neighbours read neighbours
override B_ALONG_K: bool = false;

const DEPTH: u32 = 16u; // of the slices of a and b that are kept in workgroup memory

var<workgroup> a_tile: array<vec4<f32>, DEPTH * SIDE>; // [k][m / 4]
var<workgroup> b_tile: array<vec4<f32>, DEPTH * SIDE>; // [k][n / 4]

/// One workgroup for each tile of 4 SIDE x 4 SIDE sums.
@compute @workgroup_size(SIDE * SIDE)
fn gpu(t: Thread) {
    let across = (N + 4u * SIDE - 1u) / (4u * SIDE);
    let down = (M + 4u * SIDE - 1u) / (4u * SIDE);
    let tile = flat_id(t.workgroup, t.grid);
    let z = tile / (across * down); // beyond Z in the few workgroups too many, which compute and do not store
    let m = (tile / across % down) * 4u * SIDE;
    let n = (tile % across) * 4u * SIDE;
    let row = t.lane / SIDE;
    let column = t.lane % SIDE;
    var c0 = vec4<f32>();
    var c1 = vec4<f32>();
    var c2 = vec4<f32>();
    var c3 = vec4<f32>();
    for (var k = 0u; k < K; k += DEPTH) {
        // 1. The workgroup loads a slice of both operands, each thread four or eight elements of each.
        for (var i = t.lane; i < DEPTH * SIDE; i += SIDE * SIDE) {
            let along_k = vec2(i % DEPTH, i / DEPTH);
            let across_k = vec2(i / SIDE, i % SIDE);
            let at_a = select(across_k, along_k, A_ALONG_K);
            let at_b = select(across_k, along_k, B_ALONG_K);
            let u = four_of_a(rows_of_a(z, m + 4u * at_a.y) + min(k + at_a.x, K - 1u) * AK);
            let v = four_of_b(columns_of_b(z, n + 4u * at_b.y) + min(k + at_b.x, K - 1u) * BK);
            a_tile[at_a.x * SIDE + at_a.y] = select(vec4<f32>(), u, k + at_a.x < K);
            b_tile[at_b.x * SIDE + at_b.y] = select(vec4<f32>(), v, k + at_b.x < K);
        }
        workgroupBarrier();
        // 2. Each thread adds the products of four rows and four columns.
        for (var i = 0u; i < DEPTH; i++) {
            let u = a_tile[i * SIDE + row];
            let v = b_tile[i * SIDE + column];
            c0 += u.x * v;
            c1 += u.y * v;
            c2 += u.z * v;
            c3 += u.w * v;
        }
        workgroupBarrier();
    }
    // 3. Bias, activation, residual, and out.
    var sums = array<vec4<f32>, 4>(c0, c1, c2, c3);
    for (var i = 0u; i < 16u; i++) {
        if (z < Z) {
            store(z, m + 4u * row + i / 4u, n + 4u * column + i % 4u, sums[i / 4u][i % 4u]);
        }
    }
}
