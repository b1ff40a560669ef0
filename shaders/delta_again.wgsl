// How a thread of attention_grad_rows.wgsl that owns keys comes by the log-sum-exps and deltas of the queries that it meets: it
// reads the former, and computes the latter anew from dy and y.

/// What is known of the others of both strips; of one where they have the same.
struct Known { a: mat4x4<f32>, b: mat4x4<f32> }

fn tell(b: u32, h: u32, row: u32, delta: vec4<f32>) {
}

/// The columns' sums of products of sixteen rows.
fn strip_dots(x: Strip, y: Strip) -> mat4x4<f32> {
    return mat4x4<f32>(dots(x.a, y.a), dots(x.b, y.b), dots(x.c, y.c), dots(x.d, y.d));
}

/// Adds what a vec4 of dy and of y give to the deltas from query s on.
fn add_delta(delta: Known, dy: Two, at: u32, s: u32, lane: u32) -> Known {
    let own = others(Y, at, s, T - 1u, lane);
    let a = delta.a + strip_dots(dy.a, own.a);
    if (WIDE) {
        return Known(a, delta.b + strip_dots(dy.b, own.b));
    }
    return Known(a, delta.b);
}

fn known_delta(delta: Known, b: u32, h: u32, s: u32, lane: u32) -> Known {
    return delta;
}

fn lse_of_sixteen(b: u32, h: u32, t: u32) -> mat4x4<f32> {
    return mat4x4<f32>(lse_of(b, h, t), lse_of(b, h, t + 4u), lse_of(b, h, t + 8u), lse_of(b, h, t + 12u));
}

fn known_lse(b: u32, h: u32, s: u32, lane: u32) -> Known {
    let a = lse_of_sixteen(b, h, s);
    if (WIDE) {
        return Known(a, lse_of_sixteen(b, h, s + ACROSS));
    }
    return Known(a, a);
}
