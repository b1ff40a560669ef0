//! The kernel of [`super::matmul`] for adapters that load number by number, SwiftShader above all, and for operands that
//! cannot be read in fours.
//!
//! It stands in a shader of its own because it shares nothing with the others but the names of its constants.

use crate::ops::{OpEntry, Shader};
use crate::shader;

/// Registry row. The samples of `matmul` run it, so there are none of its own.
pub const ENTRY: OpEntry = OpEntry { name: "matmul_scalar", samples: Vec::new, shader: Some(SHADER) };

pub(super) const SHADER: Shader = shader!("scalar_alone", "matmul_scalar");

/// The same where threads can ask each other, as those of SwiftShader can: four that lie side by side share rows of a.
pub(super) const QUADS: Shader = shader!("scalar_quads", "matmul_scalar");
