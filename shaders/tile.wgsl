// Stands before the text of kernels that compute 32 x 32 sums of products in a workgroup of 256 threads: four parts of 64
// threads, each with 4 x 4 sums a thread, divide the terms of a slice among them and add up in the end. So even a few sums
// of many terms keep a GPU busy.

const DEPTH: u32 = 64u; // terms of a slice
const PART: u32 = 64u; // threads of a part

/// Slices of both operands: [term][quad of rows], then [DEPTH + term][quad of columns].
var<workgroup> slices: array<array<vec4<f32>, 8>, 128>;

/// Term and quad of the numbers that load i (below 512) of a slice brings: neighbours in memory come together.
fn place(i: u32, along_terms: bool) -> vec2<u32> {
    return select(vec2(i / 8u, i % 8u), vec2(i % DEPTH, i / DEPTH), along_terms);
}

/// The quads of a term are permuted, each term otherwise: those of one number would share their banks.
fn put(operand: u32, at: vec2<u32>, quad: vec4<f32>) {
    slices[operand * DEPTH + at.x][at.y ^ (at.x & 7u)] = quad;
}

/// Adds the products of the part's terms to the sums of a thread. Columns of the matrix are rows of sums.
fn multiply(sums: mat4x4<f32>, lane: u32) -> mat4x4<f32> {
    var c = sums;
    let first = lane / PART * (DEPTH / 4u);
    let row = lane % PART / 8u;
    let column = lane % 8u;
    for (var i = first; i < first + DEPTH / 4u; i++) {
        let u = slices[i][row ^ (i & 7u)];
        let v = slices[DEPTH + i][column ^ (i & 7u)];
        c[0] += u.x * v;
        c[1] += u.y * v;
        c[2] += u.z * v;
        c[3] += u.w * v;
    }
    return c;
}

/// What all parts have summed, four neighbours of a row: see `row_of`. The slices are no longer needed.
fn add_parts(c: mat4x4<f32>, lane: u32) -> vec4<f32> {
    let part = lane / PART;
    let at = vec2(lane % PART / 8u, lane % 8u);
    slices[part * 32u + at.x][at.y] = c[0];
    slices[part * 32u + 8u + at.x][at.y] = c[1];
    slices[part * 32u + 16u + at.x][at.y] = c[2];
    slices[part * 32u + 24u + at.x][at.y] = c[3];
    workgroupBarrier();
    let row = part * 8u + at.x;
    return (slices[row][at.y] + slices[row + 32u][at.y]) + (slices[row + 64u][at.y] + slices[row + 96u][at.y]);
}

/// Row and first column, within the 32 x 32, of what `add_parts` gives a thread.
fn place_of_sums(lane: u32) -> vec2<u32> {
    return vec2(lane % PART / 8u * 4u + lane / PART, lane % 8u * 4u);
}
