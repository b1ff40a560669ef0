// How attention_rows.wgsl reads the rows that it goes through where the eight threads of a workgroup can ask each other: they
// have neighbouring rows of one head, and each reads an eighth and hears the rest.

const SHARING = 8u; // threads side by side that go through the same rows
const LANES = 8u; // threads of a workgroup

/// Which rows of which head, the same for all threads: only so may they ask each other.
fn unit(workgroup: u32, lane: u32) -> u32 {
    return workgroup;
}

fn eight(which: u32, at: u32, row: u32, last: u32, lane: u32) -> Eight {
    let x = fetch(which, at, row + lane, last);
    return Eight(
        mat4x4<f32>(subgroupBroadcast(x, 0u), subgroupBroadcast(x, 1u), subgroupBroadcast(x, 2u), subgroupBroadcast(x, 3u)),
        mat4x4<f32>(subgroupBroadcast(x, 4u), subgroupBroadcast(x, 5u), subgroupBroadcast(x, 6u), subgroupBroadcast(x, 7u)),
    );
}
