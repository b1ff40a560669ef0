// y[z, m, n] = sum over k of a[z, m, k] * b[z, k, n], then the epilogue, wherever the operands lie.
// Host side: crates/tensor/src/ops/matmul_scalar.rs. Dispatch: one thread for each tile of up to 16 x 8 sums.
//
// SwiftShader makes a load of four lanes by four loads, each guarded, in some 700 bytes of code; and it copies all that a
// loop carries, twice, each time around. So few k at a time and few sums: the loop must fit into 32 KB, where processors
// keep what they execute. A tile begins at most where all of it fits, so that a compiler which knows the lengths of a and
// b sees that no index lies beyond, and adds no guards of its own. How a is read, the file in front of this one says:
// scalar_alone.wgsl or scalar_quads.wgsl.

override Z: u32 = 1u; override M: u32 = 1u; override N: u32 = 1u; override K: u32 = 1u;

// Where an element lies: A0 + z * AZ + m * AM + k * AK, and so on.
override A0: u32 = 0u; override AZ: u32 = 0u; override AM: u32 = 0u; override AK: u32 = 0u;
override B0: u32 = 0u; override BZ: u32 = 0u; override BK: u32 = 0u; override BN: u32 = 0u;
override Y0: u32 = 0u; override YZ: u32 = 0u; override YM: u32 = 0u; override YN: u32 = 0u;

override BLOCKS: u32 = 3u; // of four rows: 1 to 4

// Whether tiles overlap or reach beyond the last row or column, or there may be threads without a tile: in the last workgroup, or
// in one of those too many that a grid of two dimensions has.
override RAGGED: bool = M % (4u * BLOCKS) != 0u || N % (8u * SHARING) != 0u || Z * M * N % (256u * BLOCKS) != 0u
    || Z * M * N / (256u * BLOCKS) > 65535u;

@group(0) @binding(1) var<storage, read> a: Known1;
@group(0) @binding(2) var<storage, read> b: Known2;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

/// Four rows of eight columns.
alias Rows = array<mat4x4<f32>, 2>;
alias Sums = ptr<function, Rows>;

/// Adds the products of a column of a and a row of b. Sum by sum, because whole matrices would go through the stack.
fn grow(c: Sums, a: vec4<f32>, b: mat2x4<f32>) {
    (*c)[0][0] = fma(vec4(a.x), b[0], (*c)[0][0]);
    (*c)[1][0] = fma(vec4(a.x), b[1], (*c)[1][0]);
    (*c)[0][1] = fma(vec4(a.y), b[0], (*c)[0][1]);
    (*c)[1][1] = fma(vec4(a.y), b[1], (*c)[1][1]);
    (*c)[0][2] = fma(vec4(a.z), b[0], (*c)[0][2]);
    (*c)[1][2] = fma(vec4(a.z), b[1], (*c)[1][2]);
    (*c)[0][3] = fma(vec4(a.w), b[0], (*c)[0][3]);
    (*c)[1][3] = fma(vec4(a.w), b[1], (*c)[1][3]);
}

/// What a thread computes: batch z, rows from m and columns from n on.
struct Tile { z: u32, m: u32, n: u32 }

fn put(tile: Tile, row: u32, column: u32, sum: f32) {
    y[Y0 + tile.z * YZ + row * YM + column * YN] = epilogue((tile.z * M + row) * N + column, sum);
}

/// Stores four rows from row m and column n on, without what lies before the tile, which is another thread's.
fn store(tile: Tile, m: u32, n: u32, rows: Rows) {
    var sums = rows;
    if (RAGGED) {
        for (var i = 0u; i < 32u; i++) {
            let row = m + i / 8u;
            let column = n + i % 8u;
            if (tile.z < Z && row >= tile.m && row < M && column >= tile.n && column < N) {
                put(tile, row, column, sums[i % 8u / 4u][i / 8u][i % 4u]);
            }
        }
        return;
    }
    // An index that is no constant is a gather: instead, the next row takes the first one's place.
    for (var row = m; row < m + 4u; row++) {
        let left = sums[0];
        let right = sums[1];
        put(tile, row, n, left[0].x);
        put(tile, row, n + 1u, left[0].y);
        put(tile, row, n + 2u, left[0].z);
        put(tile, row, n + 3u, left[0].w);
        put(tile, row, n + 4u, right[0].x);
        put(tile, row, n + 5u, right[0].y);
        put(tile, row, n + 6u, right[0].z);
        put(tile, row, n + 7u, right[0].w);
        sums[0] = mat4x4<f32>(left[1], left[2], left[3], left[3]);
        sums[1] = mat4x4<f32>(right[1], right[2], right[3], right[3]);
    }
}

/// Adds the products of a column of a, from element i on, and a row of b, from element j on, to the blocks.
fn add(c0: Sums, c1: Sums, c2: Sums, c3: Sums, i: u32, j: u32, lane: u32) {
    let row = mat2x4<f32>(
        b[j], b[j + BN], b[j + 2u * BN], b[j + 3u * BN],
        b[j + 4u * BN], b[j + 5u * BN], b[j + 6u * BN], b[j + 7u * BN],
    );
    grow(c0, four(i, lane), row);
    if (BLOCKS >= 2u) {
        grow(c1, four(i + 4u * AM, lane), row);
    }
    if (BLOCKS >= 3u) {
        grow(c2, four(i + 8u * AM, lane), row);
    }
    if (BLOCKS == 4u) {
        grow(c3, four(i + 12u * AM, lane), row);
    }
}

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // 1. Which tile: neighbours lie side by side along n, and those that share rows of a do.
    let thread = flat_id(workgroup, grid) * 8u + lane;
    let across = (N + 8u * SHARING - 1u) / (8u * SHARING) * SHARING;
    let down = (M + 4u * BLOCKS - 1u) / (4u * BLOCKS);
    let tile = Tile(thread / across / down, thread / across % down * 4u * BLOCKS, thread % across * 8u);
    // 2. Where it begins in a and in b.
    let m = min(tile.m, max(M, 4u * BLOCKS) - 4u * BLOCKS);
    let n = min(tile.n, max(N, 8u) - 8u);
    let a0 = A0 + min(tile.z, Z - 1u) * AZ + m * AM;
    let b0 = B0 + min(tile.z, Z - 1u) * BZ + n * BN;
    // 3. The sums, a column of a and a row of b at a time.
    var c0: Rows; var c1: Rows; var c2: Rows; var c3: Rows;
    for (var k = 0u; k < K; k += STEP) {
        add(&c0, &c1, &c2, &c3, a0 + k * AK, b0 + k * BK, lane);
        if (STEP == 2u) {
            add(&c0, &c1, &c2, &c3, a0 + (k + 1u) * AK, b0 + (k + 1u) * BK, lane);
        }
    }
    // 4. Bias, activation, residual, and out.
    store(tile, m, n, c0);
    if (BLOCKS >= 2u) {
        store(tile, m + 4u, n, c1);
    }
    if (BLOCKS >= 3u) {
        store(tile, m + 8u, n, c2);
    }
    if (BLOCKS == 4u) {
        store(tile, m + 12u, n, c3);
    }
}
