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

/// The one of such kernels that suits the adapter, and its workgroups for `heads` heads (of all sequences) of `rows` rows, each
/// with `sums` sums. Its own constants join `constants`.
pub(super) fn rows(
    io: &GpuIo,
    shader: [Shader; 3],
    [heads, rows, sums]: [usize; 3],
    constants: &mut Vec<(&'static str, f64)>,
) -> (Shader, u64) {
    // Eight threads have four rows each, whose sums are in workgroup memory, where there is room for them.
    let block = 32;
    let fits = 4 * block * sums <= io.limits.max_workgroup_bytes as usize;
    match io.class {
        AdapterClass::Scalar if io.subgroups => (shader[1], (heads * rows.div_ceil(32)) as u64),
        AdapterClass::Software if io.eights() && rows > 16 && fits => {
            constants.push(("SUMS", (block * sums / 4) as f64));
            (shader[2], (heads * rows.div_ceil(block)) as u64)
        }
        _ => (shader[0], groups(heads * rows.div_ceil(8), 8)),
    }
}
