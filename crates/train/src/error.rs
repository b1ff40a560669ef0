//! What can keep a run from beginning or going on.

use cloche_models::GenerateError;
use cloche_nn::WeightsError;
use cloche_nn::checkpoint::CheckpointError;

use crate::checkpoint::ResumeError;
use crate::data::DataError;
use crate::examples::ExampleError;
use crate::settings::SettingsError;

/// An error of a stage.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting out of range.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A model that is too large for the machine, or for its budget. Nothing has been allocated.
    #[error("{what} needs {}, {} are available", bytes_in_words(*.needed), bytes_in_words(*.available))]
    Memory {
        /// What does not fit.
        what: &'static str,
        /// Bytes needed by the smallest plan; a lower bound where even planning would take too much.
        needed: u64,
        /// Bytes there are.
        available: u64,
    },
    /// The device.
    #[error(transparent)]
    Device(#[from] cloche_tensor::Error),
    /// A checkpoint that cannot be resumed from.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// Examples that cannot be learnt from.
    #[error(transparent)]
    Examples(#[from] ExampleError),
    /// Whoever rewards answers did not give each of them a number.
    #[error("verifier: {0}")]
    Verifier(String),
    /// Prompts that cannot be continued.
    #[error(transparent)]
    Sample(GenerateError),
}

impl From<GenerateError> for Error {
    fn from(error: GenerateError) -> Self {
        match error {
            GenerateError::Device(error) => error.into(),
            error => Error::Sample(error),
        }
    }
}

impl From<CheckpointError> for Error {
    fn from(error: CheckpointError) -> Self {
        Error::Resume(error.into())
    }
}

impl From<WeightsError> for Error {
    fn from(error: WeightsError) -> Self {
        match error {
            WeightsError::Device(error) => error.into(),
            WeightsError::Checkpoint(error) => error.into(),
        }
    }
}

/// `5.2 GB`: three digits at most.
///
/// ```
/// use cloche_train::bytes_in_words;
/// assert_eq!([999, 64_000, 5_230_000_000, 123_400_000].map(bytes_in_words), ["999 bytes", "64 kB", "5.2 GB", "123 MB"]);
/// assert_eq!([9_949, 9_950, 1_500, u64::MAX].map(bytes_in_words), ["9.9 kB", "10 kB", "1.5 kB", "18 EB"]);
/// ```
pub fn bytes_in_words(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} bytes");
    }
    let units = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let power = bytes.ilog10() / 3;
    let unit = 1000u64.pow(power);
    // Rounded, without ever multiplying what may be as large as a number can be.
    let in_parts_of = |part: u64| bytes / part + u64::from(bytes % part >= part - part / 2);
    let tenths = in_parts_of(unit / 10);
    match (tenths / 10, units[power as usize - 1]) {
        (whole @ 0..10, name) => format!("{whole}.{} {name}", tenths % 10),
        (_, name) => format!("{} {name}", in_parts_of(unit)),
    }
}
