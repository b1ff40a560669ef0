// y[i] = f(operands at i): the body `epilogue` is generated from a fused chain.
// Host side: crates/tensor/src/ops/elementwise.rs and program/gpu.rs. Dispatch: one thread for EACH elements.

override N: u32; // elements
override EACH: u32 = 1u; // of a thread, 64 apart

@group(0) @binding(1) var<storage, read_write> y: array<Out>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = flat_id(workgroup, grid) * 64u * EACH + lane;
    for (var j = 0u; j < EACH; j++) {
        let i = first + 64u * j;
        if (i < N) {
            y[place(i)] = Out(epilogue(i, 0.0));
        }
    }
}
