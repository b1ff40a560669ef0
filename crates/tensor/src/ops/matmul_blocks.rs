//! The kernel of [`super::matmul`] for adapters that are CPUs, lavapipe above all, and for operands that can be read in fours.
//!
//! It stands in a shader of its own because it shares nothing with the others but the names of its constants.

use crate::ops::{OpEntry, Shader, native};
use crate::shader;

/// Registry row. The samples of `matmul` run it, so there are none of its own.
pub const ENTRY: OpEntry = OpEntry { name: "matmul_blocks", samples: Vec::new, shader: Some(SHADER) };

pub(super) const SHADER: Shader = shader!("blocks_alone", "matmul_blocks");

/// The same where threads can ask each other: eight that lie side by side share rows of a.
pub(super) const EIGHTS: Shader = native(shader!("blocks_eights", "matmul_blocks"));
