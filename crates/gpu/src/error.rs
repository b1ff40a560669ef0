//! What can go wrong, and where it waits until somebody asks.

use std::sync::{Arc, Mutex, PoisonError};

/// An error of the device or of what was asked of it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GpuError {
    /// There is no usable adapter, or it gave no device.
    #[error("no GPU: {reason}")]
    NoAdapter {
        /// What was looked for and what was found instead.
        reason: String,
    },
    /// The device had no room for an allocation.
    #[error("out of GPU memory: \"{label}\" needs {requested} bytes")]
    OutOfMemory {
        /// The buffer (or other object) that did not fit.
        label: String,
        /// Its size; 0 where the driver did not say what ran out.
        requested: u64,
    },
    /// A buffer is larger than the device's limit, whatever memory there may be.
    #[error("buffer \"{label}\" of {bytes} bytes: this device allows {limit}")]
    TooLarge {
        /// The buffer.
        label: String,
        /// The size asked for.
        bytes: u64,
        /// The largest size that the device allows.
        limit: u64,
    },
    /// The device found a call invalid: a bug of the caller.
    #[error("invalid GPU call at \"{label}\": {text}")]
    Validation {
        /// The object at fault, as far as it is known.
        label: String,
        /// The device's own words.
        text: String,
    },
    /// A shader did not compile, or its pipeline could not be built.
    #[error("kernel \"{label}\": {text}")]
    Shader {
        /// The kernel.
        label: String,
        /// The words of naga (natively, Firefox), Tint (Chromium) or WebKit, with line and column.
        text: String,
    },
    /// This device lacks an optional feature.
    #[error("this device lacks {feature}")]
    Unsupported {
        /// The feature, by its WebGPU name.
        feature: &'static str,
    },
    /// The device is gone (driver reset, crashed GPU process, `destroy`) and so is all its memory. Open another.
    #[error("GPU device lost: {reason}")]
    Lost {
        /// The browser's or driver's explanation.
        reason: String,
    },
}

/// The three kinds of error that WebGPU reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    OutOfMemory,
    Validation,
    Internal,
}

/// What a call was about, so that an error which arrives later can name it.
#[derive(Debug, Clone)]
pub(crate) enum Subject {
    Memory {
        label: String,
        bytes: u64,
    },
    Kernel {
        label: String,
    },
    /// Anything outside an error scope: binding, recording, submitting.
    Call,
}

impl Subject {
    pub(crate) fn error(&self, kind: Kind, text: String) -> GpuError {
        let (label, requested) = match self {
            Subject::Memory { label, bytes } => (label.clone(), *bytes),
            Subject::Kernel { label } => (label.clone(), 0),
            Subject::Call => ("a queued call".into(), 0),
        };
        match (kind, self) {
            (Kind::OutOfMemory, _) => GpuError::OutOfMemory { label, requested },
            (_, Subject::Kernel { .. }) => GpuError::Shader { label, text },
            _ => GpuError::Validation { label, text },
        }
    }
}

/// The device's letter box. Callbacks of the device drop errors into it (natively perhaps from another thread);
/// [`Faults::take`] empties it.
///
/// Only the first error is kept, because the rest are usually its consequences: one bad shader makes its
/// pipeline, every dispatch of it and every submission of those invalid in turn. For the same reason an error
/// from a scope, which names its subject, is preferred to one that came from nowhere.
#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Letters>>);

#[derive(Default)]
struct Letters {
    lost: Option<String>,
    scoped: Option<GpuError>,
    unscoped: Option<GpuError>,
}

impl Faults {
    pub(crate) fn scoped(&self, error: GpuError) {
        self.open().scoped.get_or_insert(error);
    }

    pub(crate) fn unscoped(&self, kind: Kind, text: String) {
        self.open().unscoped.get_or_insert(Subject::Call.error(kind, text));
    }

    pub(crate) fn lose(&self, reason: String) {
        self.open().lost.get_or_insert(reason);
    }

    /// The loss of the device, which is for ever.
    pub(crate) fn lost(&self) -> Result<(), GpuError> {
        match &self.open().lost {
            Some(reason) => Err(GpuError::Lost { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// The loss of the device, or else the first error since the last call.
    pub(crate) fn take(&self) -> Result<(), GpuError> {
        self.lost()?;
        let mut letters = self.open();
        let (scoped, unscoped) = (letters.scoped.take(), letters.unscoped.take());
        scoped.or(unscoped).map_or(Ok(()), Err)
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Letters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
