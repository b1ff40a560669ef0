//! What can be wrong with a text or a tokenizer file, each case with the thing, what was found, what was expected.

use thiserror::Error;

/// An error of the text layer. [`TextError::code`] is stable; the message is for people.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum TextError {
    /// A tokenizer was asked for by a name that does not exist, or with an impossible size.
    #[error("tokenizer \"{found}\": {expected}")]
    Kind {
        /// The name as it was written.
        found: String,
        /// What would have been accepted.
        expected: String,
    },

    /// There is nothing to learn a vocabulary from.
    #[error("text is empty: a tokenizer needs at least one character to learn from")]
    Empty,

    /// The text repeats one character, so that a model would have nothing to predict.
    #[error("text has one distinct character, {found:?}: a character vocabulary needs at least 2")]
    OneCharacter {
        /// The only character.
        found: char,
    },

    /// More tokens were asked for than the text can give.
    #[error(
        "vocabulary of {asked} tokens: the text gives only {given} (a merge must occur at least twice); \
         ask for at most {given} or give more text"
    )]
    VocabTooLarge {
        /// The size asked for.
        asked: usize,
        /// The size at which no pair of neighbours occurred twice any more.
        given: usize,
    },

    /// A file is not UTF-8 text.
    #[error("{name}: {found} at byte {offset}, expected UTF-8 text")]
    NotText {
        /// The file's name, as it was given.
        name: String,
        /// Offset of the first offending byte.
        offset: usize,
        /// What stands there.
        found: String,
    },

    /// A line of a data set is not a record.
    #[error("{name} line {line}: {found}, expected {expected}")]
    Record {
        /// The file's name, as it was given.
        name: String,
        /// The line, counted from one.
        line: usize,
        /// What is there; it names the field.
        found: String,
        /// What was expected.
        expected: String,
    },

    /// A file cannot be read.
    #[error("{name}: {reason}")]
    Read {
        /// The file's name, as it was given.
        name: String,
        /// What the system says.
        reason: String,
    },

    /// A chat template cannot be used for a conversation.
    #[error("chat template: {found}, expected {expected}")]
    Template {
        /// What it is or does.
        found: String,
        /// What would do.
        expected: String,
    },

    /// A prompt leaves no room for an answer.
    #[error("prompt of {tokens} tokens, expected at most {room}")]
    Prompt {
        /// Its length.
        tokens: usize,
        /// The length up to which it can be answered.
        room: usize,
    },

    /// A tokenizer file is not what it should be.
    #[error("{what}: {found}, expected {expected}")]
    Format {
        /// The file and the field in it, for example `tokenizer.json "model.merges[3]"`.
        what: String,
        /// What stands there.
        found: String,
        /// What should stand there.
        expected: String,
    },
}

impl TextError {
    /// A short name that never changes, for programs: the `code` of the error in JavaScript.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Kind { .. } => "SETTINGS",
            Self::Empty => "TEXT_EMPTY",
            Self::OneCharacter { .. } => "TEXT_ONE_CHARACTER",
            Self::VocabTooLarge { .. } => "VOCAB_TOO_LARGE",
            Self::NotText { .. } | Self::Read { .. } => "NOT_TEXT",
            Self::Record { .. } | Self::Prompt { .. } => "DATA",
            Self::Template { .. } => "TEMPLATE",
            Self::Format { .. } => "CHECKPOINT",
        }
    }

    pub(crate) fn format(
        what: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self::Format { what: what.into(), found: found.into(), expected: expected.into() }
    }
}
