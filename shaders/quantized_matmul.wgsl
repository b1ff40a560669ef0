// y[m, n] = sum over groups g of scales[g, n] * sum over k in g of x[m, k] * (code[k, n] - OFFSET), then the epilogue.
// Host side: crates/tensor/src/ops/quantized_matmul.rs. Dispatch: `gpu`, one workgroup for each panel of 64 columns and
// ROWS rows, four threads a column; for adapters that are CPUs, without barriers, `software`, one thread a column.

override M: u32 = 1u; override N: u32 = 1u; override K: u32 = 32u; // K is a multiple of GROUP
override BITS: u32 = 8u; // of a code: 8 or 4
override ROWS: u32 = 4u; // of a thread: 1 or 4

const GROUP: u32 = 32u; // neighbours along k that share a scale
const PANEL: u32 = 64u; // columns of a workgroup
const STRIP: u32 = 16u; // of which so many words lie side by side
const SLICES: u32 = 4u; // threads of a column

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>; // (M, K / 4)
@group(0) @binding(2) var<storage, read> codes: array<u32>; // (panels, K / GROUP, PANEL / STRIP, BITS, STRIP)
@group(0) @binding(3) var<storage, read> scales: array<f32>; // (panels, K / GROUP, PANEL)
@group(0) @binding(4) var<storage, read_write> y: array<f32>; // (M, N)

/// Four codes of a word from number `first` on, as the numbers that they stand for.
fn unpack(word: u32, first: u32) -> vec4<f32> {
    let shifts = (vec4<u32>(0u, 1u, 2u, 3u) + first) * BITS;
    return vec4<f32>((vec4(word) >> shifts) & vec4((1u << BITS) - 1u)) - f32(1u << (BITS - 1u));
}

/// The products of four weights, k = 4 * quad and on, with up to four rows of x.
fn products(weights: vec4<f32>, row: u32, quad: u32) -> vec4<f32> {
    var sums = vec4(dot(weights, x[row * (K / 4u) + quad]), 0.0, 0.0, 0.0);
    if (ROWS == 4u) {
        let rows = min(row + vec4<u32>(0u, 1u, 2u, 3u), vec4(M - 1u)) * (K / 4u) + quad;
        sums.y = dot(weights, x[rows.y]);
        sums.z = dot(weights, x[rows.z]);
        sums.w = dot(weights, x[rows.w]);
    }
    return sums;
}

/// The sums of up to four rows over every `stride`-th group from `first` on.
fn sum_groups(panel: u32, column: u32, row: u32, first: u32, stride: u32) -> vec4<f32> {
    var sums = vec4<f32>();
    for (var g = first; g < K / GROUP; g += stride) {
        let group = panel * (K / GROUP) + g;
        let words = (group * PANEL + column / STRIP * STRIP) * BITS + column % STRIP;
        var inner = vec4<f32>();
        for (var i = 0u; i < GROUP / 4u; i++) {
            let quad = g * (GROUP / 4u) + i;
            let word = codes[words + i * BITS / 8u * STRIP];
            inner += products(unpack(word, quad * 4u % (32u / BITS)), row, quad);
        }
        sums += inner * scales[group * PANEL + column];
    }
    return sums;
}

fn store(row: u32, n: u32, sums: vec4<f32>) {
    var rest = sums;
    for (var i = 0u; i < ROWS; i++) {
        if (row + i < M && n < N) {
            let at = (row + i) * N + n;
            y[at] = epilogue(at, rest[i]);
        }
    }
}

/// The first of the rows that belong to item `i` of a column of panels, and the panel.
fn place(i: u32) -> vec2<u32> {
    let blocks = (M + ROWS - 1u) / ROWS;
    return vec2(i % blocks * ROWS, i / blocks);
}

var<workgroup> partial: array<vec4<f32>, PANEL * SLICES>;

@compute @workgroup_size(PANEL * SLICES)
fn gpu(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    // Workgroups beyond the last panel read what is clamped, and store nothing.
    let p = place(flat_id(workgroup, grid));
    let column = local % PANEL;
    partial[local] = sum_groups(p.y, column, p.x, local / PANEL, SLICES);
    workgroupBarrier();
    if (local < PANEL) {
        let sums = (partial[column] + partial[column + PANEL])
            + (partial[column + 2u * PANEL] + partial[column + 3u * PANEL]);
        store(p.x, p.y * PANEL + column, sums);
    }
}

@compute @workgroup_size(8)
fn software(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_id(workgroup, grid) * 8u + local;
    let p = place(i / PANEL);
    let n = p.y * PANEL + i % PANEL;
    if (n < N) {
        store(p.x, n, sum_groups(p.y, i % PANEL, p.x, 0u, 1u));
    }
}
