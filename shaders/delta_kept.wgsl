// How a thread of attention_grad_rows.wgsl that owns keys comes by the log-sum-exps and deltas of the 32 queries that it meets:
// those that own queries, in the kernel before, have kept the latter. Each of eight threads reads an eighth and hears the rest.

@group(0) @binding(9) var<storage, read_write> deltas: array<f32>; // (B, H, T)

/// What is known of the others of both strips.
struct Known { a: mat4x4<f32>, b: mat4x4<f32> }

fn of_second(x: Known) -> vec4<f32> {
    return x.b[0];
}

/// The first of four columns goes behind the others.
fn next(x: Known) -> Known {
    return Known(
        mat4x4<f32>(x.a[1], x.a[2], x.a[3], x.a[0]), mat4x4<f32>(x.b[1], x.b[2], x.b[3], x.b[0]),
    );
}

fn tell(b: u32, h: u32, row: u32, delta: vec4<f32>) {
    for (var i = 0u; i < 4u && row + i < T; i++) {
        deltas[(b * H + h) * T + row + i] = delta[i];
    }
}

fn add_delta(delta: Known, dy: Two, at: u32, s: u32, lane: u32) -> Known {
    return delta;
}

fn lower(x: f32) -> vec4<f32> {
    return vec4(subgroupBroadcast(x, 0u), subgroupBroadcast(x, 1u), subgroupBroadcast(x, 2u), subgroupBroadcast(x, 3u));
}

fn upper(x: f32) -> vec4<f32> {
    return vec4(subgroupBroadcast(x, 4u), subgroupBroadcast(x, 5u), subgroupBroadcast(x, 6u), subgroupBroadcast(x, 7u));
}

/// From numbers of rows s + lane, 8 further, 16 and 24.
fn heard(x: vec4<f32>) -> Known {
    return Known(
        mat4x4<f32>(lower(x.x), upper(x.x), lower(x.y), upper(x.y)), mat4x4<f32>(lower(x.z), upper(x.z), lower(x.w), upper(x.w)),
    );
}

fn places(b: u32, h: u32, s: u32, lane: u32) -> vec4<u32> {
    return (b * H + h) * T + min(s + lane + 8u * IOTA, vec4(T - 1u));
}

fn known_delta(delta: Known, b: u32, h: u32, s: u32, lane: u32) -> Known {
    let at = places(b, h, s, lane);
    return heard(vec4(deltas[at.x], deltas[at.y], deltas[at.z], deltas[at.w]));
}

fn known_lse(b: u32, h: u32, s: u32, lane: u32) -> Known {
    let at = places(b, h, s, lane);
    return heard(vec4(lse[at.x], lse[at.y], lse[at.z], lse[at.w]));
}
