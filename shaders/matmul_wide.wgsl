// y[z, m, n] = sum over k of a[z, m, k] * b[z, k, n], then the epilogue, for GPUs and products that fill them.
// Host side: crates/tensor/src/ops/matmul_wide.rs, which puts before it SIDE, and how slices are loaded and put down.
// Dispatch: one workgroup for 8 SIDE x 8 SIDE sums, of SIDE x SIDE threads with 8 x 8 sums each.

override Z: u32 = 1u; override M: u32 = 1u; override N: u32 = 1u; override K: u32 = 1u;

// Where an element lies: A0 + z * AZ + m * AM + k * AK, and so on.
override A0: u32 = 0u; override AZ: u32 = 0u; override AM: u32 = 0u; override AK: u32 = 0u;
override B0: u32 = 0u; override BZ: u32 = 0u; override BK: u32 = 0u; override BN: u32 = 0u;
override Y0: u32 = 0u; override YZ: u32 = 0u; override YM: u32 = 0u; override YN: u32 = 0u;
override A_ALONG_K: bool = AK < AM; // whether neighbours along k are closer than those along m
override B_ALONG_K: bool = BK < BN;

@group(0) @binding(3) var<storage, read_write> y: array<f32>;

const DEPTH: u32 = 8u; // of a slice along k: longer ones leave room for fewer workgroups, and are slower

// A slice of both operands, [k][row / 4] and [k][column / 4]. The outer index counts in short loops and the inner one does
// not change there, so that guarding them costs nothing.
var<workgroup> a_tile: array<array<vec4<f32>, PITCH>, DEPTH>;
var<workgroup> b_tile: array<array<vec4<f32>, PITCH>, DEPTH>;

/// A block of sums, whose columns are rows of y, and the products of four rows and four columns.
fn add(c: mat4x4<f32>, u: vec4<f32>, v: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(c[0] + u.x * v, c[1] + u.y * v, c[2] + u.z * v, c[3] + u.w * v);
}

fn store(z: u32, m: u32, n: u32, sum: f32) {
    if (n < N) {
        y[Y0 + z * YZ + m * YM + n * YN] = epilogue((z * M + m) * N + n, sum);
    }
}

fn store_row(z: u32, m: u32, n: u32, sums: vec4<f32>) {
    if (z < Z && m < M) {
        store(z, m, n, sums.x);
        store(z, m, n + 1u, sums.y);
        store(z, m, n + 2u, sums.z);
        store(z, m, n + 3u, sums.w);
    }
}

/// Indices are constants: others would keep the blocks out of the registers.
fn store_block(z: u32, m: u32, n: u32, c: mat4x4<f32>) {
    store_row(z, m, n, c[0]);
    store_row(z, m + 1u, n, c[1]);
    store_row(z, m + 2u, n, c[2]);
    store_row(z, m + 3u, n, c[3]);
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
    let second = lane + SIDE * SIDE; // a thread of a smaller tile loads twice
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
        put_a(lane, a0);
        put_b(lane, b0);
        if (SIDE == 8u) {
            put_a(second, a1);
            put_b(second, b1);
        }
        workgroupBarrier();
        // The next slice is on its way while this one is multiplied.
        a0 = load_a(z, m, k + DEPTH, lane);
        b0 = load_b(z, n, k + DEPTH, lane);
        if (SIDE == 8u) {
            a1 = load_a(z, m, k + DEPTH, second);
            b1 = load_b(z, n, k + DEPTH, second);
        }
        // Two loops: unrolled as one, they need so many registers that it takes up to twice as long.
        for (var q = 0u; q < DEPTH / 4u; q++) {
            for (var j = 0u; j < 4u; j++) {
                let i = 4u * q + j;
                let u0 = a_tile[i][row];
                let u1 = a_tile[i][SIDE + row];
                let v0 = b_tile[i][column];
                let v1 = b_tile[i][SIDE + column];
                c00 = add(c00, u0, v0);
                c01 = add(c01, u0, v1);
                c10 = add(c10, u1, v0);
                c11 = add(c11, u1, v1);
            }
        }
        workgroupBarrier();
    }
    store_block(z, m + 4u * row, n + 4u * column, c00);
    store_block(z, m + 4u * row, n + 4u * (SIDE + column), c01);
    store_block(z, m + 4u * (SIDE + row), n + 4u * column, c10);
    store_block(z, m + 4u * (SIDE + row), n + 4u * (SIDE + column), c11);
}
