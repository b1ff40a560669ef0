//! The two element types that a tensor can have.

use std::fmt;

/// Element type of a tensor. Both take four bytes.
///
/// Half precision exists in files only (see `cloche-nn`'s checkpoints): arithmetic and accumulation are in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit floating point: activations, parameters, gradients.
    F32,
    /// 32-bit unsigned integer: token ids, positions, indices.
    U32,
}

impl DType {
    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        4
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::U32 => "u32",
        })
    }
}
