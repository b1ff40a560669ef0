// gather: y[r, k] = x[r, index[r, k]], 0 where the index is beyond V.
// scatter: y[r, v] = sum over k with index[r, k] = v of x[r, k], in the order of k.
// Host side: crates/tensor/src/ops/index.rs. Dispatch: a thread for each element of y; a scatter reads the whole row of the
// index instead of adding atomically.

override R: u32 = 1u; // rows
override K: u32 = 1u; // indices of a row
override V: u32 = 1u; // elements of a row that is indexed

@group(0) @binding(1) var<storage, read> x: array<f32>; // (R, V), for scatter (R, K)
@group(0) @binding(2) var<storage, read> index: array<u32>; // (R, K)
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // (R, K), for scatter (R, V)

@compute @workgroup_size(64)
fn gather(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_id(workgroup, grid) * 64u + local;
    if (i < R * K) {
        let v = index[i];
        y[i] = epilogue(i, select(0.0, x[i / K * V + min(v, V - 1u)], v < V));
    }
}

@compute @workgroup_size(64)
fn scatter(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_id(workgroup, grid) * 64u + local;
    if (i < R * V) {
        let row = i / V;
        var sum = 0.0;
        for (var k = row * K; k < row * K + K; k++) {
            sum += select(0.0, x[k], index[k] == i % V);
        }
        y[i] = epilogue(i, sum);
    }
}
