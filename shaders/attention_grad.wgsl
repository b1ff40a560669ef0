// The gradient of attention, whose weights are recomputed from the log-sum-exp, so that no T x S matrix is kept.
// With p = exp(q k / sqrt(D) - lse), delta = sum(dy y), ds = p (dy v - delta) / sqrt(D):
// dq = sum over s of ds k, dk = sum over t of ds q, dv = sum over t of p dy (Dao et al. 2022, appendix B.2).
// Behind attention_product.wgsl, for GPUs. Host side: crates/tensor/src/ops/attention_grad.rs.
// Dispatch: one workgroup for 64 or 32 rows of a head, of dq or of dk and dv.

// Where (b, row, head, 0) lies in dq or dk, and how far dv lies behind dk.
override OUT_OFFSET: u32; override OUT_B: u32; override OUT_ROW: u32; override OUT_HEAD: u32;
override OUT_DV: u32;

@group(0) @binding(5) var<storage, read> dy: array<vec4<f32>>; // (B, T, H, D)
@group(0) @binding(6) var<storage, read> y: array<vec4<f32>>; // (B, T, H, D)
@group(0) @binding(7) var<storage, read> lse: array<f32>; // (B, H, T)
@group(0) @binding(8) var<storage, read_write> out: array<vec4<f32>>; // dq (B, T, H, D), or dk and dv (B, S, G, D)

fn y_at(b: u32, t: u32, h: u32) -> u32 {
    return ((b * T + t) * H + h) * D4;
}

/// Vec4 i of a row of q, k, v or dy, zeros beyond D. The last row, or the last key that is seen, stands for the rest.
fn fetch(which: u32, b: u32, row: u32, h: u32, i: u32) -> vec4<f32> {
    let t = min(row, T - 1u);
    let s = min(row, visible(b, T - 1u) - 1u);
    let at = min(i, D4 - 1u);
    var x: vec4<f32>;
    switch which {
        case Q: { x = q[Q_OFFSET + b * Q_B + t * Q_T + h * Q_H + at]; }
        case K: { x = k[K_OFFSET + b * K_B + s * K_S + h / GROUP * K_G + at]; }
        case V: { x = v[V_OFFSET + b * V_B + s * V_S + h / GROUP * V_G + at]; }
        default: { x = dy[y_at(b, t, h) + at]; }
    }
    return select(vec4<f32>(), x, i < D4);
}

/// Parts of delta of 64 queries from t0 on: left[n][i][j] are of queries j + 8 n + (0, 16, 32, 48).
fn stage_deltas(b: u32, t0: u32, h: u32, lane: u32) {
    var delta = vec4<f32>();
    let t = min(t0 + lane / 8u + vec4<u32>(0u, 16u, 32u, 48u), vec4<u32>(T - 1u));
    let at = vec4<u32>(y_at(b, t.x, h), y_at(b, t.y, h), y_at(b, t.z, h), y_at(b, t.w, h));
    for (var i0 = 0u; i0 < D4; i0 += 8u) {
        let j = at + min(i0 + lane % 8u, D4 - 1u);
        let x = vec4<f32>(dot(dy[j.x], y[j.x]), dot(dy[j.y], y[j.y]), dot(dy[j.z], y[j.z]), dot(dy[j.w], y[j.w]));
        delta += select(vec4<f32>(), x, i0 + lane % 8u < D4);
    }
    left[lane / 64u][lane % 8u][lane / 8u % 8u] = delta;
}

/// Delta of four queries: the sum of their parts.
fn delta_of(n: u32, j: u32) -> vec4<f32> {
    var delta = vec4<f32>();
    for (var i = 0u; i < 8u; i++) {
        delta += left[n][i][j];
    }
    return delta;
}

fn lse_of(b: u32, h: u32, t: vec4<u32>) -> vec4<f32> {
    let row = (b * H + h) * T;
    let at = row + min(t, vec4<u32>(T - 1u));
    return vec4<f32>(lse[at.x], lse[at.y], lse[at.z], lse[at.w]);
}

/// Which of four queries and four keys see each other.
fn sees(b: u32, t: vec4<u32>, s: vec4<u32>) -> vec4<bool> {
    let own = min(t, vec4<u32>(T - 1u));
    let first =
        vec4<u32>(first_seen(b, own.x), first_seen(b, own.y), first_seen(b, own.z), first_seen(b, own.w));
    return (t < vec4<u32>(T)) & (s >= first) & (s <= start(b) + t) & (s < vec4<u32>(S));
}

/// The weights of four pairs of query and key; `whole` says that all pairs of the tile see each other.
fn weigh(score: vec4<f32>, lse4: vec4<f32>, whole: bool, b: u32, t: vec4<u32>, s: vec4<u32>) -> vec4<f32> {
    var x = SCALE * score - lse4;
    if (!whole) {
        x = select(vec4<f32>(MASKED), x, sees(b, t, s));
    }
    return exp(x);
}

/// The same of four rows, whose queries are dt and whose keys are ds apart.
fn weights(
    m: mat4x4<f32>, l: mat4x4<f32>, whole: bool, b: u32, t: vec4<u32>, dt: u32, s: vec4<u32>, ds: u32,
) -> mat4x4<f32> {
    return mat4x4<f32>(
        weigh(m[0], l[0], whole, b, t, s), weigh(m[1], l[1], whole, b, t + dt, s + ds),
        weigh(m[2], l[2], whole, b, t + 2u * dt, s + 2u * ds), weigh(m[3], l[3], whole, b, t + 3u * dt, s + 3u * ds),
    );
}

/// ds of four rows, from p, dy v and delta.
fn slopes(p: mat4x4<f32>, x: mat4x4<f32>, delta: mat4x4<f32>) -> mat4x4<f32> {
    let d = SCALE * (x - delta);
    return mat4x4<f32>(p[0] * d[0], p[1] * d[1], p[2] * d[2], p[3] * d[3]);
}

/// The matrix whose rows (columns of WGSL) are filled with one number each.
fn filled(x: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(vec4<f32>(x.x), vec4<f32>(x.y), vec4<f32>(x.z), vec4<f32>(x.w));
}

/// The matrix of four equal rows.
fn repeated(x: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(x, x, x, x);
}

fn store_row(x: vec4<f32>, row: u32, rows: u32, at: u32, i: u32) {
    if (row < rows && i < D4) {
        out[at + row * OUT_ROW + i] = x;
    }
}

fn store_four(m: mat4x4<f32>, row: u32, rows: u32, at: u32, i: u32) {
    store_row(m[0], row, rows, at, i);
    store_row(m[1], row + 8u, rows, at, i);
    store_row(m[2], row + 16u, rows, at, i);
    store_row(m[3], row + 24u, rows, at, i);
}

/// Stores what a thread has of a result whose row 0 is at `at`, from its row on.
fn store(z: Rows, row: u32, rows: u32, at: u32, tx: u32) {
    store_four(z.a, row, rows, at, tx);
    if (TALL) {
        store_four(z.b, row + 32u, rows, at, tx);
    }
    if (WIDE) {
        store_four(z.b, row, rows, at, tx + 16u);
    }
}

@compute @workgroup_size(128)
fn dq(
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
    stage_deltas(b, t0, h, lane);
    workgroupBarrier();
    let even = delta_of(0u, ty); // of rows r = 0, 2, 4, 6
    let odd = delta_of(1u, ty);
    workgroupBarrier();
    let row = t0 + ty + vec4<u32>(0u, 8u, 16u, 24u);
    let lse_a = lse_of(b, h, row);
    let lse_b = lse_of(b, h, row + 32u);
    var z = Rows();
    let end = visible(b, min(t0 + ROWS, T) - 1u);
    for (var s0 = first_seen(b, t0) / COLUMNS * COLUMNS; s0 < end; s0 += COLUMNS) {
        var p = products(Q, t0, K, s0, b, h, lane);
        let whole = !HAS_DOCUMENTS && t0 + ROWS <= T && s0 + COLUMNS <= visible(b, t0);
        let s = s0 + tx + vec4<u32>(0u, 16u, 32u, 48u);
        p.a = weights(p.a, filled(lse_a), whole, b, vec4<u32>(t0 + ty), 8u, s, 0u);
        p.b = weights(p.b, filled(lse_b), whole, b, vec4<u32>(t0 + ty + 32u), 8u, s, 0u);
        var ds = products(DY, t0, V, s0, b, h, lane);
        ds.a = slopes(p.a, ds.a, filled(vec4<f32>(even.x, odd.x, even.y, odd.y)));
        ds.b = slopes(p.b, ds.b, filled(vec4<f32>(even.z, odd.z, even.w, odd.w)));
        z = accumulate(z, ds, false, K, s0, b, h, lane);
    }
    store(z, t0 + ty, T, OUT_OFFSET + b * OUT_B + h * OUT_HEAD, tx);
}

@compute @workgroup_size(128)
fn dkv(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = flat_id(workgroup, grid);
    let blocks = (S + ROWS - 1u) / ROWS;
    let heads = H / GROUP;
    if (n >= blocks * B * heads) {
        return;
    }
    let s0 = n / (B * heads) * ROWS; // the most queries first
    let b = n / heads % B;
    let g = n % heads;
    let ty = place(lane).x;
    let tx = place(lane).y;
    let s = vec4<u32>(s0 + ty);
    var dk = Rows();
    var dv = Rows();
    let first = (max(s0, start(b)) - start(b)) / COLUMNS * COLUMNS; // queries before it see none of these keys
    for (var h = g * GROUP; h < (g + 1u) * GROUP; h++) {
        // Up to where no query's document begins before the end of these keys.
        for (var t0 = first; t0 < T && first_seen(b, t0) < s0 + ROWS; t0 += COLUMNS) {
            var p = products(K, s0, Q, t0, b, h, lane);
            let whole = !HAS_DOCUMENTS && t0 + COLUMNS <= T && s0 + ROWS <= visible(b, t0);
            let t = t0 + tx + vec4<u32>(0u, 16u, 32u, 48u);
            let lse4 = lse_of(b, h, t);
            p.a = weights(p.a, repeated(lse4), whole, b, t, 0u, s, 8u);
            p.b = weights(p.b, repeated(lse4), whole, b, t, 0u, s + 32u, 8u);
            var ds = products(V, s0, DY, t0, b, h, lane);
            stage_deltas(b, t0, h, lane);
            workgroupBarrier();
            let delta = delta_of(tx / 8u, tx % 8u);
            workgroupBarrier();
            ds.a = slopes(p.a, ds.a, repeated(delta));
            ds.b = slopes(p.b, ds.b, repeated(delta));
            dv = accumulate(dv, p, false, DY, t0, b, h, lane);
            dk = accumulate(dk, ds, false, Q, t0, b, h, lane);
        }
    }
    let at = OUT_OFFSET + b * OUT_B + g * OUT_HEAD;
    store(dk, s0 + ty, S, at, tx);
    store(dv, s0 + ty, S, at + OUT_DV, tx);
}
