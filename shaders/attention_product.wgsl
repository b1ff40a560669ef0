// What stands in front of attention_tiles.wgsl and attention_grad.wgsl, the kernels of attention for GPUs: which keys
// a query sees, and the product of two tiles in workgroup memory. `fetch` is that of the file behind this one.
// Host side: crates/tensor/src/ops/attention_tiles.rs.

override B: u32; override T: u32; override S: u32; // sequences, queries, keys
override H: u32; override D4: u32; // query heads, D / 4
override GROUP: u32; // H / G, query heads that share a key/value head
override SCALE: f32; // 1 / sqrt(D)
override HAS_POSITION: bool; override HAS_DOCUMENTS: bool; // what bounds holds, if anything
// Where (b, t, h, 0) lies in q, and (b, s, g, 0) in k and v, in vec4s.
override Q_OFFSET: u32; override Q_B: u32; override Q_T: u32; override Q_H: u32;
override K_OFFSET: u32; override K_B: u32; override K_S: u32; override K_G: u32;
override V_OFFSET: u32; override V_B: u32; override V_S: u32; override V_G: u32;

@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>; // (B, T, H, D)
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>; // (B, S, G, D)
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>; // (B, S, G, D)
@group(0) @binding(4) var<storage, read> bounds: array<u32>; // (B), position of query 0; or (B, T), first keys

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

// A workgroup of 128 threads owns 64 or 32 rows of a head and goes through tiles of 64 columns: queries by keys, or
// keys by queries. Thread (ty, tx) of 8 x 16 computes the scores of rows ty + 8 r with columns tx + 16 c; then, from
// these weights and the values of the columns, vec4 tx of its rows of the result. Both are sums of products of
// (rows by 32) and (32 by 64).

override ROWS: u32 = 64u; // 64, or 32: then a thread has half of the rows, and may have vec4 tx + 16 too, for D > 64
override TALL: bool = ROWS == 64u;
override WIDE: bool = D4 > 16u;
const COLUMNS: u32 = 64u;

const Q: u32 = 0u; // what `fetch` fetches
const K: u32 = 1u;
const V: u32 = 2u;
const DY: u32 = 3u;

// The last index is xor-ed with the middle one, so that threads that store along either are in different banks.
var<workgroup> left: array<array<array<vec4<f32>, 8>, 8>, 8>; // [r][i][ty], numbers 4 i .. 4 i + 3 of row ty + 8 r
var<workgroup> right: array<array<array<vec4<f32>, 16>, 8>, 4>; // [c][i][tx], see `multiply`

/// Rows r = 0 .. 3 and 4 .. 7 of a thread; or vec4s tx and tx + 16 of rows 0 .. 3.
struct Rows { a: mat4x4<f32>, b: mat4x4<f32> }

/// ty and tx. Half a warp holds 8 ty and 2 tx, neighbours the same ty: it reads both operands without conflicts.
fn place(lane: u32) -> vec2<u32> {
    return vec2<u32>(lane / 2u % 8u, lane / 16u * 2u + lane % 2u);
}

/// Weights with half of the columns, i + 16 c with i = 8 part .. 8 part + 7, into `left`.
fn stage_weights(p: Rows, part: u32, ty: u32, tx: u32) {
    if (tx / 8u == part) {
        let i = tx % 8u;
        left[0][i][ty ^ i] = p.a[0];
        left[1][i][ty ^ i] = p.a[1];
        left[2][i][ty ^ i] = p.a[2];
        left[3][i][ty ^ i] = p.a[3];
        if (TALL) {
            left[4][i][ty ^ i] = p.b[0];
            left[5][i][ty ^ i] = p.b[1];
            left[6][i][ty ^ i] = p.b[2];
            left[7][i][ty ^ i] = p.b[3];
        }
    }
}

/// A row of sums plus the product of four numbers and four rows: sixteen multiply-adds.
fn add_row(sum: vec4<f32>, u: vec4<f32>, m: mat4x4<f32>) -> vec4<f32> {
    return sum + u.x * m[0] + u.y * m[1] + u.z * m[2] + u.w * m[3];
}

fn add_rows(sum: mat4x4<f32>, r: u32, i: u32, at: u32, m: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        add_row(sum[0], left[r][i][at], m), add_row(sum[1], left[r + 1u][i][at], m),
        add_row(sum[2], left[r + 2u][i][at], m), add_row(sum[3], left[r + 3u][i][at], m),
    );
}

/// Adds the product of what is staged. `along`: right[c][i][tx] holds numbers 4 i .. 4 i + 3 of column tx + 16 c, for
/// scores; otherwise vec4 tx of column i + 16 c, for what weights are multiplied by.
fn multiply(sum: Rows, along: bool, ty: u32, tx: u32) -> Rows {
    var y = sum;
    // Two loops: unrolled as one, they need more registers.
    for (var q = 0u; q < 2u; q++) {
        for (var j = 0u; j < 4u; j++) {
            let i = 4u * q + j;
            let at = tx ^ i;
            var m = mat4x4<f32>(right[0][i][at], right[1][i][at], right[2][i][at], right[3][i][at]);
            if (along) {
                m = transpose(m);
            }
            y.a = add_rows(y.a, 0u, i, ty ^ i, m);
            if (TALL) {
                y.b = add_rows(y.b, 4u, i, ty ^ i, m);
            }
        }
    }
    return y;
}

/// The products of the workgroup's rows of one tensor, from a0 on, with 64 rows of another, from c0 on.
fn products(a: u32, a0: u32, c: u32, c0: u32, b: u32, h: u32, lane: u32) -> Rows {
    var sum = Rows();
    let i = lane % 8u;
    let row = lane / 8u;
    for (var i0 = 0u; i0 < D4; i0 += 8u) {
        for (var n = 0u; n < ROWS / 16u; n++) {
            left[row / 8u + 2u * n][i][(row % 8u) ^ i] = fetch(a, b, a0 + row + 16u * n, h, i0 + i);
        }
        for (var n = 0u; n < 4u; n++) {
            right[n][i][row ^ i] = fetch(c, b, c0 + row + 16u * n, h, i0 + i);
        }
        workgroupBarrier();
        sum = multiply(sum, true, place(lane).x, place(lane).y);
        workgroupBarrier();
    }
    return sum;
}

/// Vec4s i0 .. i0 + 15 of rows c0 + i + 16 n, i < 8, of a tensor into `right`.
fn stage_values(c: u32, c0: u32, b: u32, h: u32, i0: u32, lane: u32) {
    let i = lane / 16u;
    for (var n = 0u; n < 4u; n++) {
        right[n][i][(lane % 16u) ^ i] = fetch(c, b, c0 + i + 16u * n, h, i0 + lane % 16u);
    }
}

/// Adds the tile's weights times 64 rows of a tensor, from c0 on, of which the first half may have been staged.
fn accumulate(sum: Rows, weights: Rows, staged: bool, c: u32, c0: u32, b: u32, h: u32, lane: u32) -> Rows {
    let ty = place(lane).x;
    let tx = place(lane).y;
    var z = sum;
    for (var part = 0u; part < 2u; part++) {
        stage_weights(weights, part, ty, tx);
        if (part == 1u || !staged) {
            stage_values(c, c0 + 8u * part, b, h, 0u, lane);
        }
        workgroupBarrier();
        if (WIDE) {
            z.a = multiply(z, false, ty, tx).a;
            workgroupBarrier();
            stage_values(c, c0 + 8u * part, b, h, 16u, lane);
            workgroupBarrier();
            z.b = multiply(Rows(z.b, z.b), false, ty, tx).a;
        } else {
            z = multiply(z, false, ty, tx);
        }
        workgroupBarrier();
    }
    return z;
}
