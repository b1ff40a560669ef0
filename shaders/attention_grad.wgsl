// The gradient of attention, whose weights are recomputed from the log-sum-exp, so that no T x S matrix is kept.
// With p = exp(q k / sqrt(D) - lse), delta = sum(dy y), ds = p (dy v - delta) / sqrt(D):
// dq = sum over s of ds k, dk = sum over t of ds q, dv = sum over t of p dy (Dao et al. 2022, appendix B.2).
// Host side: crates/tensor/src/ops/attention_grad.rs. For GPUs.
// Dispatch: one workgroup for 32 rows of a head, of dq or of dk and dv.

override B: u32;
override T: u32; // queries
override S: u32; // keys
override H: u32; // query heads
override GROUP: u32; // H / G, query heads that share a key/value head
override D4: u32; // D / 4
override SCALE: f32; // 1 / sqrt(D)
override HAS_POSITION: bool; override HAS_DOCUMENTS: bool; // what bounds holds, if anything
// Where (b, t, h, 0) lies in q, and (b, s, g, 0) in k and v, in vec4s.
override Q_OFFSET: u32; override Q_B: u32; override Q_T: u32; override Q_H: u32;
override K_OFFSET: u32; override K_B: u32; override K_S: u32; override K_G: u32;
override V_OFFSET: u32; override V_B: u32; override V_S: u32; override V_G: u32;

// Where (b, row, head, 0) lies in dq or dk, and how far dv lies behind dk.
override OUT_OFFSET: u32; override OUT_B: u32; override OUT_ROW: u32; override OUT_HEAD: u32;
override OUT_DV: u32;

@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>; // (B, T, H, D)
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>; // (B, S, G, D)
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>; // (B, S, G, D)
@group(0) @binding(4) var<storage, read> bounds: array<u32>; // (B), position of query 0; or (B, T), first keys
@group(0) @binding(5) var<storage, read> dy: array<vec4<f32>>; // (B, T, H, D)
@group(0) @binding(6) var<storage, read> y: array<vec4<f32>>; // (B, T, H, D)
@group(0) @binding(7) var<storage, read> lse: array<f32>; // (B, H, T)
@group(0) @binding(8) var<storage, read_write> out: array<vec4<f32>>; // dq (B, T, H, D), or dk and dv (B, S, G, D)

/// The key that stands at the place of query 0; query t sees it and those before it, and t more.
fn start(b: u32) -> u32 {
    if (HAS_POSITION) {
        return min(bounds[b], S);
    }
    return 0u;
}

/// The first key that query t of sequence b sees: where its document begins.
fn first_seen(b: u32, t: u32) -> u32 {
    if (HAS_DOCUMENTS) {
        return min(bounds[b * T + t], t);
    }
    return 0u;
}

fn q_at(b: u32, t: u32, h: u32) -> u32 {
    return Q_OFFSET + b * Q_B + t * Q_T + h * Q_H;
}

fn k_at(b: u32, s: u32, g: u32) -> u32 {
    return K_OFFSET + b * K_B + s * K_S + g * K_G;
}

fn v_at(b: u32, s: u32, g: u32) -> u32 {
    return V_OFFSET + b * V_B + s * V_S + g * V_G;
}

fn y_at(b: u32, t: u32, h: u32) -> u32 {
    return ((b * T + t) * H + h) * D4;
}

fn out_at(b: u32, row: u32, head: u32) -> u32 {
    return OUT_OFFSET + b * OUT_B + row * OUT_ROW + head * OUT_HEAD;
}

// Lane (ty, tx) of 8 x 8 holds the products of rows 4 ty + r with columns tx + 8 c: queries by keys for dq, keys by
// queries for dk and dv; and columns tx + 8 j (vec4s) of the result.

const TILE: u32 = 32u;
const STEP: u32 = 8u; // vec4s of a row that are staged at a time
const PITCH: u32 = 9u; // of a staged row; 9 keeps rows in different banks

const Q: u32 = 0u;
const K: u32 = 1u;
const V: u32 = 2u;
const DY: u32 = 3u;

var<workgroup> left: array<vec4<f32>, 288>;
var<workgroup> right: array<vec4<f32>, 288>;
var<workgroup> weights: array<f32, 1056>; // p or ds of the tile, rows of 33
var<workgroup> deltas: array<f32, 32>; // of the tile's queries
var<workgroup> lses: array<f32, 32>;

/// Vec4 i of a row of q, k, v or dy; zeros beyond the end.
fn fetch(which: u32, b: u32, row: u32, h: u32, i: u32) -> vec4<f32> {
    if (i >= D4 || row >= select(S, T, which == Q || which == DY)) {
        return vec4<f32>();
    }
    switch which {
        case Q: { return q[q_at(b, row, h) + i]; }
        case K: { return k[k_at(b, row, h / GROUP) + i]; }
        case V: { return v[v_at(b, row, h / GROUP) + i]; }
        default: { return dy[y_at(b, row, h) + i]; }
    }
}

/// The products of 32 rows of one tensor with 32 rows of another.
fn multiply(a: u32, a0: u32, c: u32, c0: u32, b: u32, h: u32, lane: u32) -> array<vec4<f32>, 4> {
    var products: array<vec4<f32>, 4>;
    let tx = lane % 8u;
    for (var i0 = 0u; i0 < D4; i0 += STEP) {
        for (var e = lane; e < TILE * STEP; e += 64u) {
            left[e / STEP * PITCH + e % STEP] = fetch(a, b, a0 + e / STEP, h, i0 + e % STEP);
            right[e / STEP * PITCH + e % STEP] = fetch(c, b, c0 + e / STEP, h, i0 + e % STEP);
        }
        workgroupBarrier();
        for (var i = 0u; i < STEP; i++) {
            let c0 = right[tx * PITCH + i];
            let c1 = right[(tx + 8u) * PITCH + i];
            let c2 = right[(tx + 16u) * PITCH + i];
            let c3 = right[(tx + 24u) * PITCH + i];
            for (var r = 0u; r < 4u; r++) {
                let a = left[(lane / 8u * 4u + r) * PITCH + i];
                products[r] += vec4<f32>(dot(a, c0), dot(a, c1), dot(a, c2), dot(a, c3));
            }
        }
        workgroupBarrier();
    }
    return products;
}

/// Adds the tile's weights, which are shared here, times 32 rows of a tensor.
fn accumulate(
    sum: ptr<function, array<vec4<f32>, 16>>,
    tile: ptr<function, array<vec4<f32>, 4>>,
    c: u32, c0: u32, b: u32, h: u32, lane: u32,
) {
    let tx = lane % 8u;
    let row = lane / 8u * 4u;
    for (var r = 0u; r < 4u; r++) {
        for (var j = 0u; j < 4u; j++) {
            weights[(row + r) * 33u + tx + 8u * j] = (*tile)[r][j];
        }
    }
    for (var j = 0u; j * STEP < D4; j++) {
        for (var e = lane; e < TILE * STEP; e += 64u) {
            right[e / STEP * PITCH + e % STEP] = fetch(c, b, c0 + e / STEP, h, j * STEP + e % STEP);
        }
        workgroupBarrier();
        for (var s = 0u; s < TILE; s++) {
            for (var r = 0u; r < 4u; r++) {
                (*sum)[4u * j + r] += weights[(row + r) * 33u + s] * right[s * PITCH + tx];
            }
        }
        workgroupBarrier();
    }
}

/// delta and lse of 32 queries, beyond the last one its own: 0 times whatever stood there before might be NaN.
fn stage_queries(b: u32, t0: u32, h: u32, lane: u32) {
    let t = min(t0 + lane, T - 1u);
    if (lane < TILE) {
        var delta = 0.0;
        for (var i = 0u; i < D4; i++) {
            delta += dot(dy[y_at(b, t, h) + i], y[y_at(b, t, h) + i]);
        }
        deltas[lane] = delta;
        lses[lane] = lse[(b * H + h) * T + t];
    }
}

@compute @workgroup_size(64)
fn dq(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let blocks = (T + TILE - 1u) / TILE;
    let n = flat_id(workgroup, grid);
    let t0 = n % blocks * TILE;
    let h = n / blocks % H;
    let b = n / (blocks * H);
    if (b >= B) {
        return;
    }
    let row = lane / 8u * 4u;
    var dq: array<vec4<f32>, 16>; // [4 j + r], D <= 128
    stage_queries(b, t0, h, lane);
    let keys = min(start(b) + min(t0 + TILE, T), S); // up to that of the last query
    for (var s0 = first_seen(b, t0) / TILE * TILE; s0 < keys; s0 += TILE) {
        var score = multiply(Q, t0, K, s0, b, h, lane);
        var ds = multiply(DY, t0, V, s0, b, h, lane);
        let key = vec4<u32>(s0 + lane % 8u) + vec4<u32>(0u, 8u, 16u, 24u);
        for (var r = 0u; r < 4u; r++) {
            let t = t0 + row + r;
            let seen = (key >= vec4<u32>(first_seen(b, t))) & (key < vec4<u32>(min(start(b) + t + 1u, S)));
            let p = exp(select(vec4<f32>(MASKED), SCALE * score[r] - lses[row + r], seen));
            ds[r] = SCALE * p * (ds[r] - deltas[row + r]);
        }
        accumulate(&dq, &ds, K, s0, b, h, lane);
    }
    for (var r = 0u; r < 4u && t0 + row + r < T; r++) {
        for (var i = lane % 8u; i < D4; i += 8u) {
            out[out_at(b, t0 + row + r, h) + i] = dq[i / 8u * 4u + r];
        }
    }
}

@compute @workgroup_size(64)
fn dkv(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let blocks = (S + TILE - 1u) / TILE;
    let n = flat_id(workgroup, grid);
    let s0 = n % blocks * TILE;
    let g = n / blocks % (H / GROUP);
    let b = n / (blocks * (H / GROUP));
    if (b >= B) {
        return;
    }
    let row = lane / 8u * 4u;
    var dk: array<vec4<f32>, 16>;
    var dv: array<vec4<f32>, 16>;
    let first = (max(s0, start(b)) - start(b)) / TILE * TILE; // queries before it see none of these keys
    for (var h = g * GROUP; h < (g + 1u) * GROUP; h++) {
        // Up to where no query's document begins before the end of these keys.
        for (var t0 = first; t0 < T && first_seen(b, t0) / TILE * TILE <= s0; t0 += TILE) {
            stage_queries(b, t0, h, lane);
            var p = multiply(K, s0, Q, t0, b, h, lane);
            var ds = multiply(V, s0, DY, t0, b, h, lane);
            for (var r = 0u; r < 4u; r++) {
                for (var j = 0u; j < 4u; j++) {
                    let c = lane % 8u + 8u * j; // of the query
                    let s = s0 + row + r;
                    let seen = t0 + c < T && s <= start(b) + t0 + c && first_seen(b, t0 + c) <= s;
                    p[r][j] = exp(select(MASKED, SCALE * p[r][j] - lses[c], seen));
                    ds[r][j] = SCALE * p[r][j] * (ds[r][j] - deltas[c]);
                }
            }
            accumulate(&dv, &p, DY, t0, b, h, lane);
            accumulate(&dk, &ds, Q, t0, b, h, lane);
        }
    }
    for (var r = 0u; r < 4u && s0 + row + r < S; r++) {
        for (var i = lane % 8u; i < D4; i += 8u) {
            let at = out_at(b, s0 + row + r, g) + i;
            out[at] = dk[i / 8u * 4u + r];
            out[at + OUT_DV] = dv[i / 8u * 4u + r];
        }
    }
}
