//! What can be wrong with a checkpoint, each with what was found and what was needed.

use safetensors::Dtype;

/// How many mismatched tensors an error message lists before it only counts them.
const LISTED: usize = 20;

/// Why a checkpoint cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file that would run code when opened.
    #[error(
        "{file:?} is a pickle, which can run any code when it is opened: \
         ask for, or convert it to, model.safetensors (in transformers: model.save_pretrained(folder))"
    )]
    Pickle {
        /// The name of the file.
        file: String,
    },
    /// A file, or a tensor, that ought to be there.
    #[error("{what} is not there")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// A file that contradicts itself or its format.
    #[error("{file:?} is not a valid safetensors file: {reason}")]
    Malformed {
        /// The name of the file.
        file: String,
        /// What was found, and what was expected.
        reason: String,
    },
    /// A valid file for another model: every tensor that does not fit.
    #[error("{}", list(.0))]
    Mismatch(Vec<Mismatch>),
    /// The file could not be read.
    #[error("{file:?}: {source}")]
    Io {
        /// The name of the file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// One tensor of the file that does not fit the model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum Mismatch {
    #[error("tensor {name:?}: missing from the file, model needs {}", tuple(model))]
    Missing { name: String, model: Vec<usize> },
    #[error("tensor {name:?}: file has {}, model has no such parameter", tuple(file))]
    Extra { name: String, file: Vec<usize> },
    #[error("tensor {name:?}: file has {}, model needs {}", tuple(file), tuple(model))]
    Shape { name: String, file: Vec<usize>, model: Vec<usize> },
    #[error("tensor {name:?}: file has {file}, needed is {needed}")]
    Dtype { name: String, file: Dtype, needed: &'static str },
    #[error("tensor {name:?}: file has values other than zero, model has no such parameter")]
    NotZero { name: String },
    #[error("tensor {name:?}: file has values other than those of {of:?}, to which the model ties it")]
    NotCopy { name: String, of: String },
}

impl CheckpointError {
    pub(super) fn malformed(file: &str, reason: impl Into<String>) -> Self {
        Self::Malformed { file: file.into(), reason: reason.into() }
    }
}

impl From<Mismatch> for CheckpointError {
    fn from(mismatch: Mismatch) -> Self {
        Self::Mismatch(vec![mismatch])
    }
}

fn list(problems: &[Mismatch]) -> String {
    let mut lines: Vec<String> = problems.iter().take(LISTED).map(Mismatch::to_string).collect();
    if problems.len() > LISTED {
        lines.push(format!("… and {} more", problems.len() - LISTED));
    }
    lines.join("\n")
}

/// `(768, 2304)`, as everywhere in the project.
fn tuple(shape: &[usize]) -> String {
    let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("({})", dims.join(", "))
}
