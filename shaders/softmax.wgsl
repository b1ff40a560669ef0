// y[r, j] = exp(x[r, j] - max) / sum over j of exp(x[r, j] - max), or the logarithm of that; max is the row's.
// Gradient: dx = y * (dy - sum of y * dy); of the logarithm: dx = dy - exp(y) * sum of dy.
// Host side: crates/tensor/src/ops/softmax.rs. Dispatch: `gpu` and `gpu_grad` one workgroup for each row; for CPU
// adapters and for short rows `software` and `software_grad`, one thread for each row.

override R: u32 = 1u;
override N: u32 = 1u; // extent of j
override LOG: bool = false;
override LANES: u32 = 64u; // of a workgroup of the kernels with barriers, a power of two

@group(0) @binding(1) var<storage, read> x: array<f32>; // (R, N); y for the gradient
@group(0) @binding(2) var<storage, read> dy: array<f32>; // (R, N)
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (R, N)
@group(0) @binding(3) var<storage, read_write> dx: array<f32>; // (R, N)

struct Thread {
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
}

/// What the row's exponentials are normalised by, to be used by `normalise`.
fn normaliser(largest: f32, sum: f32) -> f32 {
    return select(1.0 / sum, largest + log(sum), LOG);
}

fn normalise(v: f32, largest: f32, by: f32) -> f32 {
    if (LOG) {
        return v - by;
    }
    return exp(v - largest) * by;
}

/// The element's share in the sum that the gradient subtracts.
fn summand(at: u32) -> f32 {
    return select(x[at] * dy[at], dy[at], LOG);
}

fn gradient(at: u32, sum: f32) -> f32 {
    if (LOG) {
        return dy[at] - exp(x[at]) * sum;
    }
    return x[at] * (dy[at] - sum);
}

// ---- one thread for each row ----------------------------------------------------------------------------------

@compute @workgroup_size(64)
fn software(t: Thread) {
    let r = flat_id(t.workgroup, t.grid) * 64u + t.lane;
    if (r >= R) {
        return;
    }
    var largest = x[r * N];
    for (var j = 1u; j < N; j++) {
        largest = max(largest, x[r * N + j]);
    }
    var sum = 0.0;
    for (var j = 0u; j < N; j++) {
        sum += exp(x[r * N + j] - largest);
    }
    let by = normaliser(largest, sum);
    for (var j = 0u; j < N; j++) {
        y[r * N + j] = normalise(x[r * N + j], largest, by);
    }
}

@compute @workgroup_size(64)
fn software_grad(t: Thread) {
    let r = flat_id(t.workgroup, t.grid) * 64u + t.lane;
    if (r >= R) {
        return;
    }
    var sum = 0.0;
    for (var j = 0u; j < N; j++) {
        sum += summand(r * N + j);
    }
    for (var j = 0u; j < N; j++) {
        dx[r * N + j] = gradient(r * N + j, sum);
    }
}

// ---- one workgroup for each row -------------------------------------------------------------------------------

var<workgroup> lanes: array<f32, LANES>;

/// The sum of v over the workgroup, by a tree.
fn sum_of_lanes(lane: u32, v: f32) -> f32 {
    lanes[lane] = v;
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if (lane < step) {
            lanes[lane] += lanes[lane + step];
        }
        workgroupBarrier();
    }
    return lanes[0];
}

/// The largest v of the workgroup.
fn max_of_lanes(lane: u32, v: f32) -> f32 {
    lanes[lane] = v;
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if (lane < step) {
            lanes[lane] = max(lanes[lane], lanes[lane + step]);
        }
        workgroupBarrier();
    }
    let largest = lanes[0];
    workgroupBarrier(); // nobody overwrites the lanes before all have read
    return largest;
}

@compute @workgroup_size(LANES)
fn gpu(t: Thread) {
    let r = min(flat_id(t.workgroup, t.grid), R - 1u); // a workgroup too many repeats the last row
    var mine = x[r * N];
    for (var j = t.lane; j < N; j += LANES) {
        mine = max(mine, x[r * N + j]);
    }
    let largest = max_of_lanes(t.lane, mine);
    var part = 0.0;
    for (var j = t.lane; j < N; j += LANES) {
        part += exp(x[r * N + j] - largest);
    }
    let by = normaliser(largest, sum_of_lanes(t.lane, part));
    for (var j = t.lane; j < N; j += LANES) {
        y[r * N + j] = normalise(x[r * N + j], largest, by);
    }
}

@compute @workgroup_size(LANES)
fn gpu_grad(t: Thread) {
    let r = min(flat_id(t.workgroup, t.grid), R - 1u);
    var part = 0.0;
    for (var j = t.lane; j < N; j += LANES) {
        part += summand(r * N + j);
    }
    let sum = sum_of_lanes(t.lane, part);
    for (var j = t.lane; j < N; j += LANES) {
        dx[r * N + j] = gradient(r * N + j, sum);
    }
}
