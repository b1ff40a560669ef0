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
    /// A short name that never changes, for programs to match on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Kind { .. } => "TOKENIZER_KIND",
            Self::Empty => "TEXT_EMPTY",
            Self::OneCharacter { .. } => "TEXT_ONE_CHARACTER",
            Self::VocabTooLarge { .. } => "VOCAB_TOO_LARGE",
            Self::NotText { .. } => "NOT_TEXT",
            Self::Format { .. } => "TOKENIZER_FORMAT",
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

/// Reads bytes as UTF-8 text, or says where they stop being text. `name` is what the message calls them.
///
/// A byte-order mark at the start is dropped: it is an artefact of the editor, not a character of the text.
///
/// # Errors
/// [`TextError::NotText`] with the offset of the first NUL byte (no text file has one: the file is binary) or of
/// the first byte that is not UTF-8.
///
/// # Example
/// ```
/// use cloche_text::decode_utf8;
/// assert_eq!(decode_utf8(b"caf\xc3\xa9", "menu.txt").unwrap(), "café");
/// assert_eq!(
///     decode_utf8(b"caf\xe9", "menu.txt").unwrap_err().to_string(),
///     "menu.txt: byte 0xe9 at byte 3, expected UTF-8 text"
/// );
/// ```
pub fn decode_utf8<'b>(bytes: &'b [u8], name: &str) -> Result<&'b str, TextError> {
    let not_text = |offset, found| TextError::NotText { name: name.to_string(), offset, found };
    let (text, invalid) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => ("", Some(error.valid_up_to())),
    };
    // A binary file is recognised by its first zero byte even where that happens to be valid UTF-8.
    let readable = invalid.unwrap_or(bytes.len());
    if let Some(offset) = bytes[..readable].iter().position(|&byte| byte == 0) {
        return Err(not_text(offset, "a NUL byte (a binary file)".to_string()));
    }
    match invalid {
        None => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Some(0) if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) => {
            Err(not_text(0, "a UTF-16 byte-order mark".to_string()))
        }
        Some(offset) => Err(not_text(offset, format!("byte {:#04x}", bytes[offset]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_text_are_named_with_their_offset() {
        let message = |bytes: &[u8]| decode_utf8(bytes, "a.txt").unwrap_err().to_string();
        assert_eq!(message(b"ab\0cd"), "a.txt: a NUL byte (a binary file) at byte 2, expected UTF-8 text");
        assert_eq!(message(b"ab\xffcd"), "a.txt: byte 0xff at byte 2, expected UTF-8 text");
        assert_eq!(message(b"\0ab\xff"), "a.txt: a NUL byte (a binary file) at byte 0, expected UTF-8 text");
        assert_eq!(
            message(b"\xff\xfeh\0i\0"),
            "a.txt: a UTF-16 byte-order mark at byte 0, expected UTF-8 text"
        );
        // A character cut in half at the end of the file.
        assert_eq!(message(b"caf\xc3"), "a.txt: byte 0xc3 at byte 3, expected UTF-8 text");
        assert_eq!(decode_utf8(b"\xef\xbb\xbfhi", "a.txt"), Ok("hi"));
        assert_eq!(decode_utf8(b"", "a.txt"), Ok(""));
    }
}
