//! What can go wrong outside the program's own logic.

use cloche_gpu::GpuError;

/// An error of a device or of what is bound to a program. Wrong shapes while recording are bugs and panic instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The graphics device refused, failed or was lost.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// More memory than the device may give; see [`Device::limit_memory`](crate::Device::limit_memory). Nothing of it has been
    /// allocated.
    #[error("memory: {what} needs {needed} bytes, {available} are available")]
    Memory {
        /// What does not fit.
        what: String,
        /// Bytes needed.
        needed: u64,
        /// Bytes that are left.
        available: u64,
    },
    /// A state, input, scalar or output that the program does not have, or that was not bound.
    #[error("{kind} \"{name}\": not found; the program has {known}")]
    Unknown {
        /// "input", "state", "scalar" or "output".
        kind: &'static str,
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// A buffer or host data of the wrong size or element type.
    #[error("{kind} \"{name}\": found {found}, the program needs {expected}")]
    Mismatch {
        /// "input", "state", "scalar" or "output".
        kind: &'static str,
        /// Its name.
        name: String,
        /// Elements and type found.
        found: String,
        /// Elements and type needed.
        expected: String,
    },
}
