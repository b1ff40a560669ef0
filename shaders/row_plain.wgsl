// The left operand of matmul_row.wgsl as it is.

@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> fours: array<vec4<f32>>; // the same, for `packed`
@group(0) @binding(4) var<storage, read> scales: array<vec4<f32>>; // (panels, K / 32, 16), for `packed`

fn prepare(lane: u32, z: u32) -> vec2<f32> {
    return vec2<f32>();
}

fn input(i: u32, k: u32, prepared: vec2<f32>) -> f32 {
    return a[i];
}

fn input4(i: u32, k: u32, prepared: vec2<f32>) -> vec4<f32> {
    return fours[i];
}
