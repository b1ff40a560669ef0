// y[i] = f(operands at i): the body `epilogue` is generated from a fused chain.
// Host side: crates/tensor/src/ops/elementwise.rs and program/gpu.rs. Dispatch: one thread for each element.

override N: u32; // elements

@group(0) @binding(1) var<storage, read_write> y: array<Out>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_id(workgroup, grid) * 64u + lane;
    if (i < N) {
        y[place(i)] = Out(epilogue(i, 0.0));
    }
}
