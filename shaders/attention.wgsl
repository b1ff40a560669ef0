// y = softmax(q k^T / sqrt(D) + causal mask) v for each head, without a T x S matrix: the softmax is taken online, key
// by key (FlashAttention, Dao et al. 2022, https://arxiv.org/abs/2205.14135). lse is the logarithm of
// the sum of exponentials, which the gradient needs. Host side: crates/tensor/src/ops/attention.rs.
// Dispatch: as attention_few.wgsl says, which stands in front and has the kernel, for few queries. Many are for
// attention_tiles.wgsl on GPUs, and for attention_rows.wgsl, which has no barriers, on adapters that are CPUs.

@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>; // (B, S, G, D)
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>; // (B, S, G, D)

fn key(own: u32, b: u32, s: u32, h: u32, i: u32) -> vec4<f32> {
    return k[k_at(b, s, h) + i];
}

fn value(own: u32, b: u32, s: u32, h: u32, i: u32) -> vec4<f32> {
    return v[v_at(b, s, h) + i];
}

fn asked(own: u32, b: u32, t: u32, h: u32, i: u32) -> vec4<f32> {
    return q[q_at(b, t, h) + i];
}

fn enter(own: u32, part: u32, b: u32, h: u32, lane: u32) {
}
