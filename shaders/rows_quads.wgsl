// How attention_rows.wgsl reads the rows that it goes through where threads can ask each other: four side by side have
// neighbouring rows of one head, and each reads a quarter and hears the rest.

const SHARING = 4u; // threads side by side that go through the same rows
const LANES = 4u; // threads of a workgroup
const WIDE = false; // each has eight rows, and sixteen others at a time

/// Which rows of which head, the same for all threads: only so may they ask each other.
fn unit(workgroup: u32, lane: u32) -> u32 {
    return workgroup;
}

/// A vec4 of four of the others.
fn four(which: u32, at: u32, row: u32, last: u32, lane: u32) -> mat4x4<f32> {
    let x = fetch(which, at, row + lane, last);
    return mat4x4<f32>(quadBroadcast(x, 0u), quadBroadcast(x, 1u), quadBroadcast(x, 2u), quadBroadcast(x, 3u));
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
