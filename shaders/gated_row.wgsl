// The left operand of matmul_row.wgsl where one half of a row gates the other: SiLU of the first times the second (SwiGLU,
// Shazeer 2020, https://arxiv.org/abs/2002.05202), which each workgroup computes for itself, instead of another dispatch.
// Host side: crates/tensor/src/ops/gated_row.rs.

override APART: u32; // from a number to what it gates, K or more: (Z, APART + K) in all

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> scales: array<vec4<f32>>; // (panels, K / 32, 16), for `packed`

fn prepare(lane: u32, z: u32) -> vec2<f32> {
    return vec2<f32>();
}

/// Of the numbers before it, i - k are those of whole rows.
fn input4(i: u32, k: u32, prepared: vec2<f32>) -> vec4<f32> {
    let at = i + (i - k) / (K / 4u) * (APART / 4u);
    let gate = a[at];
    return gate / (1.0 + exp(-gate)) * a[at + APART / 4u];
}

/// Of the only row, in which i is k.
fn input(i: u32, k: u32, prepared: vec2<f32>) -> f32 {
    let gate = a[k / 4u][k % 4u];
    return gate / (1.0 + exp(-gate)) * a[(APART + k) / 4u][k % 4u];
}
