// What attention.wgsl computes, for GPUs: tile by tile, the softmax taken online (FlashAttention-2, Dao 2023,
// https://arxiv.org/abs/2307.08691). Behind attention_product.wgsl. Host side: crates/tensor/src/ops/attention.rs.
// Dispatch: one workgroup for 64 or 32 queries of a head.

@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>; // (B, T, H, D)
@group(0) @binding(6) var<storage, read_write> lse: array<f32>; // (B, H, T)

/// Vec4 i of a row of q, k or v, zeros beyond D. The last row, or the last key that is seen, stands for the rest.
fn fetch(which: u32, b: u32, row: u32, h: u32, i: u32) -> vec4<f32> {
    let t = min(row, T - 1u);
    let s = min(row, visible(b, T - 1u) - 1u);
    let at = min(i, D4 - 1u);
    var x: vec4<f32>;
    switch which {
        case Q: { x = q[Q_OFFSET + b * Q_B + t * Q_T + h * Q_H + at]; }
        case K: { x = k[K_OFFSET + b * K_B + s * K_S + h / GROUP * K_G + at]; }
        default: { x = v[V_OFFSET + b * V_B + s * V_S + h / GROUP * V_G + at]; }
    }
    return select(vec4<f32>(), x, i < D4 || D4 % 16u == 0u);
}

/// Scaled scores of query t with four keys; MASKED where it does not see them.
fn mask(score: vec4<f32>, b: u32, t: u32, key: vec4<u32>) -> vec4<f32> {
    let own = min(t, T - 1u);
    let seen = (key >= vec4<u32>(first_seen(b, own))) & (key < vec4<u32>(visible(b, own)));
    return select(vec4<f32>(MASKED), SCALE * score, seen);
}

/// Of queries t + 8 r; `whole` says that they see all keys of the tile.
fn mask_rows(m: mat4x4<f32>, whole: bool, b: u32, t: u32, key: vec4<u32>) -> mat4x4<f32> {
    if (whole) {
        return SCALE * m;
    }
    return mat4x4<f32>(
        mask(m[0], b, t, key), mask(m[1], b, t + 8u, key), mask(m[2], b, t + 16u, key), mask(m[3], b, t + 24u, key),
    );
}

/// The largest number of each of four rows.
fn tops(rows: mat4x4<f32>) -> vec4<f32> {
    let m = transpose(rows);
    return max(max(m[0], m[1]), max(m[2], m[3]));
}

/// exp(score - top) of each row.
fn weights(m: mat4x4<f32>, top: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(exp(m[0] - top.x), exp(m[1] - top.y), exp(m[2] - top.z), exp(m[3] - top.w));
}

fn scale_rows(m: mat4x4<f32>, by: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(by.x * m[0], by.y * m[1], by.z * m[2], by.w * m[3]);
}

/// The sum of each row.
fn sums(rows: mat4x4<f32>) -> vec4<f32> {
    let m = transpose(rows);
    return (m[0] + m[1]) + (m[2] + m[3]);
}

/// Stores the columns of four rows, t + 8 r, divided by their totals; and with the first column their log-sum-exp.
fn store(m: mat4x4<f32>, total: vec4<f32>, lse4: vec4<f32>, b: u32, t: u32, h: u32, i: u32) {
    store_row(m[0] / total.x, lse4.x, b, t, h, i);
    store_row(m[1] / total.y, lse4.y, b, t + 8u, h, i);
    store_row(m[2] / total.z, lse4.z, b, t + 16u, h, i);
    store_row(m[3] / total.w, lse4.w, b, t + 24u, h, i);
}

fn store_row(x: vec4<f32>, lse1: f32, b: u32, t: u32, h: u32, i: u32) {
    if (t < T && i < D4) {
        y[((b * T + t) * H + h) * D4 + i] = x;
        if (i == 0u) {
            lse[(b * H + h) * T + t] = lse1;
        }
    }
}

@compute @workgroup_size(128)
fn tiles(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = flat_id(workgroup, grid);
    let blocks = (T + ROWS - 1u) / ROWS;
    if (n >= blocks * B * H) {
        return;
    }
    let t0 = (blocks - 1u - n / (B * H)) * ROWS; // the most keys first, so that no long one comes last
    let b = n / H % B;
    let h = n % H;
    let ty = place(lane).x;
    let tx = place(lane).y;
    var sum = Rows(); // of p v, relative to the largest score so far
    var top_a = vec4<f32>(MASKED);
    var top_b = vec4<f32>(MASKED);
    var total_a = vec4<f32>(); // of p, of this thread's keys
    var total_b = vec4<f32>();
    let end = visible(b, min(t0 + ROWS, T) - 1u);
    for (var s0 = first_seen(b, t0) / COLUMNS * COLUMNS; s0 < end; s0 += COLUMNS) {
        // 1. Scores.
        var p = products(Q, t0, K, s0, b, h, lane);
        let key = s0 + tx + vec4<u32>(0u, 16u, 32u, 48u);
        let whole = !HAS_DOCUMENTS && s0 + COLUMNS <= visible(b, t0);
        p.a = mask_rows(p.a, whole, b, t0 + ty, key);
        p.b = mask_rows(p.b, whole, b, t0 + ty + 32u, key);
        // 2. The largest score of each query; what was summed before is shrunk to it.
        left[tx / 8u][tx % 8u][ty] = tops(p.a);
        left[2u + tx / 8u][tx % 8u][ty] = tops(p.b);
        stage_values(V, s0, b, h, 0u, lane);
        workgroupBarrier();
        let before_a = top_a;
        let before_b = top_b;
        for (var i = 0u; i < 8u; i++) {
            top_a = max(top_a, max(left[0][i][ty], left[1][i][ty]));
            top_b = max(top_b, max(left[2][i][ty], left[3][i][ty]));
        }
        let shrink_a = exp(before_a - top_a);
        let shrink_b = exp(before_b - top_b);
        p.a = weights(p.a, top_a);
        p.b = weights(p.b, top_b);
        total_a = total_a * shrink_a + sums(p.a);
        total_b = total_b * shrink_b + sums(p.b);
        sum.a = scale_rows(sum.a, shrink_a);
        sum.b = scale_rows(sum.b, select(shrink_b, shrink_a, vec4<bool>(WIDE)));
        workgroupBarrier();
        // 3. Weights times values.
        sum = accumulate(sum, p, true, V, s0, b, h, lane);
    }
    // 4. The threads of a query add up their totals, and each stores its columns.
    left[tx / 8u][tx % 8u][ty] = total_a;
    left[2u + tx / 8u][tx % 8u][ty] = total_b;
    workgroupBarrier();
    total_a = vec4<f32>();
    total_b = vec4<f32>();
    for (var i = 0u; i < 8u; i++) {
        total_a += left[0][i][ty] + left[1][i][ty];
        total_b += left[2][i][ty] + left[3][i][ty];
    }
    let lse_a = top_a + log(total_a);
    let lse_b = top_b + log(total_b);
    store(sum.a, total_a, lse_a, b, t0 + ty, h, tx);
    if (TALL) {
        store(sum.b, total_b, lse_b, b, t0 + ty + 32u, h, tx);
    }
    if (WIDE) {
        store(sum.b, total_a, lse_a, b, t0 + ty, h, tx + 16u);
    }
}
