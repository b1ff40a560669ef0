// y = x * scale * w, where scale = 1 / sqrt(mean(x^2) + EPS) is that of a row of x.
// Backward, with h = x * scale and g = dy * w: dx = scale * (g - h * mean(g * h)),  dw = sum over rows of dy * h.
// Host side: crates/tensor/src/ops/rms_norm.rs. Dispatch: `forward*` over rows; `backward*` over rows first, then over
// columns, in one grid. `*_gpu` share a row among LANES threads of a workgroup of 256, `*_software` give each a thread.

override R: u32 = 1u; // rows
override C: u32 = 1u; // elements of a row
override EPS: f32 = 1e-5;
override LANES: u32 = 64u; // threads of one row: 64 or 256
override ROOT: u32 = select(8u, 16u, LANES == 256u); // of LANES
override ROW_GROUPS: u32 = 1u; // workgroups of the backward pass that work on rows

@group(0) @binding(1) var<storage, read> x: array<f32>; // (R, C)
@group(0) @binding(2) var<storage, read> w: array<f32>; // (C)

@group(0) @binding(3) var<storage, read_write> y: array<f32>; // (R, C)
@group(0) @binding(4) var<storage, read_write> new_scales: array<f32>; // (R)

@group(0) @binding(3) var<storage, read> dy: array<f32>; // (R, C)
@group(0) @binding(4) var<storage, read> scales: array<f32>; // (R)
@group(0) @binding(5) var<storage, read_write> dx: array<f32>; // (R, C)
@group(0) @binding(6) var<storage, read_write> dw: array<f32>; // (C)

var<workgroup> sums: array<f32, 256>;

/// The sum of `v` over the threads of a row, for each of them: by ROOT of them first, then by all.
fn row_sum(local: u32, v: f32) -> f32 {
    let lane = local % LANES;
    let first = local - lane;
    sums[local] = v;
    workgroupBarrier();
    if (lane < ROOT) {
        var part = v;
        for (var i = lane + ROOT; i < LANES; i += ROOT) {
            part += sums[first + i];
        }
        sums[local] = part;
    }
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < ROOT; i++) {
        sum += sums[first + i];
    }
    workgroupBarrier();
    return sum;
}

fn scale_of(sum_of_squares: f32) -> f32 {
    return inverseSqrt(sum_of_squares / f32(C) + EPS);
}

fn store_y(row: u32, c: u32, scale: f32) {
    let i = row * C + c;
    y[i] = x[i] * scale * w[c];
}

/// g * h at column c of a row.
fn term(row: u32, c: u32, scale: f32) -> f32 {
    let i = row * C + c;
    return dy[i] * w[c] * x[i] * scale;
}

fn store_dx(row: u32, c: u32, scale: f32, mean: f32) {
    let i = row * C + c;
    dx[i] = epilogue(i, scale * (dy[i] * w[c] - x[i] * scale * mean));
}

/// What one row adds to dw at column c.
fn column_term(row: u32, c: u32) -> f32 {
    return dy[row * C + c] * x[row * C + c] * scales[row];
}

// ---- GPUs: 256 / LANES rows a workgroup ----------------------------------------------------------------------

@compute @workgroup_size(256)
fn forward_gpu(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    // Threads beyond the last row take part in the barriers, on the last row, and store nothing.
    let own = flat_id(workgroup, grid) * (256u / LANES) + local / LANES;
    let row = min(own, R - 1u);
    let lane = local % LANES;
    var sum = 0.0;
    for (var c = lane; c < C; c += LANES) {
        sum += square(x[row * C + c]);
    }
    let scale = scale_of(row_sum(local, sum));
    if (own < R) {
        for (var c = lane; c < C; c += LANES) {
            store_y(row, c, scale);
        }
        if (lane == 0u) {
            new_scales[row] = scale;
        }
    }
}

@compute @workgroup_size(256)
fn backward_gpu(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let group = flat_id(workgroup, grid);
    if (group < ROW_GROUPS) {
        // 1. Rows of dx.
        let own = group * (256u / LANES) + local / LANES;
        let row = min(own, R - 1u);
        let lane = local % LANES;
        let scale = scales[row];
        var sum = 0.0;
        for (var c = lane; c < C; c += LANES) {
            sum += term(row, c, scale);
        }
        let mean = row_sum(local, sum) / f32(C);
        if (own < R) {
            for (var c = lane; c < C; c += LANES) {
                store_dx(row, c, scale, mean);
            }
        }
    } else {
        // 2. Sixteen columns of dw, each by sixteen threads that share the rows.
        let c = (group - ROW_GROUPS) * 16u + local % 16u;
        var sum = 0.0;
        if (c < C) {
            for (var row = local / 16u; row < R; row += 16u) {
                sum += column_term(row, c);
            }
        }
        sums[local] = sum;
        for (var half = 128u; half >= 16u; half /= 2u) {
            workgroupBarrier();
            if (local < half) {
                sums[local] += sums[local + half];
            }
        }
        if (local < 16u && c < C) {
            dw[c] = sums[local];
        }
    }
}

// ---- CPU adapters: no barrier, one thread a row or a column ---------------------------------------------------

@compute @workgroup_size(32)
fn forward_software(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = flat_id(workgroup, grid) * 32u + local;
    if (row >= R) {
        return;
    }
    var sum = 0.0;
    for (var c = 0u; c < C; c++) {
        sum += square(x[row * C + c]);
    }
    let scale = scale_of(sum);
    for (var c = 0u; c < C; c++) {
        store_y(row, c, scale);
    }
    new_scales[row] = scale;
}

@compute @workgroup_size(32)
fn backward_software(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let group = flat_id(workgroup, grid);
    if (group < ROW_GROUPS) {
        let row = group * 32u + local;
        if (row >= R) {
            return;
        }
        let scale = scales[row];
        var sum = 0.0;
        for (var c = 0u; c < C; c++) {
            sum += term(row, c, scale);
        }
        for (var c = 0u; c < C; c++) {
            store_dx(row, c, scale, sum / f32(C));
        }
    } else {
        let c = (group - ROW_GROUPS) * 32u + local;
        if (c >= C) {
            return;
        }
        // Blocks of 64 rows first, so that the rounding error of many rows stays small.
        var sum = 0.0;
        for (var first = 0u; first < R; first += 64u) {
            var block = 0.0;
            for (var row = first; row < min(first + 64u, R); row++) {
                block += column_term(row, c);
            }
            sum += block;
        }
        dw[c] = sum;
    }
}
