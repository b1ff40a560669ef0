//! Bytes of a file as text, whole or in pieces, with a name for the byte at which they stop being text.

use crate::TextError;

/// Reads bytes as UTF-8 text. `name` is what an error calls them.
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
    let (text, rest) = split_text(bytes, name, 0)?;
    match rest.first() {
        Some(byte) => Err(not_utf8(*byte, text.len(), name)),
        None => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
    }
}

/// Reads a file of any size as UTF-8 text, chunk by chunk: a character that a chunk cuts in two is put together.
///
/// # Example
/// ```
/// use cloche_text::Utf8Reader;
/// let mut reader = Utf8Reader::new("menu.txt");
/// assert_eq!(reader.push(b"caf\xc3").unwrap(), "caf");
/// assert_eq!(reader.push(b"\xa9 noir").unwrap(), "é noir");
/// reader.finish().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Utf8Reader {
    name: String,
    /// The first bytes of a character of which the rest has not come; at most three.
    cut: Vec<u8>,
    /// Offset in the file of the first byte of `cut`.
    offset: usize,
}

impl Utf8Reader {
    /// A reader at the start of the file called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), cut: Vec::new(), offset: 0 }
    }

    /// The text of the next bytes, as far as it is whole.
    ///
    /// # Errors
    /// As [`decode_utf8`]; the offset counts from the start of the file.
    pub fn push(&mut self, bytes: &[u8]) -> Result<String, TextError> {
        let mut joined = std::mem::take(&mut self.cut);
        joined.extend_from_slice(bytes);
        let (text, rest) = split_text(&joined, &self.name, self.offset)?;
        // A mark at the start of the file is dropped once it is whole.
        let shown = if self.offset == 0 { text.strip_prefix('\u{feff}').unwrap_or(text) } else { text };
        let shown = shown.to_string();
        self.cut = rest.to_vec();
        self.offset += text.len();
        Ok(shown)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`TextError::NotText`] if it ends inside a character.
    pub fn finish(self) -> Result<(), TextError> {
        match self.cut.first() {
            Some(&byte) => Err(not_utf8(byte, self.offset, &self.name)),
            None => Ok(()),
        }
    }
}

/// Splits bytes into text and the beginning of a character that is not whole; anything else is an error.
fn split_text<'b>(bytes: &'b [u8], name: &str, offset: usize) -> Result<(&'b str, &'b [u8]), TextError> {
    let (text, rest, is_cut) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, &[][..], true),
        Err(error) => {
            let (text, rest) = bytes.split_at(error.valid_up_to());
            // The first part was just found to be valid, so that nothing is replaced.
            (std::str::from_utf8(text).unwrap_or_default(), rest, error.error_len().is_none())
        }
    };
    // A binary file is told by its first zero byte even where that is valid UTF-8.
    if let Some(at) = text.bytes().position(|byte| byte == 0) {
        return Err(not_text(offset + at, "a NUL byte (a binary file)", name));
    }
    match rest {
        _ if is_cut => Ok((text, rest)),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] if offset + text.len() == 0 => {
            Err(not_text(0, "a UTF-16 byte-order mark", name))
        }
        _ => Err(not_utf8(rest[0], offset + text.len(), name)),
    }
}

fn not_utf8(byte: u8, offset: usize, name: &str) -> TextError {
    not_text(offset, &format!("byte {byte:#04x}"), name)
}

fn not_text(offset: usize, found: &str, name: &str) -> TextError {
    TextError::NotText { name: name.to_string(), offset, found: found.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_in_chunks(bytes: &[u8], chunk: usize) -> Result<String, TextError> {
        let mut reader = Utf8Reader::new("a.txt");
        let pieces = bytes.chunks(chunk).map(|bytes| reader.push(bytes)).collect::<Result<String, _>>()?;
        reader.finish()?;
        Ok(pieces)
    }

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

    #[test]
    fn reading_in_chunks_is_reading_at_once() {
        let texts: [&[u8]; 9] = [
            "\u{feff}naïve 玻璃 🙂\u{feff} end".as_bytes(),
            b"",
            b"plain",
            b"ab\xffcd",
            b"caf\xc3",
            b"caf\xc3\xc3\xa9",
            b"a\xf0\x9f\x99",
            b"abcdef\0gh\xff",
            b"\xed\xa0\x80", // half of a UTF-16 pair
        ];
        for bytes in texts {
            for chunk in 1..=bytes.len().max(1) {
                let whole = decode_utf8(bytes, "a.txt").map(str::to_string);
                assert_eq!(read_in_chunks(bytes, chunk), whole, "{bytes:?} in chunks of {chunk}");
            }
        }
    }
}
