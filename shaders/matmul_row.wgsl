// y[z, n] = sum over k of a[z, k] * b[z, k, n], then the epilogue: products of one row, whose time is that of reading b.
// Host side: crates/tensor/src/ops/matmul_row.rs. For GPUs. What a[z, k] is, row_plain.wgsl, norm_row.wgsl, parts_row.wgsl or
// gated_row.wgsl says. Dispatch: one workgroup for 4 * QUADS columns of b where neighbours lie along n (`across`), for COLUMNS
// where they lie along k (`along`). b is read in fours; where it is quantised, see quantized_row.wgsl.

override Z: u32 = 1u; override M: u32 = 1u; override N: u32 = 1u; override K: u32 = 1u; // M is 1

// Where an element lies: A0 + z * AZ + k * AK, and so on. What steps from row to row is not used.
override A0: u32 = 0u; override AZ: u32 = 0u; override AM: u32 = 0u; override AK: u32 = 0u;
override B0: u32 = 0u; override BZ: u32 = 0u; override BK: u32 = 0u; override BN: u32 = 0u;
override Y0: u32 = 0u; override YZ: u32 = 0u; override YM: u32 = 0u; override YN: u32 = 0u;

@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

fn store(z: u32, n: u32, sum: f32) {
    if (z < Z && n < N) {
        y[Y0 + z * YZ + n * YN] = epilogue(z * N + n, sum);
    }
}

fn inputs(z: u32, k: u32, step: u32, prepared: vec2<f32>) -> vec4<f32> {
    let ks = k + step * vec4(0u, 1u, 2u, 3u);
    let at = min(ks, vec4(K - 1u));
    let i = A0 + z * AZ + at * AK;
    let x = vec4(
        input(i.x, at.x, prepared), input(i.y, at.y, prepared), input(i.z, at.z, prepared), input(i.w, at.w, prepared),
    );
    return select(vec4<f32>(), x, ks < vec4(K));
}

var<workgroup> terms: array<vec4<f32>, 256>;

// ---- neighbours along n: 256 / QUADS threads share the terms of four columns --------------------------------------

override QUADS: u32 = 4u; // 1, 2, 4 or 16
override STEP: u32 = 256u / QUADS;

/// Four columns of rows k, k + STEP, ...: the last row stands for those behind it.
fn four_rows(first: u32, k: u32) -> mat4x4<f32> {
    let i = (first + min(k + STEP * vec4(0u, 1u, 2u, 3u), vec4(K - 1u)) * BK) / 4u;
    return mat4x4(b[i.x], b[i.y], b[i.z], b[i.w]);
}

/// Adds up what the threads have of four columns each, and stores the totals from column n on.
fn finish(z: u32, n: u32, lane: u32, sum: vec4<f32>) {
    terms[lane] = sum;
    workgroupBarrier();
    if (lane < 64u) {
        terms[lane] = (sum + terms[lane + 64u]) + (terms[lane + 128u] + terms[lane + 192u]);
    }
    workgroupBarrier();
    if (lane < 16u) {
        terms[lane] = (terms[lane] + terms[lane + 16u]) + (terms[lane + 32u] + terms[lane + 48u]);
    }
    workgroupBarrier();
    if (lane < 4u * QUADS) {
        var total = 0.0;
        for (var i = lane / 4u; i < 16u; i += QUADS) {
            total += terms[i][lane % 4u];
        }
        store(z, n + lane, total);
    }
}

@compute @workgroup_size(256)
fn across(
    @builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let panels = (N + 4u * QUADS - 1u) / (4u * QUADS);
    let number = flat_id(workgroup, grid);
    let z = number / panels; // beyond Z in the few workgroups too many, which compute and do not store
    let n = number % panels * 4u * QUADS;
    let first = B0 + z * BZ + min(n + lane % QUADS * 4u, N - 4u);
    // Eight loads are on their way at a time, the first of them while the input is prepared.
    var k = lane / QUADS;
    var near = four_rows(first, k);
    var far = four_rows(first, k + 4u * STEP);
    let prepared = prepare(lane, z);
    var sum = vec4<f32>();
    loop {
        sum += near * inputs(z, k, STEP, prepared) + far * inputs(z, k + 4u * STEP, STEP, prepared);
        k += 8u * STEP;
        if (k >= K) {
            break;
        }
        near = four_rows(first, k);
        far = four_rows(first, k + 4u * STEP);
    }
    finish(z, n, lane, sum);
}

// ---- neighbours along k: 32 threads share the terms of a column, or of four --------------------------------------

override COLUMNS: u32 = 8u; // 8 or 32
override FOUR: bool = COLUMNS == 32u;

var<workgroup> parts: array<vec4<f32>, 32>;

/// Rows k to k + 3 of four columns, or of one that then goes on 128 rows further down.
fn four_columns(first: vec4<u32>, k: u32) -> mat4x4<f32> {
    let i = (first + min(k + select(128u, 0u, FOUR) * vec4(0u, 1u, 2u, 3u), vec4(K - 4u))) / 4u;
    return mat4x4(b[i.x], b[i.y], b[i.z], b[i.w]);
}

@compute @workgroup_size(256)
fn along(
    @builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let panels = (N + COLUMNS - 1u) / COLUMNS;
    let number = flat_id(workgroup, grid);
    let z = number / panels;
    let n = number % panels * COLUMNS;
    let columns = n + lane / 32u + select(0u, 8u, FOUR) * vec4(0u, 1u, 2u, 3u);
    let first = B0 + z * BZ + min(columns, vec4(N - 1u)) * BN;
    var k = lane % 32u * 4u;
    var block = four_columns(first, k);
    let prepared = prepare(lane, z);
    var sums = vec4<f32>();
    loop {
        let x = inputs(z, k, 1u, prepared);
        if (FOUR) {
            sums += x * block;
            k += 128u;
        } else {
            sums += vec4(
                dot(x, block[0]), dot(inputs(z, k + 128u, 1u, prepared), block[1]),
                dot(inputs(z, k + 256u, 1u, prepared), block[2]), dot(inputs(z, k + 384u, 1u, prepared), block[3]),
            );
            k += 512u;
        }
        if (k >= K) {
            break;
        }
        block = four_columns(first, k);
    }
    terms[lane] = sums;
    workgroupBarrier();
    if (lane < 32u) {
        var sum = vec4<f32>();
        for (var i = lane % 4u; i < 32u; i += 4u) {
            sum += terms[lane / 4u * 32u + i];
        }
        parts[lane] = sum;
    }
    workgroupBarrier();
    if (lane < 8u) {
        let i = 4u * lane;
        let sum = (parts[i] + parts[i + 1u]) + (parts[i + 2u] + parts[i + 3u]);
        if (FOUR) {
            store(z, n + lane, sum.x);
            store(z, n + 8u + lane, sum.y);
            store(z, n + 16u + lane, sum.z);
            store(z, n + 24u + lane, sum.w);
        } else {
            store(z, n + lane, (sum.x + sum.y) + (sum.z + sum.w));
        }
    }
}
