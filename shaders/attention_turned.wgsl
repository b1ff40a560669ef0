// The newest token's query and key for attention_cached.wgsl, turned by its position as they are read: what rope.wgsl does,
// without a dispatch of its own. Host side: crates/tensor/src/ops/attention_turned.rs.

@group(0) @binding(7) var<storage, read> frequency: array<vec4<u32>>; // (D / 8), turns / 2^32 for each position

/// Vec4 i of a head, `far` the one half a head away from it.
fn turned(own: u32, i: u32, near: vec4<f32>, far: vec4<f32>) -> vec4<f32> {
    let half = D4 / 2u;
    let phases = own * frequency[i % half];
    let by = mat4x2(cos_sin(phases.x), cos_sin(phases.y), cos_sin(phases.z), cos_sin(phases.w));
    let turn = transpose(by);
    return near * turn[0] + select(far, -far, i < half) * turn[1];
}

fn asked(own: u32, b: u32, t: u32, h: u32, i: u32) -> vec4<f32> {
    let head = q_at(b, t, h);
    return turned(own, i, q[head + i], q[head + (i + D4 / 2u) % D4]);
}

fn entering(own: u32, b: u32, g: u32, i: u32) -> vec4<f32> {
    let head = new_at(b, g);
    return turned(own, i, new_rows[head + i], new_rows[head + (i + D4 / 2u) % D4]);
}
