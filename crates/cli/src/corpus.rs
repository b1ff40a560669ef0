//! From texts to ids: what a run learns from, what it is judged by, and the tokenizer that it learns first.
//!
//! Texts are read piece by piece, once to learn the tokenizer and once to be encoded. Ids stay in memory while they are
//! few, and go to a file when they are many, so that a text of a gigabyte is never held whole.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Result, bail};
use cloche_text::{Progress, TextFilter, Tokenizer, TokenizerKind, TokenizerTrainer, Verdict};
use cloche_train::bytes_in_words;
use cloche_train::data::{
    Corpus, DataError, Packer, Part, TextSource, TokenBuffer, TokenSink, TokenWriter, Tokens, View,
    is_validation, split_tail,
};
use cloche_train::stories::{Stories, Story, floor};

use crate::curation::Dedup;
use crate::report::Report;

/// Bytes of ids that are kept in memory.
const MEMORY_BYTES: usize = 64 << 20;

/// Pieces that are encoded side by side; a piece is a megabyte at most.
const PIECES: usize = 16;

/// A place for ids that are too many for the memory. They can be made again, so the file goes with this.
pub struct IdFile(PathBuf);

impl IdFile {
    /// Those of a run, in its folder: of the texts to train on, and of those to validate with.
    pub fn of_run(folder: &Path) -> [IdFile; 2] {
        ["train.ids", "val.ids"].map(|name| IdFile(folder.join(name)))
    }

    /// One that no other process has.
    pub fn temporary() -> IdFile {
        let name = format!("cloche-{}.ids", std::process::id());
        IdFile(std::env::temp_dir().join(name))
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Texts to learn from.
pub enum Texts {
    /// The built-in stories, so many bytes of them.
    Stories {
        /// Bytes of text to train on; a twentieth of that comes on top, to validate with.
        bytes: u64,
        /// Which stories.
        seed: u64,
    },
    /// Texts of the user, but for the documents of these numbers.
    Files(TextSource, HashSet<u64>),
}

impl Texts {
    /// The built-in stories, or the texts at a path.
    ///
    /// # Errors
    /// A path at which there is no text.
    pub fn open(data: &str, stories_bytes: u64, seed: u64) -> Result<Texts> {
        Ok(match data {
            "stories" => Texts::Stories { bytes: stories_bytes, seed },
            path => Texts::Files(TextSource::open(path)?, HashSet::new()),
        })
    }

    /// Leaves out documents that were there before, and tells how many.
    ///
    /// # Errors
    /// Texts that are no set of documents, or cannot be read.
    pub fn without_duplicates(&mut self, dedup: Dedup, report: &mut Report) -> Result<()> {
        let Texts::Files(source, left_out) = self else {
            bail!("dedup: found the built-in stories, expected a folder of texts or a .jsonl file");
        };
        if source.is_single_text() {
            bail!("dedup: found a single text, expected a folder of texts or a .jsonl file");
        }
        report.begin("looking for duplicates");
        let mut filter = TextFilter::new(dedup.settings());
        let (mut document, mut number) = (String::new(), 0);
        for part in source.parts() {
            let part = part?;
            document.push_str(&part.text);
            if part.ends_document {
                if filter.judge(&document) != Verdict::Kept {
                    left_out.insert(number);
                }
                number += 1;
                document.clear();
            }
        }
        report.end();
        report.note(filter.counts());
        Ok(())
    }

    /// Characters for a single text, whose alphabet is its own; byte pairs for a set of documents.
    pub fn default_tokenizer(&self) -> TokenizerKind {
        match self {
            Texts::Files(source, _) if source.is_single_text() => TokenizerKind::Char,
            _ => TokenizerKind::Bpe { vocab_size: 512 },
        }
    }

    /// Learns a tokenizer from the texts, perhaps with the tokens of a chat.
    ///
    /// # Errors
    /// Texts that cannot be read; a vocabulary larger than they can give.
    pub fn learn(&self, kind: TokenizerKind, chat_tokens: bool, report: &mut Report) -> Result<Tokenizer> {
        report.begin("reading the text");
        let mut trainer = TokenizerTrainer::new(kind);
        trainer.chat_tokens(chat_tokens);
        for part in self.parts() {
            let (part, _) = part?;
            trainer.feed(&part.text);
            if part.ends_document {
                trainer.end_document();
            }
            report.at(format_args!("reading the text: {}", bytes_in_words(trainer.bytes() as u64)));
        }
        let merging = &mut |progress: Progress| {
            let total = progress.total.map_or(String::new(), |total| format!(" of {total}"));
            report.at(format_args!("learning the tokenizer: {}{total} tokens", progress.done));
        };
        Ok(trainer.finish(merging)?)
    }

    /// Encodes the texts; where the ids are many, they go to these files.
    ///
    /// # Errors
    /// Texts that cannot be read, a file that cannot be written.
    pub fn encode(&self, tokenizer: &Tokenizer, files: &[IdFile; 2], report: &mut Report) -> Result<Corpus> {
        let vocab_size = tokenizer.vocab_size();
        let sinks = files.each_ref().map(|file| Ids::new(vocab_size, file.0.clone()));
        // A text that does not end needs no end; one character set has no token for it.
        let eot = tokenizer.eot_id().filter(|_| !self.is_single_text());
        let mut packers = sinks.map(|sink| Packer::new(sink, eot));
        let mut parts = self.parts();
        let mut bytes = 0;
        report.begin("encoding the text");
        loop {
            let some: Vec<(Part, bool)> = parts.by_ref().take(PIECES).collect::<Result<_, _>>()?;
            if some.is_empty() {
                break;
            }
            let texts: Vec<&str> = some.iter().map(|(part, _)| part.text.as_str()).collect();
            for ((part, validates), ids) in some.iter().zip(tokenizer.encode_batch(&texts)) {
                let packer = &mut packers[usize::from(*validates)];
                packer.part(&ids)?;
                if part.ends_document {
                    packer.end_document()?;
                }
                bytes += part.text.len() as u64;
            }
            report.at(format_args!("encoding the text: {}", bytes_in_words(bytes)));
        }
        let [train, val] = packers.map(|packer| packer.finish().finish());
        let (train, val) = held_out(train?, val?);
        report.end();
        Ok(Corpus::new(train, val, vocab_size, self.floor(tokenizer))?)
    }

    /// The whole of the texts as one row of ids, and their bytes.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_all(
        &self,
        tokenizer: &Tokenizer,
        file: &IdFile,
        report: &Report,
    ) -> Result<(Rc<dyn Tokens>, u64)> {
        let eot = tokenizer.eot_id().filter(|_| !self.is_single_text());
        let mut packer = Packer::new(Ids::new(tokenizer.vocab_size(), file.0.clone()), eot);
        let (mut bytes, mut missing) = (0, Vec::new());
        for part in self.parts() {
            let (part, _) = part?;
            packer.part(&tokenizer.encode(&part.text))?;
            if part.ends_document {
                packer.end_document()?;
            }
            bytes += part.text.len() as u64;
            if missing.is_empty() {
                missing = tokenizer.missing_chars(&part.text);
            }
        }
        if !missing.is_empty() {
            let shown: Vec<String> = missing.iter().take(10).map(|c| format!("{c:?}")).collect();
            report.warn(format_args!("the vocabulary lacks characters of the text: {}", shown.join(" ")));
        }
        Ok((packer.finish().finish()?, bytes))
    }

    fn is_single_text(&self) -> bool {
        matches!(self, Texts::Files(source, _) if source.is_single_text())
    }

    /// The texts in order, each piece with whether it is for validation.
    fn parts(&self) -> Box<dyn Iterator<Item = Result<(Part, bool), DataError>>> {
        match self {
            Texts::Stories { bytes, seed } => {
                let part = |validates| {
                    move |story: Story| Ok((Part { text: story.text, ends_document: true }, validates))
                };
                let stories = Stories::new(*seed);
                Box::new(
                    first(stories.train(), *bytes)
                        .map(part(false))
                        .chain(first(stories.validation(), bytes / 20).map(part(true))),
                )
            }
            Texts::Files(source, _) if source.is_single_text() => {
                Box::new(source.parts().map(|part| part.map(|part| (part, false))))
            }
            Texts::Files(source, left_out) => {
                let (mut document, left_out) = (0, left_out.clone());
                Box::new(source.parts().filter_map(move |part| {
                    let part = match part {
                        Ok(part) => part,
                        Err(error) => return Some(Err(error)),
                    };
                    let number = document;
                    document += u64::from(part.ends_document);
                    (!left_out.contains(&number)).then(|| Ok((part, is_validation(number))))
                }))
            }
        }
    }

    /// The loss that no model can go below on the stories to validate with.
    fn floor(&self, tokenizer: &Tokenizer) -> Option<f32> {
        let Texts::Stories { bytes, seed } = self else { return None };
        let stories: Vec<Story> = first(Stories::new(*seed).validation(), bytes / 20).collect();
        let counts = stories.iter().map(|story| (story, tokenizer.encode(&story.text).len() + 1));
        Some(floor(counts) as f32)
    }
}

/// Stories until so many bytes are told, at least one.
fn first(stories: impl Iterator<Item = Story>, bytes: u64) -> impl Iterator<Item = Story> {
    let mut told = 0;
    stories.take_while(move |story| {
        let goes_on = told == 0 || told < bytes;
        told += story.text.len() as u64;
        goes_on
    })
}

/// Where no document was set aside to validate with, the end of the text is.
fn held_out(train: Rc<dyn Tokens>, val: Rc<dyn Tokens>) -> (Rc<dyn Tokens>, Rc<dyn Tokens>) {
    if !val.is_empty() {
        return (train, val);
    }
    let (head, tail) = split_tail(train.len(), 0.1);
    (Rc::new(View::new(train.clone(), head)), Rc::new(View::new(train, tail)))
}

/// Ids in memory, until they are so many that they move to a file.
struct Ids {
    buffer: TokenBuffer,
    writer: Option<TokenWriter>,
    path: PathBuf,
    vocab_size: usize,
}

impl Ids {
    fn new(vocab_size: usize, path: PathBuf) -> Ids {
        Ids { buffer: TokenBuffer::new(vocab_size), writer: None, path, vocab_size }
    }

    fn move_to_file(&mut self) -> Result<(), DataError> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| DataError::Io { path: folder.to_path_buf(), error })?;
        }
        let mut writer = TokenWriter::create(&self.path, self.vocab_size)?;
        let buffer = std::mem::replace(&mut self.buffer, TokenBuffer::new(self.vocab_size));
        let mut ids = vec![0; 1 << 16];
        for start in (0..buffer.len()).step_by(ids.len()) {
            let ids = &mut ids[..(buffer.len() - start).min(1 << 16)];
            buffer.read(start, ids)?;
            writer.extend(ids)?;
        }
        self.writer = Some(writer);
        Ok(())
    }

    fn finish(self) -> Result<Rc<dyn Tokens>, DataError> {
        Ok(match self.writer {
            Some(writer) => Rc::new(writer.finish()?),
            None => Rc::new(self.buffer),
        })
    }
}

impl TokenSink for Ids {
    fn extend(&mut self, ids: &[u32]) -> Result<(), DataError> {
        match &mut self.writer {
            Some(writer) => writer.extend(ids),
            None => {
                self.buffer.push(ids);
                if self.buffer.bytes() >= MEMORY_BYTES { self.move_to_file() } else { Ok(()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_ids_move_to_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("train.ids");
        let mut ids = Ids::new(100, path.clone());
        let block: Vec<u32> = (0..1000).map(|i| i % 100).collect();
        ids.extend(&block).unwrap();
        ids.move_to_file().unwrap();
        ids.extend(&block).unwrap();
        let tokens = ids.finish().unwrap();
        let mut out = vec![0; 2000];
        tokens.read(0, &mut out).unwrap();
        assert!(path.exists() && out[..1000] == block && out[1000..] == block);
    }

    #[test]
    fn id_files_go_with_whoever_made_them() {
        let folder = tempfile::tempdir().unwrap();
        let files = IdFile::of_run(folder.path());
        for finished in [true, false] {
            let mut ids = Ids::new(100, files[usize::from(finished)].0.clone());
            ids.extend(&[1, 2, 3]).unwrap();
            ids.move_to_file().unwrap();
            assert!(!finished || ids.finish().is_ok());
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "one was given up");
        drop(files);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn a_single_text_keeps_its_end_for_validation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, "abcd".repeat(250)).unwrap();
        let texts = Texts::open(path.to_str().unwrap(), 0, 0).unwrap();
        let mut report = Report::new(true);
        let tokenizer = texts.learn(texts.default_tokenizer(), false, &mut report).unwrap();
        let corpus = texts.encode(&tokenizer, &IdFile::of_run(folder.path()), &mut report).unwrap();
        assert_eq!((tokenizer.vocab_size(), corpus.train.len(), corpus.val.len()), (4, 900, 100));
    }

    #[test]
    fn stories_have_a_floor() {
        let texts = Texts::open("stories", 100_000, 1337).unwrap();
        let mut report = Report::new(true);
        let tokenizer = texts.learn(TokenizerKind::Byte, false, &mut report).unwrap();
        let corpus = texts.encode(&tokenizer, &IdFile::of_run(Path::new("unused")), &mut report).unwrap();
        assert!((90_000..120_000).contains(&corpus.train.len()), "{}", corpus.train.len());
        assert!(corpus.floor.is_some_and(|floor| (0.05..0.5).contains(&floor)), "{:?}", corpus.floor);
    }
}
