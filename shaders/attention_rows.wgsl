// What attention.wgsl says, two strips at a time: the softmax is taken online, and what is too much for registers, the sum
// of p v, grows in memory. Behind attention_strips.wgsl. Host side: crates/tensor/src/ops/attention_rows.rs.
// Dispatch: a thread for OWN queries of a head.

@group(0) @binding(6) var<storage, read_write> new_lse: array<f32>; // (B, H, T)

/// A vec4 of one of the others, the last one for those behind it.
fn fetch(which: u32, at: u32, row: u32, last: u32) -> vec4<f32> {
    let r = min(row, last);
    switch which {
        case C: { return c[at + r * K_S]; }
        default: { return w[at + r * V_S]; }
    }
}

/// The largest score of each of four rows, and of what was the largest before.
fn top_of(z: Strip, before: vec4<f32>) -> vec4<f32> {
    let m = transpose(mat4x4<f32>(
        max(max(z.a[0], z.b[0]), max(z.c[0], z.d[0])), max(max(z.a[1], z.b[1]), max(z.c[1], z.d[1])),
        max(max(z.a[2], z.b[2]), max(z.c[2], z.d[2])), max(max(z.a[3], z.b[3]), max(z.c[3], z.d[3])),
    ));
    return max(before, max(max(m[0], m[1]), max(m[2], m[3])));
}

fn weigh(m: mat4x4<f32>, top: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        exp(SCALE * (m[0] - top.x)), exp(SCALE * (m[1] - top.y)),
        exp(SCALE * (m[2] - top.z)), exp(SCALE * (m[3] - top.w)),
    );
}

/// The sum of each of four rows.
fn sum_of(x: mat4x4<f32>) -> vec4<f32> {
    let m = transpose(x);
    return (m[0] + m[1]) + (m[2] + m[3]);
}

fn scale(z: Strip, by: vec4<f32>) -> Strip {
    return Strip(scale_rows(z.a, by), scale_rows(z.b, by), scale_rows(z.c, by), scale_rows(z.d, by));
}

@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // 1. Which queries.
    let n = unit(flat_id(workgroup, grid), lane);
    let h = n % H;
    let b = n / H % B;
    let t0 = n / (H * B) * OWN * SHARING;
    if (t0 >= T) {
        return;
    }
    let t = t0 + lane % SHARING * OWN;
    let a0 = Q_OFFSET + b * Q_B + min(t + IOTA, vec4(T - 1u)) * Q_T + h * Q_H;
    let a1 = Q_OFFSET + b * Q_B + min(t + DOWN + IOTA, vec4(T - 1u)) * Q_T + h * Q_H;
    let c0 = K_OFFSET + b * K_B + h / GROUP * K_G;
    let w0 = V_OFFSET + b * V_B + h / GROUP * V_G;
    var top0 = vec4(MASKED);
    var top1 = vec4(MASKED);
    var total0 = vec4<f32>(); // of p
    var total1 = vec4<f32>();
    let out0 = OUT_OFFSET + b * OUT_B + h * OUT_HEAD;
    let first = first_seen(b, t0);
    let end = visible(b, min(t0 + OWN * SHARING, T) - 1u);
    for (var s = first; s < end; s += MET) {
        // 2. Scores.
        var z = Two();
        for (var i = 0u; i < D4; i++) {
            z = grow_two(z, own_a(a0 + i, a1 + i), others(C, c0 + i, s, end - 1u, lane));
        }
        if (HAS_DOCUMENTS || s + MET > visible(b, t0)) {
            for (var j = 0u; j < 16u; j += 4u) {
                z.a = Strip(z.a.b, z.a.c, z.a.d, hide(z.a.a, b, t, s + j));
                z.b = Strip(z.b.b, z.b.c, z.b.d, hide(z.b.a, b, t + DOWN, s + ACROSS + j));
            }
        }
        // 3. Weights, relative to the largest score so far; with the last keys, divided by their sum.
        let before0 = top0;
        let before1 = top1;
        top0 = top_of(z.a, top0);
        top1 = top_of(z.b, top1);
        if (WIDE) {
            top0 = max(top0, top1);
            top1 = top0;
        }
        var shrink0 = exp(SCALE * (before0 - top0));
        var shrink1 = exp(SCALE * (before1 - top1));
        total0 *= shrink0;
        total1 *= shrink1;
        for (var j = 0u; j < 4u; j++) {
            let p0 = weigh(z.a.a, top0);
            let p1 = weigh(z.b.a, top1);
            total0 += sum_of(p0);
            total1 += sum_of(p1);
            z.a = Strip(z.a.b, z.a.c, z.a.d, p0);
            z.b = Strip(z.b.b, z.b.c, z.b.d, p1);
        }
        if (s + MET >= end) {
            if (WIDE) {
                total0 += total1;
                total1 = total0;
            }
            z.a = scale(z.a, 1.0 / total0);
            z.b = scale(z.b, 1.0 / total1);
            shrink0 /= total0;
            shrink1 /= total1;
        }
        // 4. Weights times values.
        for (var i = 0u; i < D4; i++) {
            let values = others(W, w0 + i, s, end - 1u, lane);
            add_sums(Place(out0 + i, i, t), z, values, shrink0, shrink1, s == first);
        }
    }
    for (var i = 0u; WIDE && i < D4; i++) {
        store(out0 + i, t, sums_at(Place(out0 + i, i, t)));
    }
    let lse0 = SCALE * top0 + log(total0);
    let lse1 = SCALE * top1 + log(total1);
    for (var j = 0u; j < OWN && t + j < T; j++) {
        new_lse[(b * H + h) * T + t + j] = select(lse1[j % 4u], lse0[j % 4u], j < 4u);
    }
}
