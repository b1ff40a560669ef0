//! The kernels of [`super::attention_grad`] without barriers: a thread for some rows of dq, or of dk and dv.

use crate::ops::{OpEntry, Shader, native};
use crate::shader;

/// Registry row. The samples of `attention` ask for gradients, so there are none of its own.
pub const ENTRY: OpEntry =
    OpEntry { name: "attention_grad_rows", samples: Vec::new, shader: Some(SHADER[0]) };

/// As [`super::attention_rows::SHADER`].
pub(super) const SHADER: [Shader; 3] = [
    shader!("rows_alone", "attention_strips", "delta_again", "attention_grad_rows"),
    shader!("rows_quads", "attention_strips", "delta_again", "attention_grad_rows"),
    native(shader!("rows_eights", "attention_strips", "delta_kept", "attention_grad_rows")),
];
