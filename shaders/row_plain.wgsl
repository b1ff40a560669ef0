// The left operand of matmul_row.wgsl as it is.

fn prepare(lane: u32) -> vec2<f32> {
    return vec2<f32>();
}

fn input(i: u32, k: u32, prepared: vec2<f32>) -> f32 {
    return a[i];
}
