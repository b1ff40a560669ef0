// How attention_rows.wgsl reads the rows that it goes through where the eight threads of a workgroup can ask each other: they
// have neighbouring rows of one head, and each reads an eighth and hears the rest.

const SHARING = 8u; // threads side by side that go through the same rows
const LANES = 8u; // threads of a workgroup

/// Which rows of which head, the same for all threads: only so may they ask each other. Blocks of rows of one head follow
/// each other, because a machine's threads take equal parts of the workgroups, and late rows have more to do than early ones.
fn unit(workgroup: u32, lane: u32) -> u32 {
    let blocks = (ROWS + 8u * SHARING - 1u) / (8u * SHARING);
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
