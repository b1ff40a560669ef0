// y[z, m, n] = sum over k of a[z, m, k] * b[z, k, n], then the epilogue.
// Host side: crates/tensor/src/ops/matmul.rs. Dispatch: `gpu`, one workgroup for 32 x 32 sums, as tile.wgsl says; see also
// matmul_wide.wgsl, and for adapters that are CPUs matmul_blocks.wgsl and matmul_scalar.wgsl.

override Z: u32 = 1u; override M: u32 = 1u; override N: u32 = 1u; override K: u32 = 1u;

// Where an element lies: A0 + z * AZ + m * AM + k * AK, and so on.
override A0: u32 = 0u; override AZ: u32 = 0u; override AM: u32 = 0u; override AK: u32 = 0u;
override B0: u32 = 0u; override BZ: u32 = 0u; override BK: u32 = 0u; override BN: u32 = 0u;
override Y0: u32 = 0u; override YZ: u32 = 0u; override YM: u32 = 0u; override YN: u32 = 0u;
override A_ALONG_K: bool = AK < AM; // whether neighbours along k are closer than those along m
override B_ALONG_K: bool = BK < BN;

@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
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
