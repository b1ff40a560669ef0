//! The kernels of [`super::attention_grad`] without workgroup memory: a thread for each row of dq, or of dk and dv.
//!
//! For adapters that are CPUs, where barriers are ruinous, and for heads too wide for tiles. They stand in a shader of
//! their own because both families together would be longer than a reader's patience.

use crate::ops::{OpEntry, Shader};
use crate::shader;

/// Registry row. The samples of `attention` ask for gradients, so there are none of its own.
pub const ENTRY: OpEntry = OpEntry { name: "attention_grad_rows", samples: Vec::new, shader: Some(SHADER) };

pub(super) const SHADER: Shader = shader!("attention_grad_rows");
