//! What can be wrong with data.

use std::path::PathBuf;

/// Data that cannot be used: which, what was found in it, what was expected.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system refused something.
    #[error("{path:?}: {error}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// There is nothing to learn from.
    #[error("{path:?} {found}, expected {expected}")]
    Empty {
        /// The file or folder.
        path: PathBuf,
        /// What is there instead of a text.
        found: &'static str,
        /// What would do.
        expected: &'static str,
    },
    /// The bytes of a file are not text.
    #[error("{path:?}: {found} at byte {offset}, expected UTF-8 text")]
    NotText {
        /// The file.
        path: PathBuf,
        /// Where the text breaks off, counted from the first byte of the file.
        offset: u64,
        /// What stands there.
        found: String,
    },
    /// A line of a JSON-lines file is not a record with a text.
    #[error("{path:?} line {line}: {found}, expected {expected}")]
    Record {
        /// The file.
        path: PathBuf,
        /// The line, counted from one.
        line: u64,
        /// What is there; it names the field.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The text is shorter than what the model reads at once.
    #[error("text has {len} tokens, context_len {context_len} needs at least {needed}")]
    TooShort {
        /// Tokens in the text.
        len: usize,
        /// Tokens that the model reads at once.
        context_len: usize,
        /// Tokens that would do.
        needed: usize,
    },
    /// A token file is not what it should be.
    #[error("token file {path:?}: {found}, expected {expected}")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What was expected.
        expected: String,
    },
}

impl DataError {
    /// Names the file that an operation of the system was about.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> DataError + '_ {
        |error| DataError::Io { path: path.to_path_buf(), error }
    }
}
