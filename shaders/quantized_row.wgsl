// What quantized_matmul.wgsl computes, for few rows on GPUs: each by itself, as in matmul_row.wgsl, which stands before this
// with the left operand. Host side: crates/tensor/src/ops/quantized_row.rs. Dispatch: one workgroup for 4 * QUADS columns of
// a row; 256 / QUADS threads share the terms of four columns.

@group(0) @binding(2) var<storage, read> codes: array<vec4<u32>>; // (panels, WORDS / BITS, 4, BITS, 4): of four columns each

override BITS: u32 = 8u; // of a code: 8 or 4
override WORDS: u32 = K * BITS / 32u; // of a column; BITS of them share a scale

/// Four codes of a word, from bit `first` on, as the numbers that they stand for.
fn unpack(word: u32, first: u32) -> vec4<f32> {
    let shifts = first + BITS * vec4<u32>(0u, 1u, 2u, 3u);
    return vec4<f32>((vec4(word) >> shifts) & vec4((1u << BITS) - 1u)) - f32(1u << (BITS - 1u));
}

/// The terms of word r of four columns.
fn unscaled(z: u32, r: u32, words: vec4<u32>, prepared: vec2<f32>) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var part = 0u; r < WORDS && part < 8u / BITS; part++) {
        let k = r * (8u / BITS) + part;
        let first = 16u * part;
        sum += input4(z * (K / 4u) + k, k, prepared) * mat4x4(
            unpack(words.x, first), unpack(words.y, first), unpack(words.z, first), unpack(words.w, first),
        );
    }
    return sum;
}

/// Words r, r + STEP, ... of four columns, and their scales: the last word stands for those behind it.
struct Words { codes: array<vec4<u32>, 4>, scales: mat4x4<f32> }

fn four_words(panel: u32, quad: u32, r: u32) -> Words {
    let rows = min(r + STEP * vec4(0u, 1u, 2u, 3u), vec4(WORDS - 1u));
    let groups = panel * (K / 32u) + rows / BITS;
    let i = ((groups * 4u + quad / 4u) * BITS + rows % BITS) * 4u + quad % 4u;
    let j = groups * 16u + quad;
    return Words(
        array(codes[i.x], codes[i.y], codes[i.z], codes[i.w]),
        mat4x4(scales[j.x], scales[j.y], scales[j.z], scales[j.w]),
    );
}

@compute @workgroup_size(256)
fn packed(
    @builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = flat_id(workgroup, grid);
    let z = number % Z; // workgroups side by side read the same words
    let n = number / Z * 4u * QUADS; // beyond N in the few workgroups too many
    let quad = n % 64u / 4u + lane % QUADS;
    var r = lane / QUADS;
    var words = four_words(n / 64u, quad, r);
    let prepared = prepare(lane, z);
    var sum = vec4<f32>();
    loop {
        sum += words.scales[0] * unscaled(z, r, words.codes[0], prepared)
            + words.scales[1] * unscaled(z, r + STEP, words.codes[1], prepared)
            + words.scales[2] * unscaled(z, r + 2u * STEP, words.codes[2], prepared)
            + words.scales[3] * unscaled(z, r + 3u * STEP, words.codes[3], prepared);
        r += 4u * STEP;
        if (r >= WORDS) {
            break;
        }
        words = four_words(n / 64u, quad, r);
    }
    finish(z, n, lane, sum);
}
