// What stands in front of attention_rows.wgsl and attention_grad_rows.wgsl, the kernels of attention for adapters that are
// CPUs and for heads too wide for tiles: no barrier. A thread owns some rows and goes through others: through the keys that
// its queries see, or (KEYS) through the queries that see its keys. It has two strips of four of its rows and sixteen others
// at a time: eight rows of its own with the same others, or (WIDE) four with twice as many. Blocks of 4 x 4 are matrices
// whose columns are the thread's rows. Behind rows_alone.wgsl, rows_quads.wgsl or rows_eights.wgsl, which say how others are
// read and where sums grow; `fetch` is that of the file behind this one.

override B: u32; override T: u32; override S: u32; // sequences, queries, keys
override H: u32; override D4: u32; // query heads, D / 4
override GROUP: u32; // H / G, query heads that share a key/value head
override SCALE: f32; // 1 / sqrt(D)
override HAS_POSITION: bool; override HAS_DOCUMENTS: bool; // what bounds holds, if anything
// Where rows lie, in vec4s: own ones in a and u, the others in c and w. The names are those for queries as own rows.
override Q_OFFSET: u32; override Q_B: u32; override Q_T: u32; override Q_H: u32;
override K_OFFSET: u32; override K_B: u32; override K_S: u32; override K_G: u32;
override V_OFFSET: u32; override V_B: u32; override V_S: u32; override V_G: u32;
override U_OFFSET: u32 = 0u; override U_B: u32 = 0u; override U_T: u32 = 0u; override U_H: u32 = 0u;
override OUT_OFFSET: u32; override OUT_B: u32; override OUT_ROW: u32; override OUT_HEAD: u32;
override OUT_DV: u32 = 0u; // how far dv lies behind dk

// Scores are products of a and c, q and k; their gradients, without delta, those of u and w, dy and v.
override KEYS: bool; // whether a thread owns keys
override ROWS: u32 = select(T, S, KEYS);
override OTHERS: u32 = select(S, T, KEYS);
override HEADS: u32 = select(H, H / GROUP, KEYS);
override SPAN: u32 = select(1u, GROUP, KEYS); // heads that it goes through

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>; // own q, or k
@group(0) @binding(2) var<storage, read> c: array<vec4<f32>>; // the others' k, or q
@group(0) @binding(3) var<storage, read> w: array<vec4<f32>>; // the others' v, or dy
@group(0) @binding(4) var<storage, read> bounds: array<u32>; // (B), position of query 0; or (B, T), first keys
@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>; // y or dq (B, T, H, D), or dk and dv (B, S, G, D)

const IOTA = vec4<u32>(0u, 1u, 2u, 3u);
const DOWN = select(4u, 0u, WIDE); // how far the second strip lies from the first, along own rows
const ACROSS = select(0u, 16u, WIDE); // and along the others
const OWN = 4u + DOWN; // rows of a thread
const MET = 16u + ACROSS; // others at a time

/// The first key that query t of sequence b sees: where its document begins.
fn first_seen(b: u32, t: u32) -> u32 {
    if (HAS_DOCUMENTS) {
        return min(bounds[b * T + t], t);
    }
    return 0u;
}

/// The key that stands at the place of query 0.
fn start(b: u32) -> u32 {
    if (HAS_POSITION) {
        return min(bounds[b], S);
    }
    return 0u;
}

/// One past the last key that query t of sequence b sees.
fn visible(b: u32, t: u32) -> u32 {
    return min(start(b) + t + 1u, S);
}

/// Which of four queries and four keys see each other.
fn sees(b: u32, t: vec4<u32>, s: vec4<u32>) -> vec4<bool> {
    let own = min(t, vec4<u32>(T - 1u));
    let first =
        vec4<u32>(first_seen(b, own.x), first_seen(b, own.y), first_seen(b, own.z), first_seen(b, own.w));
    return (t < vec4<u32>(T)) & (s >= first) & (s <= start(b) + t) & (s < vec4<u32>(S));
}

/// The first of the others that a row meets.
fn first_met(b: u32, row: u32) -> u32 {
    if (KEYS) {
        return max(row, start(b)) - start(b);
    }
    return first_seen(b, row);
}

/// Whether it meets any from s on.
fn meets(b: u32, row: u32, s: u32) -> bool {
    if (KEYS) {
        return s < T && first_seen(b, s) <= row;
    }
    return s < visible(b, row);
}

/// Four rows of sixteen columns; or sixteen rows of four.
struct Strip { a: mat4x4<f32>, b: mat4x4<f32>, c: mat4x4<f32>, d: mat4x4<f32> }

/// Adds one row of x times y to a row.
fn add_row(z: vec4<f32>, x: vec4<f32>, y: mat4x4<f32>) -> vec4<f32> {
    return fma(vec4(x.w), y[3], fma(vec4(x.z), y[2], fma(vec4(x.y), y[1], fma(vec4(x.x), y[0], z))));
}

fn add(z: mat4x4<f32>, x: mat4x4<f32>, y: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        add_row(z[0], x[0], y), add_row(z[1], x[1], y), add_row(z[2], x[2], y), add_row(z[3], x[3], y),
    );
}

/// Adds products with sixteen rows to scores.
fn grow(z: Strip, x: mat4x4<f32>, y: Strip) -> Strip {
    return Strip(add(z.a, x, y.a), add(z.b, x, y.b), add(z.c, x, y.c), add(z.d, x, y.d));
}

fn scale_rows(m: mat4x4<f32>, by: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(m[0] * by.x, m[1] * by.y, m[2] * by.z, m[3] * by.w);
}

const C: u32 = 0u; // what `fetch` fetches
const W: u32 = 1u;
const Y: u32 = 2u;

/// A vec4 of eight rows.
struct Eight { a: mat4x4<f32>, b: mat4x4<f32> }

/// The same of sixteen of the others.
fn strip(which: u32, at: u32, row: u32, last: u32, lane: u32) -> Strip {
    let upper = eight(which, at, row, last, lane);
    let lower = eight(which, at, row + 8u, last, lane);
    return Strip(upper.a, upper.b, lower.a, lower.b);
}

/// Both strips of a thread, or the others of both.
struct Two { a: Strip, b: Strip }

fn others(which: u32, at: u32, row: u32, last: u32, lane: u32) -> Two {
    let x = strip(which, at, row, last, lane);
    if (WIDE) {
        return Two(x, strip(which, at, row + ACROSS, last, lane));
    }
    return Two(x, x);
}

fn turn(x: Strip) -> Strip {
    return Strip(transpose(x.a), transpose(x.b), transpose(x.c), transpose(x.d));
}

fn four_of_a(at: vec4<u32>) -> mat4x4<f32> {
    return mat4x4<f32>(a[at.x], a[at.y], a[at.z], a[at.w]);
}

/// A vec4 of the own rows of both strips.
fn own_a(at0: vec4<u32>, at1: vec4<u32>) -> Eight {
    let x = four_of_a(at0);
    if (WIDE) {
        return Eight(x, x);
    }
    return Eight(x, four_of_a(at1));
}

/// Adds products of own rows with the others to both strips.
fn grow_two(z: Two, own: Eight, x: Two) -> Two {
    return Two(grow(z.a, own.a, turn(x.a)), grow(z.b, own.b, turn(x.b)));
}

/// MASKED in place of the scores of one row with others that it does not meet.
fn hide_row(x: vec4<f32>, b: u32, row: u32, s: u32) -> vec4<f32> {
    let own = vec4(min(row, ROWS - 1u));
    let met = sees(b, select(own, s + IOTA, vec4(KEYS)), select(s + IOTA, own, vec4(KEYS)));
    return select(vec4(MASKED), x, met);
}

/// The same of four rows.
fn hide(m: mat4x4<f32>, b: u32, row: u32, s: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        hide_row(m[0], b, row, s), hide_row(m[1], b, row + 1u, s),
        hide_row(m[2], b, row + 2u, s), hide_row(m[3], b, row + 3u, s),
    );
}

fn store_row(x: vec4<f32>, row: u32, at: u32) {
    if (row < ROWS) {
        out[at + row * OUT_ROW] = x;
    }
}

/// A vec4 of four rows of the result.
fn stored(at: u32, row: u32) -> mat4x4<f32> {
    let i = at + min(row + IOTA, vec4(ROWS - 1u)) * OUT_ROW;
    return mat4x4<f32>(out[i.x], out[i.y], out[i.z], out[i.w]);
}

fn store(at: u32, row: u32, x: mat4x4<f32>) {
    store_row(x[0], row, at);
    store_row(x[1], row + 1u, at);
    store_row(x[2], row + 2u, at);
    store_row(x[3], row + 3u, at);
}

/// Sums of four rows: where they lie in the result, and how many vec4s of the row stand before.
struct Place { at: u32, i: u32, row: u32 }

/// What remains of sums: nothing yet, or `shrink` times what they were.
fn remaining(p: Place, shrink: vec4<f32>, fresh: bool) -> mat4x4<f32> {
    if (fresh) {
        return mat4x4<f32>();
    }
    return scale_rows(sums_at(p), shrink);
}

/// Adds sixteen others, weighed.
fn add_strip(z: mat4x4<f32>, x: Strip, y: Strip) -> mat4x4<f32> {
    return add(add(add(add(z, x.a, y.a), x.b, y.b), x.c, y.c), x.d, y.d);
}

/// Adds the others, weighed, to sums of a thread's rows.
fn add_sums(p: Place, x: Two, y: Two, shrink0: vec4<f32>, shrink1: vec4<f32>, fresh: bool) {
    let z = add_strip(remaining(p, shrink0, fresh), x.a, y.a);
    if (WIDE) {
        keep(p, add_strip(z, x.b, y.b));
    } else {
        keep(p, z);
        let lower = Place(p.at, p.i, p.row + DOWN);
        keep(lower, add_strip(remaining(lower, shrink1, fresh), x.b, y.b));
    }
}
