// y[r, c] = w[ids[r], c] + w2[ids2[r], c].
// Host side: crates/tensor/src/ops/embedding_sum.rs. Dispatch: one thread for each element of the output.

override R: u32; // rows of the output
override V: u32; // of w
override W: u32; // of w2
override C: u32; // width

@group(0) @binding(1) var<storage, read> w: array<f32>; // (V, C)
@group(0) @binding(2) var<storage, read> ids: array<u32>; // (R)
@group(0) @binding(3) var<storage, read> w2: array<f32>; // (W, C)
@group(0) @binding(4) var<storage, read> ids2: array<u32>; // (R)
@group(0) @binding(5) var<storage, read_write> y: array<f32>; // (R, C)

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_id(workgroup, grid) * 64u + lane;
    if (i >= R * C) {
        return;
    }
    // An id beyond its table is a bug of the caller; it must not become a read beyond the buffer.
    let id = min(ids[i / C], V - 1u);
    let id2 = min(ids2[i / C], W - 1u);
    y[i] = epilogue(i, w[id * C + i % C] + w2[id2 * C + i % C]);
}
