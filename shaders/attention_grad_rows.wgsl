// The gradient of attention, whose weights are recomputed from the log-sum-exp, so that no T x S matrix is kept.
// With p = exp(q k / sqrt(D) - lse), delta = sum(dy y), ds = p (dy v - delta) / sqrt(D):
// dq = sum over s of ds k, dk = sum over t of ds q, dv = sum over t of p dy (Dao et al. 2022, appendix B.2).
// Host side: crates/tensor/src/ops/attention_grad.rs. For CPU adapters: no barrier.
// Dispatch: one thread for each row of dq, or of dk and dv.

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

fn sum4(x: vec4<f32>) -> f32 {
    return (x.x + x.y) + (x.z + x.w);
}

@compute @workgroup_size(64)
fn dq(
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
    var sum: array<vec4<f32>, 64>; // D <= 256
    let row = q_at(b, t, h);
    let dy_row = y_at(b, t, h);
    let keys = min(start(b) + t + 1u, S);
    for (var s = first_seen(b, t); s < keys; s++) {
        let k_row = k_at(b, s, h / GROUP);
        let v_row = v_at(b, s, h / GROUP);
        var score = vec4<f32>();
        var slope = vec4<f32>(); // dy v - delta = dy (v - y)
        for (var i = 0u; i < D4; i++) {
            score += q[row + i] * k[k_row + i];
            slope += dy[dy_row + i] * (v[v_row + i] - y[dy_row + i]);
        }
        let ds = SCALE * exp(SCALE * sum4(score) - lse[n]) * sum4(slope);
        for (var i = 0u; i < D4; i++) {
            sum[i] += ds * k[k_row + i];
        }
    }
    for (var i = 0u; i < D4; i++) {
        out[out_at(b, t, h) + i] = sum[i];
    }
}

@compute @workgroup_size(64)
fn dkv(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = flat_id(workgroup, grid) * 64u + lane;
    let s = n % S;
    let g = n / S % (H / GROUP);
    let b = n / (S * (H / GROUP));
    if (b >= B) {
        return;
    }
    var dk: array<vec4<f32>, 64>;
    var dv: array<vec4<f32>, 64>;
    let k_row = k_at(b, s, g);
    let v_row = v_at(b, s, g);
    let first = max(s, start(b)) - start(b); // the first query that sees key s
    for (var h = g * GROUP; h < (g + 1u) * GROUP; h++) {
        for (var t = first; t < T && first_seen(b, t) <= s; t++) {
            let row = q_at(b, t, h);
            let dy_row = y_at(b, t, h);
            var score = vec4<f32>();
            var slope = vec4<f32>();
            for (var i = 0u; i < D4; i++) {
                score += q[row + i] * k[k_row + i];
                slope += dy[dy_row + i] * (v[v_row + i] - y[dy_row + i]);
            }
            let p = exp(SCALE * sum4(score) - lse[(b * H + h) * T + t]);
            let ds = SCALE * p * sum4(slope);
            for (var i = 0u; i < D4; i++) {
                dk[i] += ds * q[row + i];
                dv[i] += p * dy[dy_row + i];
            }
        }
    }
    for (var i = 0u; i < D4; i++) {
        out[out_at(b, s, g) + i] = dk[i];
        out[out_at(b, s, g) + OUT_DV + i] = dv[i];
    }
}
