// y = (x - mean) * rstd * w + b, where mean and rstd = 1 / sqrt(variance + EPS) are those of a row of x.
// Backward, with h = (x - mean) * rstd and g = dy * w:
//   dx = rstd * (g - mean(g) - h * mean(g * h)),  dw = sum over rows of dy * h,  db = sum over rows of dy.
// Host side: crates/tensor/src/ops/layer_norm.rs. Dispatch: `forward*` over rows; `backward*` over rows first, then over
// columns, in one grid. `*_gpu` share a row among LANES threads of a workgroup of 256, `*_software` give each a thread.

override R: u32 = 1u; // rows
override C: u32 = 1u; // elements of a row
override EPS: f32 = 1e-5;
override BIAS: bool = false; // without it, binding 3 of the forward pass holds w again
override LANES: u32 = 64u; // threads of one row: 64 or 256
override ROOT: u32 = select(8u, 16u, LANES == 256u); // of LANES
override ROW_GROUPS: u32 = 1u; // workgroups of the backward pass that work on rows

@group(0) @binding(1) var<storage, read> x: array<f32>; // (R, C)
@group(0) @binding(2) var<storage, read> w: array<f32>; // (C)

@group(0) @binding(3) var<storage, read> b: array<f32>; // (C)
@group(0) @binding(4) var<storage, read_write> y: array<f32>; // (R, C)
@group(0) @binding(5) var<storage, read_write> new_stats: array<vec2<f32>>; // (R): mean, rstd

@group(0) @binding(3) var<storage, read> dy: array<f32>; // (R, C)
@group(0) @binding(4) var<storage, read> stats: array<vec2<f32>>; // (R): mean, rstd
@group(0) @binding(5) var<storage, read_write> dx: array<f32>; // (R, C)
@group(0) @binding(6) var<storage, read_write> dw: array<f32>; // (C)
@group(0) @binding(7) var<storage, read_write> db: array<f32>; // (C)

var<workgroup> sums: array<vec2<f32>, 256>;

/// The sum of `v` over the threads of a row, for each of them: by ROOT of them first, then by all.
fn row_sum(local: u32, v: vec2<f32>) -> vec2<f32> {
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
    var sum = vec2<f32>();
    for (var i = 0u; i < ROOT; i++) {
        sum += sums[first + i];
    }
    workgroupBarrier();
    return sum;
}

fn store_y(row: u32, c: u32, s: vec2<f32>) {
    let i = row * C + c;
    y[i] = (x[i] - s.x) * s.y * w[c] + select(0.0, b[c], BIAS);
}

/// (g, g * h) at column c of a row.
fn terms(row: u32, c: u32, s: vec2<f32>) -> vec2<f32> {
    let i = row * C + c;
    let g = dy[i] * w[c];
    return vec2<f32>(g, g * (x[i] - s.x) * s.y);
}

fn store_dx(row: u32, c: u32, s: vec2<f32>, mean: vec2<f32>) {
    let i = row * C + c;
    dx[i] = epilogue(i, s.y * (dy[i] * w[c] - mean.x - (x[i] - s.x) * s.y * mean.y));
}

/// What one row adds to (dw, db) at column c.
fn column_terms(row: u32, c: u32) -> vec2<f32> {
    let s = stats[row];
    let g = dy[row * C + c];
    return vec2<f32>(g * (x[row * C + c] - s.x) * s.y, g);
}

// ---- GPUs: 256 / LANES rows a workgroup ----------------------------------------------------------------------

@compute @workgroup_size(256)
fn forward_gpu(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    // 1. Threads beyond the last row take part in the barriers, on the last row, and store nothing.
    let own = flat_id(workgroup, grid) * (256u / LANES) + local / LANES;
    let row = min(own, R - 1u);
    let lane = local % LANES;
    // 2. The mean, then the mean square around it: one pass over both would cancel.
    var sum = 0.0;
    for (var c = lane; c < C; c += LANES) {
        sum += x[row * C + c];
    }
    let mean = row_sum(local, vec2<f32>(sum, 0.0)).x / f32(C);
    var squares = 0.0;
    for (var c = lane; c < C; c += LANES) {
        squares += square(x[row * C + c] - mean);
    }
    let s = vec2<f32>(mean, inverseSqrt(row_sum(local, vec2<f32>(squares, 0.0)).x / f32(C) + EPS));
    // 3. The row.
    if (own < R) {
        for (var c = lane; c < C; c += LANES) {
            store_y(row, c, s);
        }
        if (lane == 0u) {
            new_stats[row] = s;
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
        let s = stats[row];
        var sum = vec2<f32>(0.0);
        for (var c = lane; c < C; c += LANES) {
            sum += terms(row, c, s);
        }
        let mean = row_sum(local, sum) / f32(C);
        if (own < R) {
            for (var c = lane; c < C; c += LANES) {
                store_dx(row, c, s, mean);
            }
        }
    } else {
        // 2. Sixteen columns of dw and db, each by sixteen threads that share the rows.
        let c = (group - ROW_GROUPS) * 16u + local % 16u;
        var sum = vec2<f32>(0.0);
        if (c < C) {
            for (var row = local / 16u; row < R; row += 16u) {
                sum += column_terms(row, c);
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
            dw[c] = sums[local].x;
            db[c] = sums[local].y;
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
        sum += x[row * C + c];
    }
    let mean = sum / f32(C);
    var squares = 0.0;
    for (var c = 0u; c < C; c++) {
        squares += square(x[row * C + c] - mean);
    }
    let s = vec2<f32>(mean, inverseSqrt(squares / f32(C) + EPS));
    for (var c = 0u; c < C; c++) {
        store_y(row, c, s);
    }
    new_stats[row] = s;
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
        let s = stats[row];
        var sum = vec2<f32>(0.0);
        for (var c = 0u; c < C; c++) {
            sum += terms(row, c, s);
        }
        for (var c = 0u; c < C; c++) {
            store_dx(row, c, s, sum / f32(C));
        }
    } else {
        let c = (group - ROW_GROUPS) * 32u + local;
        if (c >= C) {
            return;
        }
        // Blocks of 64 rows first, so that the rounding error of many rows stays small.
        var sum = vec2<f32>(0.0);
        for (var first = 0u; first < R; first += 64u) {
            var block = vec2<f32>(0.0);
            for (var row = first; row < min(first + 64u, R); row++) {
                block += column_terms(row, c);
            }
            sum += block;
        }
        dw[c] = sum.x;
        db[c] = sum.y;
    }
}
