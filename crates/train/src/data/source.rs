//! Texts from files: one text, a folder of texts, or records in JSON lines. All of them are read in pieces.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::DataError;

/// Texts on disk, checked as far as that is possible without reading them.
#[derive(Clone, Debug)]
pub struct TextSource {
    path: PathBuf,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// One document.
    Text,
    /// Each file is a document.
    Folder(Vec<PathBuf>),
    /// Each line is a record whose field `text` is a document.
    JsonLines,
}

/// A piece of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The text; about a megabyte at most, except for a JSON record, which comes whole.
    pub text: String,
    /// Whether the document ends here.
    pub ends_document: bool,
}

/// Bytes that a piece of a text file aims at.
const PART_BYTES: usize = 1 << 20;
/// A line of JSON longer than this is taken for a file of another kind.
const MAX_LINE_BYTES: u64 = 256 << 20;

impl TextSource {
    /// Finds out what is at `path`: a folder is searched for `.txt` and `.md` files, in it and below it; a file whose
    /// name ends in `.jsonl` or `.ndjson` holds records; any other file is one text.
    ///
    /// # Errors
    ///
    /// [`DataError::Empty`] for an empty file, or a folder without a text; [`DataError::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<TextSource, DataError> {
        let path = path.as_ref().to_path_buf();
        let metadata = std::fs::metadata(&path).map_err(DataError::io(&path))?;
        let empty = |found, expected| Err(DataError::Empty { path: path.clone(), found, expected });
        if metadata.is_dir() {
            let mut files = Vec::new();
            collect_texts(&path, &mut files)?;
            if files.is_empty() {
                return empty("holds no text", "a folder with .txt or .md files that are not empty");
            }
            // The order of a directory listing differs between systems; the order of names does not.
            files.sort();
            return Ok(TextSource { path, kind: Kind::Folder(files) });
        }
        if metadata.len() == 0 {
            return empty("is empty", "UTF-8 text");
        }
        let kind = if has_extension(&path, &["jsonl", "ndjson"]) { Kind::JsonLines } else { Kind::Text };
        Ok(TextSource { path, kind })
    }

    /// Whether this is one long text, of which the end is split off for validation, rather than a set of documents.
    pub fn is_single_text(&self) -> bool {
        matches!(self.kind, Kind::Text)
    }

    /// The texts in order: what a tokenizer learns from. A long file comes in several pieces.
    ///
    /// # Errors
    ///
    /// An item is an error where a file cannot be read, is not UTF-8, or a record has no text. It is the last item.
    pub fn documents(&self) -> impl Iterator<Item = Result<String, DataError>> + use<> {
        self.parts().map(|part| part.map(|part| part.text))
    }

    /// The texts in order, with the places where documents end: what a [`Packer`](super::Packer) packs.
    ///
    /// A file is cut at the end of a paragraph where there is one, else of a line, else between two characters. A
    /// tokenizer may split the white space at a cut in another way than it would have done within a text, once in
    /// about a megabyte.
    ///
    /// # Errors
    ///
    /// As those of [`TextSource::documents`].
    pub fn parts(&self) -> impl Iterator<Item = Result<Part, DataError>> + use<> {
        let parts: Box<dyn Iterator<Item = Result<Part, DataError>>> = match &self.kind {
            Kind::Text => text_parts(self.path.clone()),
            Kind::Folder(files) => Box::new(files.clone().into_iter().flat_map(text_parts)),
            Kind::JsonLines => match File::open(&self.path) {
                Ok(file) => {
                    Box::new(JsonLines::new(self.path.clone(), BufReader::with_capacity(1 << 16, file)))
                }
                Err(error) => fails(DataError::Io { path: self.path.clone(), error }),
            },
        };
        // After an error nothing can be trusted to follow.
        let mut failed = false;
        parts.take_while(move |part| {
            let goes_on = !failed;
            failed |= part.is_err();
            goes_on
        })
    }
}

fn fails(error: DataError) -> Box<dyn Iterator<Item = Result<Part, DataError>>> {
    Box::new(std::iter::once(Err(error)))
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|found| extensions.iter().any(|known| found.eq_ignore_ascii_case(known)))
}

/// Adds the text files in `folder` and below it, leaving out empty ones. Links to folders are not followed, because
/// they may lead in a circle.
fn collect_texts(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    for entry in std::fs::read_dir(folder).map_err(DataError::io(folder))? {
        let entry = entry.map_err(DataError::io(folder))?;
        let path = entry.path();
        if entry.file_type().map_err(DataError::io(&path))?.is_dir() {
            collect_texts(&path, files)?;
        } else if has_extension(&path, &["txt", "md"]) {
            let metadata = std::fs::metadata(&path).map_err(DataError::io(&path))?;
            if metadata.is_file() && metadata.len() > 0 {
                files.push(path);
            }
        }
    }
    Ok(())
}

fn text_parts(path: PathBuf) -> Box<dyn Iterator<Item = Result<Part, DataError>>> {
    match File::open(&path) {
        Ok(file) => Box::new(TextParts::new(path, file, PART_BYTES)),
        Err(error) => fails(DataError::Io { path, error }),
    }
}

/// A text file, piece by piece.
struct TextParts<R> {
    path: PathBuf,
    reader: R,
    part_bytes: usize,
    /// Bytes that have been read and not yet given out, and where the first of them stands in the file.
    pending: Vec<u8>,
    offset: u64,
    at_end: bool,
    done: bool,
}

impl<R: Read> TextParts<R> {
    fn new(path: PathBuf, reader: R, part_bytes: usize) -> TextParts<R> {
        assert!(part_bytes >= 8, "a piece of {part_bytes} bytes may not hold two characters");
        TextParts { path, reader, part_bytes, pending: Vec::new(), offset: 0, at_end: false, done: false }
    }

    /// Reads until a piece and one byte more are there, so that the last piece is known to be the last one.
    fn fill(&mut self) -> Result<(), DataError> {
        let missing = (self.part_bytes + 1).saturating_sub(self.pending.len()) as u64;
        let mut reader = self.reader.by_ref().take(missing);
        let count = reader.read_to_end(&mut self.pending).map_err(DataError::io(&self.path))?;
        self.at_end = (count as u64) < missing;
        // Some editors begin a file with this mark; it is no part of the text.
        if self.offset == 0 && self.pending.starts_with(b"\xef\xbb\xbf") {
            self.pending.drain(..3);
            self.offset = 3;
        }
        Ok(())
    }

    fn part(&mut self) -> Result<Part, DataError> {
        self.fill()?;
        let not_text = |index: usize, found: String| {
            let offset = self.offset + index as u64;
            Err(DataError::NotText { path: self.path.clone(), offset, found })
        };
        let bytes = &self.pending;
        let valid = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            // A character may go on in the next piece, but not beyond the end of the file.
            Err(error) if error.error_len().is_none() && !self.at_end => {
                std::str::from_utf8(&bytes[..error.valid_up_to()]).expect("valid up to here")
            }
            Err(error) => return not_text(error.valid_up_to(), describe(&bytes[error.valid_up_to()..])),
        };
        if let Some(index) = valid.bytes().position(|byte| byte == 0) {
            return not_text(index, "a NUL byte".into());
        }
        let cut = if self.at_end { valid.len() } else { place_to_cut(valid) };
        let text = valid[..cut].to_string();
        self.pending.drain(..cut);
        self.offset += cut as u64;
        self.done = self.at_end;
        Ok(Part { text, ends_document: self.at_end })
    }
}

impl<R: Read> Iterator for TextParts<R> {
    type Item = Result<Part, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let part = self.part();
        self.done |= part.is_err();
        Some(part)
    }
}

/// Behind the last paragraph of `text`, else the last line, else the last character; the very end is not known to be
/// any of these, so it does not count.
fn place_to_cut(text: &str) -> usize {
    let last = text.char_indices().next_back().map_or(0, |(index, _)| index);
    let body = &text[..last];
    let after = |mark: &str| body.rfind(mark).map(|index| index + mark.len());
    after("\n\n").or_else(|| after("\n")).unwrap_or(last)
}

fn describe(bytes: &[u8]) -> String {
    format!("byte 0x{:02x}, which is no UTF-8,", bytes[0])
}

/// A file of JSON records, line by line.
struct JsonLines<R> {
    path: PathBuf,
    reader: R,
    line: u64,
    offset: u64,
    /// Whether there has been a record at all.
    any: bool,
}

impl<R: BufRead> JsonLines<R> {
    fn new(path: PathBuf, reader: R) -> JsonLines<R> {
        JsonLines { path, reader, line: 0, offset: 0, any: false }
    }

    /// The next record's text; blank lines are passed over.
    fn record(&mut self) -> Result<Option<String>, DataError> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let mut reader = self.reader.by_ref().take(MAX_LINE_BYTES);
            let count = reader.read_until(b'\n', &mut bytes).map_err(DataError::io(&self.path))? as u64;
            if count == 0 {
                return Ok(None);
            }
            self.line += 1;
            if count == MAX_LINE_BYTES && bytes.last() != Some(&b'\n') {
                return self
                    .wrong(format!("a line of more than {MAX_LINE_BYTES} bytes"), "one record in each line");
            }
            let line = match std::str::from_utf8(&bytes) {
                Ok(line) => line.trim_start_matches('\u{feff}').trim(),
                Err(error) => {
                    let offset = self.offset + error.valid_up_to() as u64;
                    let found = describe(&bytes[error.valid_up_to()..]);
                    return Err(DataError::NotText { path: self.path.clone(), offset, found });
                }
            };
            self.offset += count;
            if !line.is_empty() {
                return self.text(line).map(Some);
            }
        }
    }

    fn text(&self, line: &str) -> Result<String, DataError> {
        const EXPECTED: &str = "a string that is not empty";
        let mut record: serde_json::Value = match serde_json::from_str(line) {
            Ok(record) => record,
            Err(error) => {
                return self.wrong(format!("malformed JSON ({error})"), "an object with a field \"text\"");
            }
        };
        if !record.is_object() {
            return self.wrong(kind_of(&record).into(), "an object with a field \"text\"");
        }
        match record.get_mut("text").map(serde_json::Value::take) {
            None => self.wrong("field \"text\" is missing".into(), EXPECTED),
            Some(serde_json::Value::String(text)) if text.is_empty() => {
                self.wrong("field \"text\" is empty".into(), EXPECTED)
            }
            Some(serde_json::Value::String(text)) => Ok(text),
            Some(other) => self.wrong(format!("field \"text\" is {}", kind_of(&other)), EXPECTED),
        }
    }

    fn wrong<T>(&self, found: String, expected: &'static str) -> Result<T, DataError> {
        Err(DataError::Record { path: self.path.clone(), line: self.line, found, expected })
    }
}

impl<R: BufRead> Iterator for JsonLines<R> {
    type Item = Result<Part, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.record() {
            Ok(Some(text)) => {
                self.any = true;
                Some(Ok(Part { text, ends_document: true }))
            }
            Ok(None) if self.any => None,
            Ok(None) => {
                self.any = true;
                let (found, expected) = ("holds no record", "one object with a field \"text\" in each line");
                Some(Err(DataError::Empty { path: self.path.clone(), found, expected }))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

fn kind_of(value: &serde_json::Value) -> &'static str {
    use serde_json::Value;
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn parts_of(bytes: &[u8], part_bytes: usize) -> Vec<Result<Part, DataError>> {
        TextParts::new("test".into(), Cursor::new(bytes), part_bytes).collect()
    }

    /// Writes files into a new folder and opens one of them, or the folder itself for `""`.
    fn opened(files: &[(&str, &[u8])], name: &str) -> (tempfile::TempDir, Result<TextSource, DataError>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let path = if name.is_empty() { folder.path().to_path_buf() } else { folder.path().join(name) };
        let source = TextSource::open(path);
        (folder, source)
    }

    /// The texts of one file, or the message without the folder that nobody can foresee.
    fn read(name: &str, bytes: &[u8]) -> Result<Vec<String>, String> {
        let (folder, source) = opened(&[(name, bytes)], name);
        let texts = source.and_then(|source| source.documents().collect::<Result<_, _>>());
        texts.map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
    }

    #[test]
    fn a_text_is_cut_where_paragraphs_end() {
        let text = "One.\nTwo.\n\nThree.\nFour \u{1f331}.\n\nFive five five five five.\nSix";
        for part_bytes in 8..=text.len() + 2 {
            let parts: Vec<Part> =
                parts_of(text.as_bytes(), part_bytes).into_iter().map(|p| p.unwrap()).collect();
            assert_eq!(parts.iter().map(|part| &*part.text).collect::<String>(), text);
            let (last, before) = parts.split_last().unwrap();
            assert!(
                last.ends_document && before.iter().all(|part| !part.ends_document && !part.text.is_empty())
            );
        }
        let texts = |part_bytes| {
            let parts = parts_of(text.as_bytes(), part_bytes).into_iter();
            parts.map(|part| part.unwrap().text).collect::<Vec<_>>()
        };
        assert_eq!(
            texts(15),
            ["One.\nTwo.\n\n", "Three.\n", "Four \u{1f331}.\n\n", "Five five five ", "five five.\nSix"]
        );
        assert_eq!(texts(1000), [text]);
    }

    #[test]
    fn bytes_that_are_not_text_are_named() {
        assert_eq!(read("a.txt", b"").unwrap_err(), r#""a.txt" is empty, expected UTF-8 text"#);
        let nul = read("a.bin", b"ab\0cd").unwrap_err();
        assert_eq!(nul, r#""a.bin": a NUL byte at byte 2, expected UTF-8 text"#);
        let latin = read("a.txt", b"caf\xe9 au lait").unwrap_err();
        assert_eq!(latin, r#""a.txt": byte 0xe9, which is no UTF-8, at byte 3, expected UTF-8 text"#);
        // Cut off within a character, and far behind the first pieces of the file.
        assert!(read("a.txt", b"caf\xc3").unwrap_err().contains("0xc3"));
        let mut long = "word ".repeat(1 << 19).into_bytes();
        let offset = long.len();
        long.push(0xff);
        assert!(read("a.txt", &long).unwrap_err().contains(&format!("at byte {offset},")));
        assert_eq!(read("a.txt", b"\xef\xbb\xbfx").unwrap(), ["x"]);
        assert_eq!(read("a.txt", b"x").unwrap(), ["x"]);
        assert!(matches!(TextSource::open("/no/such/file"), Err(DataError::Io { .. })));
    }

    #[test]
    fn a_long_text_comes_in_pieces() {
        let text = "A line of some words.\n".repeat(200_000);
        let texts = read("a.txt", text.as_bytes()).unwrap();
        assert!(
            texts.len() >= 4 && texts.iter().all(|text| text.len() <= PART_BYTES && text.ends_with('\n'))
        );
        assert_eq!(texts.concat(), text);
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_names() {
        let files: [(&str, &[u8]); 5] =
            [("b.txt", b"two"), ("a/z.md", b"one"), ("c.TXT", b"three"), ("d.txt", b""), ("e.png", b"\0")];
        let (_folder, source) = opened(&files, "");
        let source = source.unwrap();
        assert!(!source.is_single_text());
        let parts: Vec<Part> = source.parts().map(|part| part.unwrap()).collect();
        assert_eq!(parts.iter().map(|part| &*part.text).collect::<Vec<_>>(), ["one", "two", "three"]);
        assert!(parts.iter().all(|part| part.ends_document));
        let (_folder, none) = opened(&files[3..], "");
        assert!(none.unwrap_err().to_string().contains("holds no text, expected a folder with .txt"));
        // One bad file ends the reading, by name.
        let (_folder, bad) = opened(&[("a.txt", b"good"), ("b.txt", b"\xff"), ("c.txt", b"good")], "");
        let items: Vec<_> = bad.unwrap().documents().collect();
        assert_eq!(items.len(), 2);
        assert!(items[1].as_ref().unwrap_err().to_string().contains("b.txt"));
    }

    #[test]
    fn records_need_a_text() {
        let good = b"\xef\xbb\xbf{\"text\": \"one\\ntwo\"}\r\n\n{\"id\": 3, \"text\": \"three\"}";
        assert_eq!(read("a.jsonl", good).unwrap(), ["one\ntwo", "three"]);
        let cases: [(&[u8], &str); 8] = [
            (
                b"{\"text\": \"a\"}\n{\"text\": ",
                "line 2: malformed JSON (EOF while parsing a value at line 1 column 8)",
            ),
            (b"{\"txt\": \"a\"}", "line 1: field \"text\" is missing, expected a string that is not empty"),
            (b"{\"text\": \"\"}", "line 1: field \"text\" is empty, expected"),
            (b"\n{\"text\": 7}", "line 2: field \"text\" is a number, expected"),
            (b"{\"text\": [\"a\"]}", "line 1: field \"text\" is an array, expected"),
            (b"[1]", "line 1: an array, expected an object with a field \"text\""),
            (b"\n\n", "holds no record, expected"),
            (b"{\"text\": \"a\"}\n\xff", "byte 0xff, which is no UTF-8, at byte 14"),
        ];
        for (bytes, expected) in cases {
            let message = read("a.jsonl", bytes).unwrap_err();
            assert!(message.contains(expected) && message.contains("a.jsonl"), "{message}");
        }
    }
}
