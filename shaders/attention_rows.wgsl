// What attention.wgsl says, sixteen keys at a time: the softmax is taken online, and what is too much for registers, the sum
// of p v, grows in y itself. Behind attention_strips.wgsl. Host side: crates/tensor/src/ops/attention_rows.rs.
// Dispatch: a thread for eight queries of a head.

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
    let t0 = n / (H * B) * 8u * SHARING;
    if (t0 >= T) {
        return;
    }
    let t = t0 + lane % SHARING * 8u;
    let a0 = Q_OFFSET + b * Q_B + min(t + IOTA, vec4(T - 1u)) * Q_T + h * Q_H;
    let a1 = Q_OFFSET + b * Q_B + min(t + 4u + IOTA, vec4(T - 1u)) * Q_T + h * Q_H;
    let c0 = K_OFFSET + b * K_B + h / GROUP * K_G;
    let w0 = V_OFFSET + b * V_B + h / GROUP * V_G;
    var top0 = vec4(MASKED);
    var top1 = vec4(MASKED);
    var total0 = vec4<f32>(); // of p
    var total1 = vec4<f32>();
    let out0 = OUT_OFFSET + b * OUT_B + h * OUT_HEAD;
    let first = first_seen(b, t0);
    let end = visible(b, min(t0 + 8u * SHARING, T) - 1u);
    for (var s = first; s < end; s += 16u) {
        // 2. Scores.
        var z0 = Strip();
        var z1 = Strip();
        for (var i = 0u; i < D4; i++) {
            let keys = turn(strip(C, c0 + i, s, end - 1u, lane));
            z0 = grow(z0, four_of_a(a0 + i), keys);
            z1 = grow(z1, four_of_a(a1 + i), keys);
        }
        if (HAS_DOCUMENTS || s + 16u > visible(b, t0)) {
            for (var j = 0u; j < 16u; j += 4u) {
                z0 = Strip(z0.b, z0.c, z0.d, hide(z0.a, b, t, s + j));
                z1 = Strip(z1.b, z1.c, z1.d, hide(z1.a, b, t + 4u, s + j));
            }
        }
        // 3. Weights, relative to the largest score so far; with the last keys, divided by their sum.
        let before0 = top0;
        let before1 = top1;
        top0 = top_of(z0, top0);
        top1 = top_of(z1, top1);
        var shrink0 = exp(SCALE * (before0 - top0));
        var shrink1 = exp(SCALE * (before1 - top1));
        total0 *= shrink0;
        total1 *= shrink1;
        for (var j = 0u; j < 4u; j++) {
            let p0 = weigh(z0.a, top0);
            let p1 = weigh(z1.a, top1);
            total0 += sum_of(p0);
            total1 += sum_of(p1);
            z0 = Strip(z0.b, z0.c, z0.d, p0);
            z1 = Strip(z1.b, z1.c, z1.d, p1);
        }
        if (s + 16u >= end) {
            z0 = scale(z0, 1.0 / total0);
            z1 = scale(z1, 1.0 / total1);
            shrink0 /= total0;
            shrink1 /= total1;
        }
        // 4. Weights times values.
        for (var i = 0u; i < D4; i++) {
            let values = strip(W, w0 + i, s, end - 1u, lane);
            add_out(out0 + i, t, z0, values, shrink0, s == first);
            add_out(out0 + i, t + 4u, z1, values, shrink1, s == first);
        }
    }
    let lse0 = SCALE * top0 + log(total0);
    let lse1 = SCALE * top1 + log(total1);
    for (var j = 0u; j < 8u && t + j < T; j++) {
        new_lse[(b * H + h) * T + t + j] = select(lse1[j % 4u], lse0[j], j < 4u);
    }
}
