// What attention_grad.wgsl says, two strips at a time; the results, too much for registers, grow in memory. Behind
// attention_strips.wgsl and delta_again.wgsl or delta_kept.wgsl. Host side: crates/tensor/src/ops/attention_grad_rows.rs.
// Dispatch: a thread for OWN rows of dq, or (KEYS) of dk and dv.

@group(0) @binding(6) var<storage, read> u: array<vec4<f32>>; // own dy, or v
@group(0) @binding(7) var<storage, read> y: array<vec4<f32>>; // (B, T, H, D)
@group(0) @binding(8) var<storage, read> lse: array<f32>; // (B, H, T)

/// A vec4 of one of the others, the last one for those behind it.
fn fetch(which: u32, at: u32, row: u32, last: u32) -> vec4<f32> {
    let r = min(row, last);
    switch which {
        case C: { return c[at + r * K_S]; }
        case W: { return w[at + r * V_S]; }
        default: { return y[at + r * H * D4]; }
    }
}

fn four_of_u(at: vec4<u32>) -> mat4x4<f32> {
    return mat4x4<f32>(u[at.x], u[at.y], u[at.z], u[at.w]);
}

fn own_u(at0: vec4<u32>, at1: vec4<u32>) -> Eight {
    let x = four_of_u(at0);
    if (WIDE) {
        return Eight(x, x);
    }
    return Eight(x, four_of_u(at1));
}

/// Sums of the columns of products.
fn dots(x: mat4x4<f32>, y: mat4x4<f32>) -> vec4<f32> {
    return vec4(dot(x[0], y[0]), dot(x[1], y[1]), dot(x[2], y[2]), dot(x[3], y[3]));
}

/// The log-sum-exp of four queries.
fn lse_of(b: u32, h: u32, t: u32) -> vec4<f32> {
    let at = (b * H + h) * T + min(t + IOTA, vec4(T - 1u));
    return vec4(lse[at.x], lse[at.y], lse[at.z], lse[at.w]);
}

/// What is known of queries, for four rows of four columns: one of `own` for each row, or `other` for all.
fn spread(own: vec4<f32>, other: vec4<f32>) -> mat4x4<f32> {
    if (KEYS) {
        return mat4x4<f32>(other, other, other, other);
    }
    return mat4x4<f32>(vec4(own.x), vec4(own.y), vec4(own.z), vec4(own.w));
}

fn weigh(m: mat4x4<f32>, own: vec4<f32>, other: vec4<f32>) -> mat4x4<f32> {
    let x = SCALE * m - spread(own, other);
    return mat4x4<f32>(exp(x[0]), exp(x[1]), exp(x[2]), exp(x[3]));
}

/// ds from p, dy v and delta.
fn slope(p: mat4x4<f32>, m: mat4x4<f32>, own: vec4<f32>, other: vec4<f32>) -> mat4x4<f32> {
    let x = SCALE * (m - spread(own, other));
    return mat4x4<f32>(p[0] * x[0], p[1] * x[1], p[2] * x[2], p[3] * x[3]);
}

@compute @workgroup_size(LANES)
fn gradient(
    @builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // 1. Which rows.
    let n = unit(flat_id(workgroup, grid), lane);
    let h = n % HEADS;
    let b = n / HEADS % B;
    let row0 = n / (HEADS * B) * OWN * SHARING;
    if (row0 >= ROWS) {
        return;
    }
    let row = row0 + lane % SHARING * OWN;
    let r0 = min(row + IOTA, vec4(ROWS - 1u));
    let r1 = min(row + DOWN + IOTA, vec4(ROWS - 1u));
    let a0 = Q_OFFSET + b * Q_B + r0 * Q_T + h * Q_H;
    let a1 = Q_OFFSET + b * Q_B + r1 * Q_T + h * Q_H;
    let u0 = U_OFFSET + b * U_B + r0 * U_T + h * U_H;
    let u1 = U_OFFSET + b * U_B + r1 * U_T + h * U_H;
    // 2. The log-sum-exp and delta of its queries.
    var lse0: vec4<f32>;
    var lse1: vec4<f32>;
    var delta0: vec4<f32>;
    var delta1: vec4<f32>;
    if (!KEYS) {
        lse0 = lse_of(b, h, row);
        lse1 = lse_of(b, h, row + DOWN);
        for (var i = 0u; i < D4; i++) {
            delta0 += dots(four_of_u(u0 + i), mat4x4<f32>(y[u0.x + i], y[u0.y + i], y[u0.z + i], y[u0.w + i]));
            if (!WIDE) {
                delta1 += dots(four_of_u(u1 + i), mat4x4<f32>(y[u1.x + i], y[u1.y + i], y[u1.z + i], y[u1.w + i]));
            }
        }
        if (WIDE) {
            delta1 = delta0;
        }
        tell(b, h, row, delta0);
    }
    let last = min(row0 + OWN * SHARING, ROWS) - 1u;
    let out0 = OUT_OFFSET + b * OUT_B + h * OUT_HEAD;
    var fresh = true; // nothing has been stored: not even zeros for a key that no query sees
    for (var j = 0u; j < SPAN; j++) {
        let head = select(h / GROUP, h * GROUP + j, KEYS);
        let c0 = K_OFFSET + b * K_B + head * K_G;
        let w0 = V_OFFSET + b * V_B + head * V_G;
        for (var s = first_met(b, row0); fresh || meets(b, last, s); s += MET) {
            // 3. Scores, then products of dy and v and what is known of the others, if they are queries: one after the other,
            // so that one strip's sums have the registers.
            var p = Two();
            for (var i = 0u; i < D4; i++) {
                p = grow_two(p, own_a(a0 + i, a1 + i), others(C, c0 + i, s, OTHERS - 1u, lane));
            }
            var z = Two();
            var delta = Known();
            for (var i = 0u; i < D4; i++) {
                let by = others(W, w0 + i, s, OTHERS - 1u, lane);
                if (KEYS) {
                    delta = add_delta(delta, by, (b * T * H + head) * D4 + i, s, lane);
                }
                z = grow_two(z, own_u(u0 + i, u1 + i), by);
            }
            var lses = Known();
            if (KEYS) {
                lses = known_lse(b, head, s, lane);
                delta = known_delta(delta, b, head, s, lane);
            }
            // 4. Weights, and the gradients of the scores.
            for (var n = 0u; n < 4u; n++) {
                let p0 = weigh(hide(p.a.a, b, row, s + 4u * n), lse0, lses.a[0]);
                let p1 = weigh(hide(p.b.a, b, row + DOWN, s + ACROSS + 4u * n), lse1, of_second(lses));
                p.a = Strip(p.a.b, p.a.c, p.a.d, p0);
                p.b = Strip(p.b.b, p.b.c, p.b.d, p1);
                z.a = Strip(z.a.b, z.a.c, z.a.d, slope(p0, z.a.a, delta0, delta.a[0]));
                z.b = Strip(z.b.b, z.b.c, z.b.d, slope(p1, z.b.a, delta1, of_second(delta)));
                lses = next(lses);
                delta = next(delta);
            }
            // 5. What they give.
            for (var i = 0u; i < D4; i++) {
                let by = others(C, c0 + i, s, OTHERS - 1u, lane);
                add_sums(Place(out0 + i, i, row), z, by, vec4(1.0), vec4(1.0), fresh);
                if (KEYS) {
                    let by = others(W, w0 + i, s, OTHERS - 1u, lane);
                    add_sums(Place(out0 + i + OUT_DV, D4 + i, row), p, by, vec4(1.0), vec4(1.0), fresh);
                }
            }
            fresh = false;
        }
    }
    for (var i = 0u; WIDE && i < D4; i++) {
        store(out0 + i, row, sums_at(Place(out0 + i, i, row)));
        if (KEYS) {
            store(out0 + i + OUT_DV, row, sums_at(Place(out0 + i + OUT_DV, D4 + i, row)));
        }
    }
}
