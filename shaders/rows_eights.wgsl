// How attention_rows.wgsl reads the rows that it goes through where the eight threads of a workgroup can ask each other: they
// have neighbouring rows of one head, and each reads an eighth and hears the rest.

const SHARING = 8u; // threads side by side that go through the same rows
const LANES = 8u; // threads of a workgroup
const WIDE = true; // each has four rows, and 32 others at a time: to read its own is most of the work

override SUMS: u32; // vec4s of a workgroup's sums
var<workgroup> sums: array<vec4<f32>, SUMS>; // [i][row], nearer than the result; each thread's are its own

/// Which rows of which head, the same for all threads: only so may they ask each other. Blocks of rows of one head follow
/// each other, because a machine's threads take equal parts of the workgroups, and late rows have more to do than early ones.
fn unit(workgroup: u32, lane: u32) -> u32 {
    let blocks = (ROWS + OWN * SHARING - 1u) / (OWN * SHARING);
    if (workgroup >= blocks * HEADS * B) {
        return workgroup; // one too many
    }
    return workgroup % blocks * (HEADS * B) + workgroup / blocks;
}

fn eight(which: u32, at: u32, row: u32, last: u32, lane: u32) -> Eight {
    let x = fetch(which, at, row + lane, last);
    return Eight(
        mat4x4<f32>(subgroupBroadcast(x, 0u), subgroupBroadcast(x, 1u), subgroupBroadcast(x, 2u), subgroupBroadcast(x, 3u)),
        mat4x4<f32>(subgroupBroadcast(x, 4u), subgroupBroadcast(x, 5u), subgroupBroadcast(x, 6u), subgroupBroadcast(x, 7u)),
    );
}

fn sums_at(p: Place) -> mat4x4<f32> {
    let i = p.i * OWN * SHARING + p.row % (OWN * SHARING);
    return mat4x4<f32>(sums[i], sums[i + 1u], sums[i + 2u], sums[i + 3u]);
}

fn keep(p: Place, x: mat4x4<f32>) {
    let i = p.i * OWN * SHARING + p.row % (OWN * SHARING);
    sums[i] = x[0];
    sums[i + 1u] = x[1];
    sums[i + 2u] = x[2];
    sums[i + 3u] = x[3];
}
