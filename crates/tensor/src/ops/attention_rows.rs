//! The forward kernel of [`super::attention`] without barriers, and what it shares with the backward ones: a thread
//! for some rows of a head.
//!
//! For adapters that are CPUs, where barriers are ruinous, and for heads too wide for tiles.

use cloche_gpu::AdapterClass;

use crate::ops::{GpuIo, OpEntry, Shader, groups, native};
use crate::shader;

/// Registry row. The samples of `attention` run it, so there are none of its own.
pub const ENTRY: OpEntry = OpEntry { name: "attention_rows", samples: Vec::new, shader: Some(SHADER[0]) };

/// The others where threads can ask each other, four as those of SwiftShader or eight as those of lavapipe.
pub(super) const SHADER: [Shader; 3] = [
    shader!("rows_alone", "attention_strips", "attention_rows"),
    shader!("rows_quads", "attention_strips", "attention_rows"),
    native(shader!("rows_eights", "attention_strips", "attention_rows")),
];

/// Rows of a workgroup of eight threads.
const BLOCK: usize = 32;

/// Whether eight threads can have four of `rows` rows each, whose `sums` sums are in workgroup memory.
pub(super) fn suits_eights(io: &GpuIo, rows: usize, sums: usize) -> bool {
    let fits = 4 * BLOCK * sums <= io.limits.max_workgroup_bytes as usize;
    io.class == AdapterClass::Software && io.eights() && rows > 16 && fits
}

/// The one of such kernels that suits the adapter, the last where it is to be by `eights`, and its workgroups for `heads` heads (of
/// all sequences) of `rows` rows, each with `sums` sums. Its own constants join `constants`.
pub(super) fn rows(
    io: &GpuIo,
    shader: [Shader; 3],
    eights: bool,
    [heads, rows, sums]: [usize; 3],
    constants: &mut Vec<(&'static str, f64)>,
) -> (Shader, u64) {
    match io.class {
        AdapterClass::Scalar if io.subgroups => (shader[1], (heads * rows.div_ceil(32)) as u64),
        _ if eights => {
            constants.push(("SUMS", (BLOCK * sums / 4) as f64));
            (shader[2], (heads * rows.div_ceil(BLOCK)) as u64)
        }
        _ => (shader[0], groups(heads * rows.div_ceil(8), 8)),
    }
}
