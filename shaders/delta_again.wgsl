// How a thread of attention_grad_rows.wgsl that owns keys comes by the log-sum-exps and deltas of the queries that it meets: it
// reads the former, and computes the latter anew from dy and y.

/// What is known of the others, which are the same for both strips: nobody here is WIDE.
struct Known { a: mat4x4<f32> }

fn of_second(x: Known) -> vec4<f32> {
    return x.a[0];
}

/// The first of four columns goes behind the others.
fn next(x: Known) -> Known {
    return Known(mat4x4<f32>(x.a[1], x.a[2], x.a[3], x.a[0]));
}

fn tell(b: u32, h: u32, row: u32, delta: vec4<f32>) {
}

/// Adds what a vec4 of dy and of y give to the deltas from query s on.
fn add_delta(delta: Known, dy: Two, at: u32, s: u32, lane: u32) -> Known {
    let x = dy.a;
    let y = others(Y, at, s, T - 1u, lane).a;
    return Known(delta.a + mat4x4<f32>(dots(x.a, y.a), dots(x.b, y.b), dots(x.c, y.c), dots(x.d, y.d)));
}

fn known_delta(delta: Known, b: u32, h: u32, s: u32, lane: u32) -> Known {
    return delta;
}

fn known_lse(b: u32, h: u32, s: u32, lane: u32) -> Known {
    return Known(mat4x4<f32>(lse_of(b, h, s), lse_of(b, h, s + 4u), lse_of(b, h, s + 8u), lse_of(b, h, s + 12u)));
}
