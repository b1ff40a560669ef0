// The left operand of matmul_row.wgsl where one half of a row gates the other: SiLU of the first times the second (SwiGLU,
// Shazeer 2020, https://arxiv.org/abs/2002.05202), which each workgroup computes for itself, instead of another dispatch.
// Host side: crates/tensor/src/ops/gated_row.rs.

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>; // (Z, 2, K / 4)
@group(0) @binding(4) var<storage, read> scales: array<vec4<f32>>; // (panels, K / 32, 16), for `packed`

fn prepare(lane: u32, z: u32) -> vec2<f32> {
    return vec2<f32>();
}

fn input(i: u32, k: u32, prepared: vec2<f32>) -> f32 {
    let at = 2u * (i / 4u) - k / 4u; // z * K / 2 + k, in vec4s
    let gate = a[at][k % 4u];
    return gate / (1.0 + exp(-gate)) * a[at + K / 4u][k % 4u];
}

fn input4(i: u32, k: u32, prepared: vec2<f32>) -> vec4<f32> {
    let gate = a[2u * i - k];
    return gate / (1.0 + exp(-gate)) * a[2u * i - k + K / 4u];
}
