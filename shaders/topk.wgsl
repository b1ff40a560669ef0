// values[r, j], indices[r, j] = the j-th largest element of row r of x, and where it is; ties by lower index.
// Host side: crates/tensor/src/ops/topk.rs. Dispatch: K passes over a row, each for the best element after the one before:
// by LANES threads of a workgroup of 256 (`gpu`), or by one thread (`software`).

override R: u32 = 1u; // rows
override V: u32 = 1u; // elements of a row
override K: u32 = 1u; // at most V
override LANES: u32 = 64u; // threads of one row: 64 or 256

@group(0) @binding(1) var<storage, read> x: array<f32>; // (R, V)
@group(0) @binding(2) var<storage, read_write> values: array<f32>; // (R, K)
@group(0) @binding(3) var<storage, read_write> indices: array<u32>; // (R, K)

struct Best {
    value: f32,
    index: u32, // NONE: nothing found yet
}

const NONE: u32 = 0xffffffffu;

var<workgroup> found: array<Best, 256>;

/// Whether `a` comes before `b` in the order of the result.
fn precedes(a: Best, b: Best) -> bool {
    return a.value > b.value || (a.value == b.value && a.index < b.index);
}

/// The better one of two.
fn better(a: Best, b: Best) -> Best {
    if (a.index == NONE || (b.index != NONE && precedes(b, a))) {
        return b;
    }
    return a;
}

/// The best of every `stride`-th element from `start` on that comes after `last`.
fn next(row: u32, start: u32, stride: u32, last: Best) -> Best {
    var best = Best(0.0, NONE);
    for (var v = start; v < V; v += stride) {
        let candidate = Best(x[row * V + v], v);
        if (last.index == NONE || precedes(last, candidate)) {
            best = better(best, candidate);
        }
    }
    return best;
}

fn store(row: u32, j: u32, best: Best) {
    values[row * K + j] = best.value;
    indices[row * K + j] = min(best.index, V - 1u); // a row with a NaN may run out of candidates
}

@compute @workgroup_size(256)
fn gpu(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    // Threads beyond the last row take part in the barriers, on the last row, and store nothing.
    let own = flat_id(workgroup, grid) * (256u / LANES) + local / LANES;
    let row = min(own, R - 1u);
    let lane = local % LANES;
    var last = Best(0.0, NONE);
    for (var j = 0u; j < K; j++) {
        found[local] = next(row, lane, LANES, last);
        for (var half = LANES / 2u; half > 0u; half /= 2u) {
            workgroupBarrier();
            if (lane < half) {
                found[local] = better(found[local], found[local + half]);
            }
        }
        workgroupBarrier();
        last = found[local - lane];
        workgroupBarrier();
        if (own < R && lane == 0u) {
            store(row, j, last);
        }
    }
}

@compute @workgroup_size(32)
fn software(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = flat_id(workgroup, grid) * 32u + local;
    if (row >= R) {
        return;
    }
    var last = Best(0.0, NONE);
    for (var j = 0u; j < K; j++) {
        last = next(row, 0u, 1u, last);
        store(row, j, last);
    }
}
