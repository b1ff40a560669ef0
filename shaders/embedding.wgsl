// y[r, c] = w[ids[r], c], and its gradient dw[v, c] = sum of dy[r, c] over all r with ids[r] = v, without atomics.
// Host side: crates/tensor/src/ops/embedding.rs. Dispatch: one thread for each element of the output.
// The kernels that end with an epilogue bind three buffers each, so that its own follow at one place.

override R: u32; // tokens
override V: u32; // vocabulary
override C: u32; // width

// ---- lookup -------------------------------------------------------------------------------------------------

@group(0) @binding(1) var<storage, read> w: array<f32>; // (V, C)
@group(0) @binding(2) var<storage, read> ids: array<u32>; // (R)
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // (R, C)

@compute @workgroup_size(64)
fn lookup(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_id(workgroup, grid) * 64u + lane;
    if (i >= R * C) {
        return;
    }
    // An id beyond the vocabulary is a bug of the caller; it must not become a read beyond the buffer.
    let id = min(ids[i / C], V - 1u);
    y[i] = epilogue(i, w[id * C + i % C]);
}

// ---- buckets ------------------------------------------------------------------------------------------------

@group(0) @binding(1) var<storage, read> tokens: array<u32>; // (R): the ids
@group(0) @binding(2) var<storage, read_write> order: array<u32>; // (2, R): ids and token indices, sorted by both

/// The rank of a token is the number of tokens that come before it. Counting takes R steps a thread, but needs neither
/// rounds nor barriers, and all threads read the same address at the same time.
@compute @workgroup_size(64)
fn buckets(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_id(workgroup, grid) * 64u + lane;
    if (i >= R) {
        return;
    }
    let id = tokens[i];
    var rank = 0u;
    for (var j = 0u; j < i; j++) {
        rank += u32(tokens[j] <= id);
    }
    for (var j = i + 1u; j < R; j++) {
        rank += u32(tokens[j] < id);
    }
    order[rank] = id;
    order[R + rank] = i;
}

// ---- gradient -----------------------------------------------------------------------------------------------

@group(0) @binding(1) var<storage, read> dy: array<f32>; // (R, C)
@group(0) @binding(2) var<storage, read> sorted: array<u32>; // (2, R): the order of `buckets`
@group(0) @binding(3) var<storage, read_write> dw: array<f32>; // (V, C)

@compute @workgroup_size(64)
fn gradient(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_id(workgroup, grid) * 64u + lane;
    if (i >= V * C) {
        return;
    }
    let v = i / C;
    let c = i % C;
    // 1. Where does the bucket of v begin? Binary search for the first id that is not smaller.
    var first = 0u;
    var end = R;
    while (first < end) {
        let middle = (first + end) / 2u;
        if (min(sorted[middle], V - 1u) < v) {
            first = middle + 1u;
        } else {
            end = middle;
        }
    }
    // 2. Add its rows, in the order of the tokens.
    var sum = 0.0;
    for (var k = first; k < R && min(sorted[k], V - 1u) == v; k++) {
        sum += dy[sorted[R + k] * C + c];
    }
    dw[i] = epilogue(i, sum);
}
