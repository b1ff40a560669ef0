// y[o, s, i] = sum, maximum or index of the maximum of x[o, j, i] over the j of slice s.
// Host side: crates/tensor/src/ops/reduce.rs. Where few long rows would keep few threads busy, a first dispatch
// reduces slices of them and a second one the slices; otherwise there is one slice.

override OUTER: u32 = 1u;
override ROW: u32 = 1u; // extent of j
override INNER: u32 = 1u;
override SLICES: u32 = 1u;
override LEN: u32 = 1u; // of a slice; the last may be shorter
override KIND: u32 = 0u;
override COLUMNS: u32 = 1u; // lanes of a workgroup of `gpu` that lie along i, a power of two

const SUM: u32 = 0u;
const MAX: u32 = 1u;
const ARGMAX: u32 = 2u;

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>; // bits of f32, or indices

/// A value and where it was found.
struct Found {
    v: f32,
    at: u32,
}

/// The later of two in the order of the tree; of equal maxima the first one stays.
fn combine(p: Found, q: Found) -> Found {
    if (KIND == SUM) {
        return Found(p.v + q.v, 0u);
    }
    let better = q.v > p.v || (q.v == p.v && q.at < p.at);
    return Found(select(p.v, q.v, better), select(p.at, q.at, better));
}

fn element(o: u32, j: u32, i: u32) -> Found {
    return Found(x[(o * ROW + j) * INNER + i], j);
}

/// What changes nothing when it is combined with the elements from j on.
fn neutral(o: u32, j: u32, i: u32) -> Found {
    if (KIND == SUM) {
        return Found(0.0, 0u);
    }
    return element(o, j, i);
}

fn store(o: u32, s: u32, i: u32, found: Found) {
    let at = (o * SLICES + s) * INNER + i;
    if (KIND == ARGMAX) {
        y[at] = found.at;
    } else {
        y[at] = bitcast<u32>(epilogue(at, found.v));
    }
}

/// One thread for each result: for CPU adapters, and for short rows everywhere.
@compute @workgroup_size(64)
fn software(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let id = flat_id(workgroup, grid) * 64u + lane;
    let i = id % INNER;
    let s = id / INNER % SLICES;
    let o = id / INNER / SLICES;
    if (o >= OUTER) {
        return;
    }
    let end = min(s * LEN + LEN, ROW);
    var found = neutral(o, s * LEN, i);
    for (var j = s * LEN; j < end; j++) {
        found = combine(found, element(o, j, i));
    }
    store(o, s, i, found);
}

var<workgroup> values: array<f32, 256>;
var<workgroup> places: array<u32, 256>;

/// One workgroup for COLUMNS results: the other lanes share the work along j and meet in a tree.
@compute @workgroup_size(256)
fn gpu(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let across = (INNER + COLUMNS - 1u) / COLUMNS;
    let id = flat_id(workgroup, grid);
    let column = id % across * COLUMNS + lane % COLUMNS;
    let i = min(column, INNER - 1u);
    let s = id / across % SLICES;
    let o = min(id / across / SLICES, OUTER - 1u); // a workgroup too many repeats the last one
    // 1. Each lane takes every (256 / COLUMNS)-th element.
    let end = min(s * LEN + LEN, ROW);
    var found = neutral(o, s * LEN, i);
    for (var j = s * LEN + lane / COLUMNS; j < end; j += 256u / COLUMNS) {
        found = combine(found, element(o, j, i));
    }
    values[lane] = found.v;
    places[lane] = found.at;
    workgroupBarrier();
    // 2. A tree over the lanes of one column.
    for (var step = 128u; step >= COLUMNS; step /= 2u) {
        if (lane < step) {
            found = combine(found, Found(values[lane + step], places[lane + step]));
            values[lane] = found.v;
            places[lane] = found.at;
        }
        workgroupBarrier();
    }
    if (lane < COLUMNS && column < INNER) {
        store(o, s, i, found);
    }
}
