// How attention_rows.wgsl reads the rows that it goes through: each thread all of them, for heads of its own.

const SHARING = 1u; // threads side by side that go through the same rows
const LANES = 8u; // threads of a workgroup
const WIDE = false; // each has eight rows, and sixteen others at a time

/// Which rows of which head: threads side by side have the same rows of several heads, so that all have as much to do.
fn unit(workgroup: u32, lane: u32) -> u32 {
    return workgroup * LANES + lane;
}

/// A vec4 of four of the others.
fn four(which: u32, at: u32, row: u32, last: u32, lane: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        fetch(which, at, row, last), fetch(which, at, row + 1u, last),
        fetch(which, at, row + 2u, last), fetch(which, at, row + 3u, last),
    );
}

fn eight(which: u32, at: u32, row: u32, last: u32, lane: u32) -> Eight {
    return Eight(four(which, at, row, last, lane), four(which, at, row + 4u, last, lane));
}

/// Sums grow where they are stored: they are too much for registers.
fn sums_at(p: Place) -> mat4x4<f32> {
    return stored(p.at, p.row);
}

fn keep(p: Place, x: mat4x4<f32>) {
    store(p.at, p.row, x);
}
