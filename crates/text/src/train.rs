//! Learning a tokenizer from text: the three kinds, the table that lists them, and a trainer that texts stream through.

use crate::bpe::{self, Word};
use crate::encode::Tokenizer;
use crate::{CHAT_TOKENS, TextError, byte_level, hf};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

/// A byte-level vocabulary starts with the 256 bytes, and ends with `<|endoftext|>` and perhaps the chat tokens.
const SMALLEST_BPE: usize = 256 + 1;

/// Larger than any vocabulary in use (262,144), small enough that a table of it is harmless.
pub(crate) const LARGEST_VOCAB: usize = 1 << 20;

/// What the units of a text are. Written and read as `char`, `byte` or `bpe:SIZE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenizerKind {
    /// One token per character of the training text.
    Char,
    /// One token per UTF-8 byte.
    Byte,
    /// Byte-pair encoding over bytes, as in GPT-2.
    Bpe {
        /// Size of the whole vocabulary: 256 bytes, the merges, and the special tokens.
        vocab_size: usize,
    },
}

/// A row of [`TOKENIZERS`].
pub struct TokenizerEntry {
    /// The name before the colon in `char`, `byte`, `bpe:SIZE`.
    pub name: &'static str,
    /// One sentence for people who choose.
    pub about: &'static str,
    /// Reads the part after the colon, if there is one.
    pub kind: fn(Option<&str>) -> Result<TokenizerKind, String>,
    learner: fn(TokenizerKind) -> Box<dyn Learner>,
}

/// Every kind of tokenizer that can be trained, in reading order.
pub const TOKENIZERS: &[TokenizerEntry] = &[
    TokenizerEntry {
        name: "char",
        about: "One token per character that the text contains: the smallest vocabulary, the longest sequences.",
        kind: |size| no_size(size).map(|()| TokenizerKind::Char),
        learner: |_| Box::new(CharLearner { seen: vec![false; char::MAX as usize + 1] }),
    },
    TokenizerEntry {
        name: "byte",
        about: "One token per byte: any text in any language with 257 tokens and nothing to learn.",
        kind: |size| no_size(size).map(|()| TokenizerKind::Byte),
        learner: |_| Box::new(ByteLearner),
    },
    TokenizerEntry {
        name: "bpe",
        about: "Frequent byte sequences become one token each (GPT-2's way): shorter sequences, SIZE tokens.",
        kind: bpe_size,
        learner: |kind| Box::new(BpeLearner::new(kind)),
    },
];

fn no_size(size: Option<&str>) -> Result<(), String> {
    size.map_or(Ok(()), |_| Err("this kind takes no size".to_string()))
}

fn bpe_size(size: Option<&str>) -> Result<TokenizerKind, String> {
    let size = size.ok_or("expected a size, for example bpe:4096")?;
    match size.parse() {
        Ok(vocab_size) if (SMALLEST_BPE..=LARGEST_VOCAB).contains(&vocab_size) => {
            Ok(TokenizerKind::Bpe { vocab_size })
        }
        _ => Err(format!(
            "expected a size from {SMALLEST_BPE} (256 bytes and <|endoftext|>) to {LARGEST_VOCAB}, \
             for example bpe:4096"
        )),
    }
}

impl TokenizerKind {
    fn entry(self) -> &'static TokenizerEntry {
        &TOKENIZERS[match self {
            Self::Char => 0,
            Self::Byte => 1,
            Self::Bpe { .. } => 2,
        }]
    }
}

impl FromStr for TokenizerKind {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let (name, size) = text.split_once(':').map_or((text, None), |(name, size)| (name, Some(size)));
        let kind = match TOKENIZERS.iter().find(|entry| entry.name == name) {
            Some(entry) => (entry.kind)(size),
            None => Err("expected char, byte or bpe:SIZE".to_string()),
        };
        kind.map_err(|expected| TextError::Kind { found: text.to_string(), expected })
    }
}

impl fmt::Display for TokenizerKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.entry().name)?;
        match self {
            Self::Bpe { vocab_size } => write!(out, ":{vocab_size}"),
            Self::Char | Self::Byte => Ok(()),
        }
    }
}

/// What a trainer is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// Counting the characters or words of the text; progress is in bytes, and the end is not known.
    Reading,
    /// Merging pairs; progress is in tokens of the vocabulary.
    Merging,
}

/// How far a training has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Bytes read, or tokens in the vocabulary.
    pub done: usize,
    /// What `done` will be in the end, where that is known.
    pub total: Option<usize>,
}

/// Learns a tokenizer from text that arrives in pieces, so that a file of any size can stream through.
///
/// `<|endoftext|>`, which separates documents, is part of every vocabulary with one exception: a character
/// vocabulary of a single document is exactly its characters (65 for nanoGPT's tiny Shakespeare), unless
/// [`end_of_text`](Self::end_of_text) says otherwise.
///
/// # Example
/// ```
/// use cloche_text::{TokenizerKind, TokenizerTrainer};
/// let mut trainer = TokenizerTrainer::new(TokenizerKind::Char);
/// trainer.feed("to be ");
/// trainer.feed("or not to be"); // still the same document
/// let tokenizer = trainer.finish(&mut |_| {}).unwrap();
/// assert_eq!(tokenizer.vocab_size(), 7); // " benort"
/// ```
pub struct TokenizerTrainer {
    learner: Box<dyn Learner>,
    documents: usize,
    in_document: bool,
    bytes: usize,
    end_of_text: Option<bool>,
    chat_tokens: bool,
    kind: TokenizerKind,
}

impl TokenizerTrainer {
    /// A trainer that has seen nothing yet.
    pub fn new(kind: TokenizerKind) -> Self {
        let learner = (kind.entry().learner)(kind);
        Self {
            learner,
            documents: 0,
            in_document: false,
            bytes: 0,
            end_of_text: None,
            chat_tokens: false,
            kind,
        }
    }

    /// The kind of tokenizer that this will make.
    pub fn kind(&self) -> TokenizerKind {
        self.kind
    }

    /// Bytes of text fed so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Continues the current document. Words that a chunk cuts in two are put together again.
    pub fn feed(&mut self, text: &str) {
        if !text.is_empty() {
            self.in_document = true;
            self.bytes += text.len();
            self.learner.feed(text);
        }
    }

    /// Ends the current document; the next [`feed`](Self::feed) begins another. An empty document does not count.
    pub fn end_document(&mut self) {
        if std::mem::take(&mut self.in_document) {
            self.documents += 1;
            self.learner.end_document();
        }
    }

    /// Decides whether a character vocabulary has `<|endoftext|>`. The other kinds always have it.
    pub fn end_of_text(&mut self, wanted: bool) {
        self.end_of_text = Some(wanted);
    }

    /// Decides whether the vocabulary ends with [`CHAT_TOKENS`], which begin and end messages. A model that is trained
    /// with such a vocabulary can be taught to chat as it is; the tokens count in the size of a BPE vocabulary.
    pub fn chat_tokens(&mut self, wanted: bool) {
        self.chat_tokens = wanted;
    }

    /// Makes the tokenizer. `report` hears how far the merging is; the other kinds have nothing to report.
    ///
    /// # Errors
    /// [`TextError::Empty`] if nothing was fed; [`TextError::OneCharacter`] for a character vocabulary of one, which
    /// leaves a model nothing to predict; [`TextError::VocabTooLarge`], with the size that is possible, if the text
    /// runs out of pairs that occur twice.
    pub fn finish(mut self, report: &mut dyn FnMut(Progress)) -> Result<Tokenizer, TextError> {
        self.end_document();
        if self.documents == 0 {
            return Err(TextError::Empty);
        }
        // Only a character vocabulary does without the end of a document.
        let wanted = self.end_of_text.unwrap_or(self.documents > 1);
        let end_of_text = wanted || self.kind != TokenizerKind::Char;
        let mut special = Vec::new();
        special.extend(end_of_text.then_some(hf::END_OF_TEXT));
        special.extend(CHAT_TOKENS.iter().filter(|_| self.chat_tokens));
        self.learner.finish(&special, report)
    }
}

impl Tokenizer {
    /// Learns a tokenizer from documents, which are read once and not kept. See [`TokenizerTrainer`] for the rule
    /// about `<|endoftext|>`, for text in pieces, and for the errors.
    pub fn train<D: AsRef<str>>(
        kind: TokenizerKind,
        documents: impl IntoIterator<Item = D>,
    ) -> Result<Self, TextError> {
        Self::train_with(kind, documents, &mut |_| {})
    }

    /// Like [`train`](Self::train); `report` hears how far it has come.
    ///
    /// # Errors
    /// As [`TokenizerTrainer::finish`].
    pub fn train_with<D: AsRef<str>>(
        kind: TokenizerKind,
        documents: impl IntoIterator<Item = D>,
        report: &mut dyn FnMut(Progress),
    ) -> Result<Self, TextError> {
        let mut trainer = TokenizerTrainer::new(kind);
        let mut reported = 0;
        for document in documents {
            trainer.feed(document.as_ref());
            trainer.end_document();
            // Documents may be a line each: a report per quarter megabyte is often enough.
            if trainer.bytes - reported >= 1 << 18 {
                reported = trainer.bytes;
                report(Progress { stage: Stage::Reading, done: reported, total: None });
            }
        }
        trainer.finish(report)
    }
}

/// What each kind of tokenizer does with the text it is fed.
trait Learner {
    fn feed(&mut self, text: &str);
    fn end_document(&mut self) {}
    fn finish(
        self: Box<Self>,
        special: &[&str],
        report: &mut dyn FnMut(Progress),
    ) -> Result<Tokenizer, TextError>;
}

/// Notes which characters occur.
struct CharLearner {
    /// One flag for each code point: quicker than a set, and no larger than a set of Chinese.
    seen: Vec<bool>,
}

impl Learner for CharLearner {
    fn feed(&mut self, text: &str) {
        for character in text.chars() {
            self.seen[character as usize] = true;
        }
    }

    fn finish(
        self: Box<Self>,
        special: &[&str],
        _report: &mut dyn FnMut(Progress),
    ) -> Result<Tokenizer, TextError> {
        // By code point, so that the same characters give the same ids in whatever order they were met.
        let characters: Vec<char> =
            ('\0'..=char::MAX).filter(|&character| self.seen[character as usize]).collect();
        match characters[..] {
            [] => Err(TextError::Empty),
            [found] => Err(TextError::OneCharacter { found }),
            _ => hf::char_tokenizer(&characters, special),
        }
    }
}

/// Learns nothing: the vocabulary is the same for every text.
struct ByteLearner;

impl Learner for ByteLearner {
    fn feed(&mut self, _text: &str) {}

    fn finish(
        self: Box<Self>,
        special: &[&str],
        _report: &mut dyn FnMut(Progress),
    ) -> Result<Tokenizer, TextError> {
        hf::byte_tokenizer(special)
    }
}

/// Counts words, which is all that merging needs to know of a text.
struct BpeLearner {
    vocab_size: usize,
    counts: HashMap<Box<str>, u64>,
    /// Text after the last place where it is certain that a word ends.
    rest: String,
}

/// A stretch without any white space, beyond which a word may be cut where a chunk ends.
const LONGEST_REST: usize = 1 << 20;

impl BpeLearner {
    fn new(kind: TokenizerKind) -> Self {
        let TokenizerKind::Bpe { vocab_size } = kind else {
            unreachable!("TOKENIZERS pairs kind and learner")
        };
        Self { vocab_size, counts: HashMap::new(), rest: String::new() }
    }

    fn count(&mut self, text: &str) {
        for word in byte_level::words(text) {
            match self.counts.get_mut(word) {
                Some(count) => *count += 1,
                None => {
                    self.counts.insert(word.into(), 1);
                }
            }
        }
    }
}

impl Learner for BpeLearner {
    fn feed(&mut self, text: &str) {
        let mut rest = std::mem::take(&mut self.rest);
        rest.push_str(text);
        let end = last_word_end(&rest);
        let end = if end == 0 && rest.len() > LONGEST_REST { rest.len() } else { end };
        self.count(&rest[..end]);
        rest.drain(..end);
        self.rest = rest;
    }

    fn end_document(&mut self) {
        let rest = std::mem::take(&mut self.rest);
        self.count(&rest);
    }

    fn finish(
        self: Box<Self>,
        special: &[&str],
        report: &mut dyn FnMut(Progress),
    ) -> Result<Tokenizer, TextError> {
        let asked = self.vocab_size;
        // A size that was never a string has not been checked yet.
        bpe_size(Some(&asked.to_string()))
            .map_err(|expected| TextError::Kind { found: format!("bpe:{asked}"), expected })?;
        let learnt = asked.checked_sub(special.len()).filter(|learnt| *learnt >= 256).ok_or_else(|| {
            let expected =
                format!("expected at least {}: 256 bytes and {}", 256 + special.len(), special.join(" "));
            TextError::Kind { found: format!("bpe:{asked}"), expected }
        })?;
        let words = self.counts.iter();
        let words = words.map(|(word, &count)| Word { tokens: byte_level::ids(word), count }).collect();
        let merges = bpe::learn(words, byte_level::alphabet(), learnt, &mut |tokens| {
            report(Progress { stage: Stage::Merging, done: tokens + special.len(), total: Some(asked) });
        });
        let given = merges.tokens.len() + special.len();
        if given < asked {
            return Err(TextError::VocabTooLarge { asked, given });
        }
        hf::bpe_tokenizer(&merges, special)
    }
}

/// The last place where something is followed by white space. GPT-2's words start with their white space and have
/// none inside, so whatever text follows, a word ends there. 0 where there is no such place.
fn last_word_end(text: &str) -> usize {
    let mut after_is_space = false;
    for (at, character) in text.char_indices().rev() {
        if after_is_space && !character.is_whitespace() {
            return at + character.len_utf8();
        }
        after_is_space = character.is_whitespace();
    }
    0
}
