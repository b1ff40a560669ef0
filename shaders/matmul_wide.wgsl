// y[z, m, n] = sum over k of a[z, m, k] * b[z, k, n], then the epilogue, for GPUs and products that fill them, whose operands
// can be read in fours. Host side: crates/tensor/src/ops/matmul_wide.rs. Dispatch: one workgroup for 8 SIDE x 8 SIDE sums.

override Z: u32 = 1u; override M: u32 = 1u; override N: u32 = 1u; override K: u32 = 1u;

// Where an element lies: A0 + z * AZ + m * AM + k * AK, and so on. One stride of each operand is 1; all else is whole fours.
override A0: u32 = 0u; override AZ: u32 = 0u; override AM: u32 = 0u; override AK: u32 = 0u;
override B0: u32 = 0u; override BZ: u32 = 0u; override BK: u32 = 0u; override BN: u32 = 0u;
override Y0: u32 = 0u; override YZ: u32 = 0u; override YM: u32 = 0u; override YN: u32 = 0u;
override A_ALONG_K: bool = AK < AM; // whether neighbours along k are closer than those along m
override B_ALONG_K: bool = BK < BN;

override SIDE: u32 = 16u; // threads along a side: 16 or 8; each has 8 x 8 sums, in four blocks
const DEPTH: u32 = 8u; // of a slice along k: longer ones need more registers, and are slower

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

/// A slice of both operands: [k][m / 4], then [DEPTH + k][n / 4]; after the last one, sums on their way out. The outer index
/// is the counter of a short loop and the inner one does not change in it, so that guarding them costs nothing.
var<workgroup> tile: array<array<vec4<f32>, 32>, 16>;

/// Which numbers load i of a slice brings: row (of b: column) and k of the first, and whether the others follow along k.
fn place(i: u32, along_k: bool) -> vec2<u32> {
    return select(vec2(i % (2u * SIDE) * 4u, i / (2u * SIDE)), vec2(i / 2u, i % 2u * 4u), along_k);
}

fn load_a(z: u32, m: u32, k: u32, i: u32) -> vec4<f32> {
    let at = place(i, A_ALONG_K) + vec2(m, k);
    let last = select(vec2(M - 4u, K - 1u), vec2(M - 1u, K - 4u), A_ALONG_K);
    let kept = min(at, last);
    return select(vec4<f32>(), a[(A0 + z * AZ + kept.x * AM + kept.y * AK) / 4u], at.y < K);
}

fn load_b(z: u32, n: u32, k: u32, i: u32) -> vec4<f32> {
    let at = place(i, B_ALONG_K) + vec2(n, k);
    let last = select(vec2(N - 4u, K - 1u), vec2(N - 1u, K - 4u), B_ALONG_K);
    let kept = min(at, last);
    return select(vec4<f32>(), b[(B0 + z * BZ + kept.x * BN + kept.y * BK) / 4u], at.y < K);
}

/// Puts what was loaded into the slice, from row `first` of the tile on.
fn put(first: u32, i: u32, along_k: bool, v: vec4<f32>) {
    let at = place(i, along_k);
    let row = first + at.y;
    if (along_k) {
        tile[row][at.x / 4u][at.x % 4u] = v.x;
        tile[row + 1u][at.x / 4u][at.x % 4u] = v.y;
        tile[row + 2u][at.x / 4u][at.x % 4u] = v.z;
        tile[row + 3u][at.x / 4u][at.x % 4u] = v.w;
    } else {
        tile[row][at.x / 4u] = v;
    }
}

/// A block of sums, whose columns are rows of y, and the products of four rows and four columns.
fn add(c: mat4x4<f32>, u: vec4<f32>, v: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(c[0] + u.x * v, c[1] + u.y * v, c[2] + u.z * v, c[3] + u.w * v);
}

@compute @workgroup_size(SIDE * SIDE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let across = (N + 8u * SIDE - 1u) / (8u * SIDE);
    let down = (M + 8u * SIDE - 1u) / (8u * SIDE);
    let number = flat_id(workgroup, grid);
    let z = number / (across * down); // beyond Z in the few workgroups too many, which compute and do not store
    let m = number / across % down * 8u * SIDE;
    let n = number % across * 8u * SIDE;
    let row = lane / SIDE;
    let column = lane % SIDE;
    let second = lane + SIDE * SIDE; // smaller tiles need two loads a thread
    var a0 = load_a(z, m, 0u, lane);
    var b0 = load_b(z, n, 0u, lane);
    var a1 = vec4<f32>();
    var b1 = vec4<f32>();
    if (SIDE == 8u) {
        a1 = load_a(z, m, 0u, second);
        b1 = load_b(z, n, 0u, second);
    }
    // Blocks of rows 4 row and 4 (SIDE + row), of columns likewise: neighbours read neighbours.
    var c00 = mat4x4<f32>();
    var c01 = mat4x4<f32>();
    var c10 = mat4x4<f32>();
    var c11 = mat4x4<f32>();
    for (var k = 0u; k < K; k += DEPTH) {
        put(0u, lane, A_ALONG_K, a0);
        put(DEPTH, lane, B_ALONG_K, b0);
        if (SIDE == 8u) {
            put(0u, second, A_ALONG_K, a1);
            put(DEPTH, second, B_ALONG_K, b1);
        }
        workgroupBarrier();
        // The next slice is on its way while this one is multiplied.
        a0 = load_a(z, m, k + DEPTH, lane);
        b0 = load_b(z, n, k + DEPTH, lane);
        if (SIDE == 8u) {
            a1 = load_a(z, m, k + DEPTH, second);
            b1 = load_b(z, n, k + DEPTH, second);
        }
        for (var i = 0u; i < DEPTH; i++) {
            let u0 = tile[i][row];
            let u1 = tile[i][SIDE + row];
            let v0 = tile[DEPTH + i][column];
            let v1 = tile[DEPTH + i][SIDE + column];
            c00 = add(c00, u0, v0);
            c01 = add(c01, u0, v1);
            c10 = add(c10, u1, v0);
            c11 = add(c11, u1, v1);
        }
        workgroupBarrier();
    }
    // Out: row r of all blocks at a time, through the tile, so that neighbours store neighbours and the epilogue stands in a
    // loop. Indices of blocks are constants, or they would leave the registers.
    for (var r = 0u; r < 8u; r++) {
        switch (r) {
            case 0u: { tile[row][column] = c00[0]; tile[row][SIDE + column] = c01[0]; }
            case 1u: { tile[row][column] = c00[1]; tile[row][SIDE + column] = c01[1]; }
            case 2u: { tile[row][column] = c00[2]; tile[row][SIDE + column] = c01[2]; }
            case 3u: { tile[row][column] = c00[3]; tile[row][SIDE + column] = c01[3]; }
            case 4u: { tile[row][column] = c10[0]; tile[row][SIDE + column] = c11[0]; }
            case 5u: { tile[row][column] = c10[1]; tile[row][SIDE + column] = c11[1]; }
            case 6u: { tile[row][column] = c10[2]; tile[row][SIDE + column] = c11[2]; }
            default: { tile[row][column] = c10[3]; tile[row][SIDE + column] = c11[3]; }
        }
        workgroupBarrier();
        for (var i = lane; i < 8u * SIDE * SIDE; i += SIDE * SIDE) {
            let across = i % (8u * SIDE);
            let at = vec2(m + r / 4u * 4u * SIDE + i / (8u * SIDE) * 4u + r % 4u, n + across);
            if (z < Z && at.x < M && at.y < N) {
                let sum = tile[i / (8u * SIDE)][across / 4u][across % 4u];
                y[Y0 + z * YZ + at.x * YM + at.y * YN] = epilogue((z * M + at.x) * N + at.y, sum);
            }
        }
        workgroupBarrier();
    }
}
