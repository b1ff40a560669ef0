// y = softmax(q k^T / sqrt(D) + causal mask) v for each head, without a T x S matrix: the softmax is taken online, key
// by key (FlashAttention, Dao et al. 2022, https://arxiv.org/abs/2205.14135). lse is the logarithm of
// the sum of exponentials, which the gradient needs. Host side: crates/tensor/src/ops/attention.rs.
// Dispatch: `rows` one thread for each query, without barriers. attention_few.wgsl, which stands in front, has what a query
// sees and a kernel for few queries; many queries are for attention_tiles.wgsl on GPUs.

@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>; // (B, S, G, D)
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>; // (B, S, G, D)

fn key(own: u32, b: u32, s: u32, h: u32, i: u32) -> vec4<f32> {
    return k[k_at(b, s, h) + i];
}

fn value(own: u32, b: u32, s: u32, h: u32, i: u32) -> vec4<f32> {
    return v[v_at(b, s, h) + i];
}

fn keep(own: u32, b: u32, h: u32, lane: u32) {
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
