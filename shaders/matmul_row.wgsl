// y[z, n] = sum over k of a[z, k] * b[z, k, n], then the epilogue: products of one row, whose time is that of reading b.
// Host side: crates/tensor/src/ops/matmul_row.rs. For GPUs. Dispatch: one workgroup for 16 columns of b where neighbours lie
// along n (`across`), for 8 where they lie along k (`along`). b is read in fours.

override Z: u32 = 1u; override M: u32 = 1u; override N: u32 = 1u; override K: u32 = 1u; // M is 1

// Where an element lies: A0 + z * AZ + k * AK, and so on. What steps from row to row is not used.
override A0: u32 = 0u; override AZ: u32 = 0u; override AM: u32 = 0u; override AK: u32 = 0u;
override B0: u32 = 0u; override BZ: u32 = 0u; override BK: u32 = 0u; override BN: u32 = 0u;
override Y0: u32 = 0u; override YZ: u32 = 0u; override YM: u32 = 0u; override YN: u32 = 0u;

@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

fn store(z: u32, n: u32, sum: f32) {
    if (z < Z && n < N) {
        y[Y0 + z * YZ + n * YN] = epilogue(z * N + n, sum);
    }
}

// ---- neighbours along n: 64 threads share the terms of four columns ---------------------------------------------

var<workgroup> terms: array<array<vec4<f32>, 4>, 64>;
var<workgroup> eighths: array<array<f32, 16>, 8>;

fn term(z: u32, k: u32, n: u32) -> vec4<f32> {
    return a[A0 + z * AZ + k * AK] * b[(B0 + z * BZ + k * BK + n) / 4u];
}

@compute @workgroup_size(256)
fn across(
    @builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let panels = (N + 15u) / 16u;
    let number = flat_id(workgroup, grid);
    let z = number / panels; // beyond Z in the few workgroups too many, which compute and do not store
    let n = number % panels * 16u;
    let mine = min(n + lane % 4u * 4u, N - 4u);
    // Four loads are on their way at a time.
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    var k = lane / 4u;
    for (; k + 192u < K; k += 256u) {
        s0 += term(z, k, mine);
        s1 += term(z, k + 64u, mine);
        s2 += term(z, k + 128u, mine);
        s3 += term(z, k + 192u, mine);
    }
    for (; k < K; k += 64u) {
        s0 += term(z, k, mine);
    }
    terms[lane / 4u][lane % 4u] = (s0 + s1) + (s2 + s3);
    workgroupBarrier();
    let column = lane % 16u;
    if (lane < 128u) {
        var sum = 0.0;
        for (var i = lane / 16u * 8u; i < lane / 16u * 8u + 8u; i++) {
            sum += terms[i][column / 4u][column % 4u];
        }
        eighths[lane / 16u][column] = sum;
    }
    workgroupBarrier();
    if (lane < 16u) {
        var sum = 0.0;
        for (var i = 0u; i < 8u; i++) {
            sum += eighths[i][column];
        }
        store(z, n + column, sum);
    }
}

// ---- neighbours along k: 32 threads share the terms of a column --------------------------------------------------

var<workgroup> parts: array<array<f32, 32>, 8>;
var<workgroup> quarters: array<array<f32, 4>, 8>;

@compute @workgroup_size(256)
fn along(
    @builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let panels = (N + 7u) / 8u;
    let number = flat_id(workgroup, grid);
    let z = number / panels;
    let n = number % panels * 8u;
    let column = lane / 32u;
    let first = B0 + z * BZ + min(n + column, N - 1u) * BN;
    var sums = vec4<f32>();
    for (var k = lane % 32u * 4u; k < K; k += 128u) {
        let at = A0 + z * AZ + k * AK;
        sums += vec4(a[at], a[at + AK], a[at + 2u * AK], a[at + 3u * AK]) * b[(first + k) / 4u];
    }
    parts[column][lane % 32u] = (sums.x + sums.y) + (sums.z + sums.w);
    workgroupBarrier();
    if (lane < 32u) {
        var sum = 0.0;
        for (var i = lane % 4u; i < 32u; i += 4u) {
            sum += parts[lane / 4u][i];
        }
        quarters[lane / 4u][lane % 4u] = sum;
    }
    workgroupBarrier();
    if (lane < 8u) {
        store(z, n + lane, (quarters[lane][0] + quarters[lane][1]) + (quarters[lane][2] + quarters[lane][3]));
    }
}
