// y = x / (1 - p) where an element is kept, else 0. Element i is kept if word i % 4 of Philox block i / 4 is at least
// p * 2^32; the counter is (block, STREAM, step, 0), the key (seed, KEY).
// Host side: crates/tensor/src/ops/dropout.rs. Dispatch: a thread for each block of four elements.

override N: u32 = 1u; // elements
override SEED: u32 = 0u; // places in the uniform block
override STEP: u32 = 1u;
override STREAM: u32 = 0u;
override KEY: u32 = 0u;
override THRESHOLD: u32 = 0u; // p * 2^32
override SCALE: f32 = 1.0; // 1 / (1 - p)

@group(0) @binding(1) var<storage, read> x: array<f32>; // (N)
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (N)

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let block = flat_id(workgroup, grid) * 64u + local;
    if (block >= (N + 3u) / 4u) {
        return;
    }
    let words = philox(vec4<u32>(block, STREAM, run_u32(STEP), 0u), vec2<u32>(run_u32(SEED), KEY));
    for (var i = block * 4u; i < min(block * 4u + 4u, N); i++) {
        y[i] = epilogue(i, select(0.0, x[i] * SCALE, words[i % 4u] >= THRESHOLD));
    }
}
