// y = x, bit for bit. Host side: crates/tensor/src/ops/assign.rs. Dispatch: one thread for each element.

override N: u32; // elements

@group(0) @binding(1) var<storage, read> x: array<u32>;       // (N,) of any 32-bit type
@group(0) @binding(2) var<storage, read_write> y: array<u32>; // (N,)

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_id(workgroup, grid) * 64u + lane;
    if (i < N) {
        y[i] = x[i];
    }
}
