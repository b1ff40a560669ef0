// y = softmax(q k^T / sqrt(D) + causal mask) v for each head, without a T x S matrix: the softmax is taken online, key
// by key or tile by tile (FlashAttention, Dao et al. 2022, https://arxiv.org/abs/2205.14135). lse is the logarithm of
// the sum of exponentials, which the gradient needs. Host side: crates/tensor/src/ops/attention.rs.
// Dispatch: `rows` one thread for each query, without barriers; `tiles` one workgroup for 32 queries of a head.

override B: u32; override T: u32; override S: u32; // sequences, queries, keys
override H: u32; override D4: u32; // query heads, D / 4
override GROUP: u32; // H / G, query heads that share a key/value head
override SCALE: f32; // 1 / sqrt(D)
override HAS_POSITION: bool; override HAS_DOCUMENTS: bool; // what bounds holds, if anything
// Where (b, t, h, 0) lies in q, and (b, s, g, 0) in k and v, in vec4s.
override Q_OFFSET: u32; override Q_B: u32; override Q_T: u32; override Q_H: u32;
override K_OFFSET: u32; override K_B: u32; override K_S: u32; override K_G: u32;
override V_OFFSET: u32; override V_B: u32; override V_S: u32; override V_G: u32;

@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>; // (B, T, H, D)
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>; // (B, S, G, D)
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>; // (B, S, G, D)
@group(0) @binding(4) var<storage, read> bounds: array<u32>; // (B), position of query 0; or (B, T), first keys
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>; // (B, T, H, D)
@group(0) @binding(6) var<storage, read_write> lse: array<f32>; // (B, H, T)

/// The first key that query t of sequence b sees: where its document begins.
fn first_seen(b: u32, t: u32) -> u32 {
    if (HAS_DOCUMENTS) {
        return min(bounds[b * T + t], t);
    }
    return 0u;
}

/// One past the last one.
fn visible(b: u32, t: u32) -> u32 {
    var first = 0u;
    if (HAS_POSITION) {
        first = min(bounds[b], S);
    }
    return min(first + t + 1u, S);
}

fn q_at(b: u32, t: u32, h: u32) -> u32 {
    return Q_OFFSET + b * Q_B + t * Q_T + h * Q_H;
}

fn k_at(b: u32, s: u32, h: u32) -> u32 {
    return K_OFFSET + b * K_B + s * K_S + h / GROUP * K_G;
}

fn v_at(b: u32, s: u32, h: u32) -> u32 {
    return V_OFFSET + b * V_B + s * V_S + h / GROUP * V_G;
}

fn sum4(x: vec4<f32>) -> f32 {
    return (x.x + x.y) + (x.z + x.w);
}

// ---- one thread a query -------------------------------------------------------------------------------------

@compute @workgroup_size(64)
fn rows(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = flat_id(workgroup, grid) * 64u + lane;
    let t = n % T;
    let h = n / T % H;
    let b = n / (T * H);
    if (b >= B) {
        return;
    }
    var q_row: array<vec4<f32>, 64>; // D <= 256
    var sum: array<vec4<f32>, 64>; // of p v, relative to the largest score so far
    for (var i = 0u; i < D4; i++) {
        q_row[i] = SCALE * q[q_at(b, t, h) + i];
    }
    var largest = MASKED;
    var total = 0.0; // of p, likewise
    let keys = visible(b, t);
    for (var s = first_seen(b, t); s < keys; s++) {
        let k_row = k_at(b, s, h);
        var products = vec4<f32>();
        for (var i = 0u; i < D4; i++) {
            products += q_row[i] * k[k_row + i];
        }
        let score = sum4(products);
        if (score > largest) {
            let shrink = exp(largest - score);
            total *= shrink;
            for (var i = 0u; i < D4; i++) {
                sum[i] *= shrink;
            }
            largest = score;
        }
        let p = exp(score - largest);
        total += p;
        let v_row = v_at(b, s, h);
        for (var i = 0u; i < D4; i++) {
            sum[i] += p * v[v_row + i];
        }
    }
    for (var i = 0u; i < D4; i++) {
        y[((b * T + t) * H + h) * D4 + i] = sum[i] / total;
    }
    lse[n] = largest + log(total);
}

// ---- 32 queries a workgroup ---------------------------------------------------------------------------------
// Lane (ty, tx) of 8 x 8 holds the scores of queries 4 ty + r with keys tx + 8 c, and columns tx + 8 j (vec4s) of y.

const TILE: u32 = 32u; // queries, and keys
const STEP: u32 = 8u; // vec4s of a row that are staged at a time
const PITCH: u32 = 9u; // of a staged row; 9 keeps rows in different banks

var<workgroup> left: array<vec4<f32>, 288>; // rows of q
var<workgroup> right: array<vec4<f32>, 288>; // rows of k, then of v
var<workgroup> weights: array<f32, 1056>; // p of the tile, rows of 33
var<workgroup> partial: array<f32, 256>; // one number for each query and tx

/// Rows t0.. of q from vec4 i0 on, scaled, into `left`; zeros where there are none.
fn stage_q(b: u32, t0: u32, h: u32, i0: u32, lane: u32) {
    for (var e = lane; e < TILE * STEP; e += 64u) {
        let i = i0 + e % STEP;
        let t = t0 + e / STEP;
        var x = vec4<f32>();
        if (i < D4 && t < T) {
            x = SCALE * q[q_at(b, t, h) + i];
        }
        left[e / STEP * PITCH + e % STEP] = x;
    }
}

/// Rows s0.. of k, or of v, into `right`.
fn stage_kv(values: bool, b: u32, s0: u32, h: u32, i0: u32, lane: u32) {
    for (var e = lane; e < TILE * STEP; e += 64u) {
        let i = i0 + e % STEP;
        let s = s0 + e / STEP;
        var x = vec4<f32>();
        if (i < D4 && s < S) {
            if (values) {
                x = v[v_at(b, s, h) + i];
            } else {
                x = k[k_at(b, s, h) + i];
            }
        }
        right[e / STEP * PITCH + e % STEP] = x;
    }
}

/// Adds the staged part of the dot products of four queries with four keys.
fn multiply(score: ptr<function, array<vec4<f32>, 4>>, row: u32, tx: u32) {
    for (var i = 0u; i < STEP; i++) {
        let k0 = right[tx * PITCH + i];
        let k1 = right[(tx + 8u) * PITCH + i];
        let k2 = right[(tx + 16u) * PITCH + i];
        let k3 = right[(tx + 24u) * PITCH + i];
        for (var r = 0u; r < 4u; r++) {
            let a = left[(row + r) * PITCH + i];
            (*score)[r] += vec4<f32>(dot(a, k0), dot(a, k1), dot(a, k2), dot(a, k3));
        }
    }
}

@compute @workgroup_size(64)
fn tiles(
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
    let tx = lane % 8u;
    let row = lane / 8u * 4u;
    var sum: array<vec4<f32>, 16>; // [4 j + r], D <= 128
    var largest = vec4<f32>(MASKED);
    var total = vec4<f32>(); // of this lane's keys
    let keys = visible(b, min(t0 + TILE, T) - 1u);
    for (var s0 = first_seen(b, t0) / TILE * TILE; s0 < keys; s0 += TILE) {
        // 1. Scores, a few columns at a time.
        var score: array<vec4<f32>, 4>; // [r], of four keys
        for (var i0 = 0u; i0 < D4; i0 += STEP) {
            stage_q(b, t0, h, i0, lane);
            stage_kv(false, b, s0, h, i0, lane);
            workgroupBarrier();
            multiply(&score, row, tx);
            workgroupBarrier();
        }
        // 2. Mask, and the largest score of each query.
        for (var r = 0u; r < 4u; r++) {
            let t = min(t0 + row + r, T - 1u);
            let key = vec4<u32>(s0 + tx) + vec4<u32>(0u, 8u, 16u, 24u);
            let seen = (key >= vec4<u32>(first_seen(b, t))) & (key < vec4<u32>(visible(b, t)));
            score[r] = select(vec4<f32>(MASKED), score[r], seen);
            partial[(row + r) * 8u + tx] = max(max(score[r].x, score[r].y), max(score[r].z, score[r].w));
        }
        workgroupBarrier();
        // 3. Weights; what was summed before is shrunk to the new largest score.
        for (var r = 0u; r < 4u; r++) {
            var top = largest[r];
            for (var c = 0u; c < 8u; c++) {
                top = max(top, partial[(row + r) * 8u + c]);
            }
            let shrink = exp(largest[r] - top);
            let p = exp(score[r] - top);
            largest[r] = top;
            total[r] = total[r] * shrink + sum4(p);
            for (var c = 0u; c < 4u; c++) {
                weights[(row + r) * 33u + tx + 8u * c] = p[c];
                sum[4u * c + r] *= shrink;
            }
        }
        // 4. Weights times values.
        for (var j = 0u; j * STEP < D4; j++) {
            stage_kv(true, b, s0, h, j * STEP, lane);
            workgroupBarrier();
            for (var s = 0u; s < TILE; s++) {
                let value = right[s * PITCH + tx];
                for (var r = 0u; r < 4u; r++) {
                    sum[4u * j + r] += weights[(row + r) * 33u + s] * value;
                }
            }
            workgroupBarrier();
        }
    }
    // 5. The lanes of a query add up their totals, and each stores its columns.
    for (var r = 0u; r < 4u; r++) {
        partial[(row + r) * 8u + tx] = total[r];
    }
    workgroupBarrier();
    for (var r = 0u; r < 4u; r++) {
        let t = t0 + row + r;
        var all = 0.0;
        for (var c = 0u; c < 8u; c++) {
            all += partial[(row + r) * 8u + c];
        }
        if (t < T) {
            for (var i = tx; i < D4; i += 8u) {
                y[((b * T + t) * H + h) * D4 + i] = sum[i / 8u * 4u + r] / all;
            }
            if (tx == 0u) {
                lse[(b * H + h) * T + t] = largest[r] + log(all);
            }
        }
    }
}
