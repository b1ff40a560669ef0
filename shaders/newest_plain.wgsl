// The newest token's query and key for attention_cached.wgsl, as they are.

fn asked(own: u32, b: u32, t: u32, h: u32, i: u32) -> vec4<f32> {
    return q[q_at(b, t, h) + i];
}

fn entering(own: u32, b: u32, g: u32, i: u32) -> vec4<f32> {
    return new_rows[new_at(b, g) + i];
}
