// The left operand of matmul_row.wgsl where it is an attention whose keys came in parts: each workgroup adds them up for itself,
// instead of another dispatch (Flash-Decoding, Dao et al. 2023, https://crfm.stanford.edu/2023/10/12/flashdecoding.html).
// Host side: crates/tensor/src/ops/parts_row.rs.

override PARTS: u32 = 1u;
override D4: u32 = 1u; // vec4s of a head

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>; // (Z * K / 4 / D4, PARTS, D4), each part by itself
@group(0) @binding(4) var<storage, read> lse: array<f32>; // (Z * K / 4 / D4, PARTS); MASKED where there were no keys
@group(0) @binding(5) var<storage, read> scales: array<vec4<f32>>; // (panels, K / 32, 16), for `packed`

var<workgroup> row: array<vec4<f32>, 512>; // K / 4 <= 512

/// Parts weigh as much as the sums of exponentials that they were divided by.
fn prepare(lane: u32, z: u32) -> vec2<f32> {
    for (var k = lane; k < K / 4u; k += 256u) {
        let at = z * (K / 4u) + k;
        let first = at / D4 * PARTS;
        var top = lse[first];
        for (var part = 1u; part < PARTS; part++) {
            top = max(top, lse[first + part]);
        }
        var total = 0.0;
        var sum = vec4<f32>();
        for (var part = 0u; part < PARTS; part++) {
            let weight = exp(lse[first + part] - top);
            total += weight;
            sum += weight * a[(first + part) * D4 + at % D4];
        }
        row[k] = sum / total;
    }
    workgroupBarrier();
    return vec2<f32>();
}

fn input(i: u32, k: u32, prepared: vec2<f32>) -> f32 {
    return row[k / 4u][k % 4u];
}

fn input4(i: u32, k: u32, prepared: vec2<f32>) -> vec4<f32> {
    return row[k];
}
