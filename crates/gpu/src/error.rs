//! What can go wrong, and where it waits until somebody asks.

use std::{
    borrow::Cow,
    cell::OnceCell,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

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
#[derive(Clone)]
pub(crate) enum Subject {
    Memory {
        label: String,
        bytes: u64,
    },
    /// The module is there once it has been made. In browsers it knows more than the error does.
    Kernel {
        label: String,
        #[cfg_attr(not(target_arch = "wasm32"), expect(dead_code, reason = "naga says all in its error"))]
        module: Rc<OnceCell<wgpu::ShaderModule>>,
    },
    Call {
        label: Cow<'static, str>,
    },
}

impl Subject {
    pub(crate) fn error(&self, kind: Kind, text: String) -> GpuError {
        let (label, requested) = match self {
            Subject::Memory { label, bytes } => (label.clone(), *bytes),
            Subject::Kernel { label, .. } => (label.clone(), 0),
            Subject::Call { label } => (label.to_string(), 0),
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
    numbers: u64,
    scoped: Option<(u64, GpuError)>,
    unscoped: Option<GpuError>,
}

impl Faults {
    /// The number of a new scope. Scopes may answer in another order than they were opened.
    pub(crate) fn number(&self) -> u64 {
        let mut letters = self.open();
        letters.numbers += 1;
        letters.numbers
    }

    pub(crate) fn scoped(&self, number: u64, error: GpuError) {
        let scoped = &mut self.open().scoped;
        if scoped.as_ref().is_none_or(|(first, _)| number < *first) {
            *scoped = Some((number, error));
        }
    }

    pub(crate) fn unscoped(&self, kind: Kind, text: String) {
        let subject = Subject::Call { label: "a queued call".into() };
        self.open().unscoped.get_or_insert(subject.error(kind, text));
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
        scoped.map(|(_, error)| error).or(unscoped).map_or(Ok(()), Err)
    }

    fn open(&self) -> MutexGuard<'_, Letters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invalid(label: &'static str) -> GpuError {
        Subject::Call { label: label.into() }.error(Kind::Validation, String::new())
    }

    #[test]
    fn the_cause_is_reported_and_its_consequences_are_forgotten() {
        let faults = Faults::default();
        let (cause, consequence) = (faults.number(), faults.number());
        faults.unscoped(Kind::Internal, "stray".into());
        faults.scoped(consequence, invalid("dispatch"));
        faults.scoped(cause, invalid("shader"));
        assert_eq!(faults.take(), Err(invalid("shader")));
        assert_eq!(faults.take(), Ok(()));
    }

    #[test]
    fn a_loss_outranks_every_error_and_stays() {
        let faults = Faults::default();
        faults.scoped(faults.number(), invalid("shader"));
        faults.lose("driver reset".into());
        faults.lose("destroyed".into());
        let lost = Err(GpuError::Lost { reason: "driver reset".into() });
        assert_eq!((faults.take(), faults.take()), (lost.clone(), lost));
    }

    #[test]
    fn errors_name_their_subject() {
        let subject = Subject::Memory { label: "wte.weight".into(), bytes: 512 };
        let error = subject.error(Kind::OutOfMemory, String::new());
        assert_eq!(error.to_string(), "out of GPU memory: \"wte.weight\" needs 512 bytes");
    }
}
