//! Data: texts become ids, ids become batches.
//!
//! This crate knows token ids only; the tokenizer is another crate and, in a page, another wasm module. Three steps,
//! each one streamed, so that a text of a gigabyte is never held whole, let alone twice:
//!
//! 1. [`TextSource`] reads files in pieces (natively; a page reads its own files).
//! 2. Whoever has the tokenizer encodes the pieces and gives the ids to a [`Packer`], which puts the end-of-text id
//!    behind each document and passes them on: to a [`TokenBuffer`] in memory, or through a [`TokenWriter`] to a file
//!    that [`TokenFile`] reads at any place.
//! 3. [`Batches`] draws random windows to train on, [`Windows`] lays windows side by side to evaluate with.
//!
//! ```
//! use cloche_train::data::{Batches, Packer, TokenBuffer};
//! let mut packer = Packer::new(TokenBuffer::new(256), Some(0));
//! packer.document(&[7, 8, 9]).unwrap();
//! packer.document(&[5, 6]).unwrap();
//! let tokens = packer.finish(); // 7 8 9 0 5 6 0
//! let batches = Batches::new(&tokens, 2, 4, 1337).unwrap();
//! let (mut x, mut y) = (vec![0; 2 * 4], vec![0; 2 * 4]);
//! batches.fill(0, &mut x, &mut y).unwrap();
//! assert_eq!(x[1..4], y[..3]); // y is x, one token later
//! ```

mod batches;
mod corpus;
mod error;
#[cfg(not(target_arch = "wasm32"))]
mod source;
#[cfg(not(target_arch = "wasm32"))]
mod token_file;

use std::ops::Range;

pub use batches::{Batches, IGNORE_INDEX, Windows};
pub use corpus::Corpus;
pub use error::DataError;
#[cfg(not(target_arch = "wasm32"))]
pub use source::{Part, TextSource};
#[cfg(not(target_arch = "wasm32"))]
pub use token_file::{TokenFile, TokenWriter};

/// A long row of token ids that can be read at any place.
pub trait Tokens {
    /// Number of tokens.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the ids from `start` on, as many as `out` holds.
    ///
    /// # Errors
    ///
    /// What the medium reports. Ids in memory can always be read.
    ///
    /// # Panics
    ///
    /// Where the range goes beyond the end.
    fn read(&self, start: usize, out: &mut [u32]) -> Result<(), DataError>;
}

/// Where ids go, a few at a time.
pub trait TokenSink {
    /// Appends ids.
    ///
    /// # Errors
    ///
    /// What the medium reports: a full disk, for instance.
    fn extend(&mut self, ids: &[u32]) -> Result<(), DataError>;
}

/// Ids in memory: two bytes each where the vocabulary fits into 65,536, otherwise four.
#[derive(Clone, Debug)]
pub struct TokenBuffer {
    ids: Ids,
    vocab_size: usize,
}

#[derive(Clone, Debug)]
enum Ids {
    Narrow(Vec<u16>),
    Wide(Vec<u32>),
}

impl TokenBuffer {
    /// An empty buffer for the ids of a vocabulary.
    pub fn new(vocab_size: usize) -> TokenBuffer {
        let ids = if vocab_size <= 1 << 16 { Ids::Narrow(Vec::new()) } else { Ids::Wide(Vec::new()) };
        TokenBuffer { ids, vocab_size }
    }

    /// A buffer that holds `ids`.
    ///
    /// # Panics
    ///
    /// Where an id is not below `vocab_size`.
    pub fn from_ids(ids: &[u32], vocab_size: usize) -> TokenBuffer {
        let mut buffer = TokenBuffer::new(vocab_size);
        buffer.push(ids);
        buffer
    }

    /// Appends ids.
    ///
    /// # Panics
    ///
    /// Where an id is not below the size of the vocabulary.
    pub fn push(&mut self, ids: &[u32]) {
        assert_in_vocabulary(ids, self.vocab_size);
        match &mut self.ids {
            Ids::Narrow(kept) => kept.extend(ids.iter().map(|&id| id as u16)),
            Ids::Wide(kept) => kept.extend_from_slice(ids),
        }
    }

    /// Bytes that the ids take up.
    pub fn bytes(&self) -> usize {
        match &self.ids {
            Ids::Narrow(ids) => 2 * ids.len(),
            Ids::Wide(ids) => 4 * ids.len(),
        }
    }
}

impl Tokens for TokenBuffer {
    fn len(&self) -> usize {
        match &self.ids {
            Ids::Narrow(ids) => ids.len(),
            Ids::Wide(ids) => ids.len(),
        }
    }

    fn read(&self, start: usize, out: &mut [u32]) -> Result<(), DataError> {
        let range = start..start + out.len();
        match &self.ids {
            Ids::Narrow(ids) => out.iter_mut().zip(&ids[range]).for_each(|(out, &id)| *out = id.into()),
            Ids::Wide(ids) => out.copy_from_slice(&ids[range]),
        }
        Ok(())
    }
}

impl TokenSink for TokenBuffer {
    fn extend(&mut self, ids: &[u32]) -> Result<(), DataError> {
        self.push(ids);
        Ok(())
    }
}

/// The tokenizer and the vocabulary size come from the same place, so an id outside of it is a bug.
fn assert_in_vocabulary(ids: &[u32], vocab_size: usize) {
    if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
        panic!("token id {id} is outside of the vocabulary of {vocab_size}");
    }
}

/// Packs documents into one row: each document's ids, then the end-of-text id.
pub struct Packer<S> {
    sink: S,
    eot: Option<u32>,
}

impl<S: TokenSink> Packer<S> {
    /// Packs into `sink`; without an end-of-text id, documents follow each other with nothing between them.
    pub fn new(sink: S, eot: Option<u32>) -> Packer<S> {
        Packer { sink, eot }
    }

    /// Appends a whole document.
    ///
    /// # Errors
    ///
    /// Those of the sink.
    pub fn document(&mut self, ids: &[u32]) -> Result<(), DataError> {
        self.part(ids)?;
        self.end_document()
    }

    /// Appends a part of a document that comes in several.
    ///
    /// # Errors
    ///
    /// Those of the sink.
    pub fn part(&mut self, ids: &[u32]) -> Result<(), DataError> {
        self.sink.extend(ids)
    }

    /// Ends the document.
    ///
    /// # Errors
    ///
    /// Those of the sink.
    pub fn end_document(&mut self) -> Result<(), DataError> {
        match self.eot {
            Some(eot) => self.sink.extend(&[eot]),
            None => Ok(()),
        }
    }

    /// Gives the sink back.
    pub fn finish(self) -> S {
        self.sink
    }
}

/// A range of other tokens: the part to train on, the part to validate with.
#[derive(Clone, Debug)]
pub struct View<T> {
    tokens: T,
    range: Range<usize>,
}

impl<T: Tokens> View<T> {
    /// The tokens in `range`.
    ///
    /// # Panics
    ///
    /// Where the range goes beyond the end.
    pub fn new(tokens: T, range: Range<usize>) -> View<T> {
        let len = tokens.len();
        assert!(range.start <= range.end && range.end <= len, "view {range:?} of {len} tokens");
        View { tokens, range }
    }
}

impl<T: Tokens> Tokens for View<T> {
    fn len(&self) -> usize {
        self.range.len()
    }

    fn read(&self, start: usize, out: &mut [u32]) -> Result<(), DataError> {
        assert!(start + out.len() <= self.len(), "read {} tokens at {start} of {}", out.len(), self.len());
        self.tokens.read(self.range.start + start, out)
    }
}

/// Borrowed and shared tokens are tokens too.
macro_rules! tokens_behind {
    ($($pointer:ty),*) => {$(
        impl<T: Tokens + ?Sized> Tokens for $pointer {
            fn len(&self) -> usize {
                (**self).len()
            }
            fn read(&self, start: usize, out: &mut [u32]) -> Result<(), DataError> {
                (**self).read(start, out)
            }
        }
    )*};
}
tokens_behind!(&T, Box<T>, std::rc::Rc<T>, std::sync::Arc<T>);

impl<S: TokenSink + ?Sized> TokenSink for &mut S {
    fn extend(&mut self, ids: &[u32]) -> Result<(), DataError> {
        (**self).extend(ids)
    }
}

/// Splits one long text as nanoGPT does: its last `val_fraction` is for validation, all before it for training.
///
/// # Panics
///
/// Where the fraction is not in `[0, 1)`.
///
/// # Example
///
/// ```
/// assert_eq!(cloche_train::data::split_tail(1000, 0.1), (0..900, 900..1000));
/// ```
pub fn split_tail(len: usize, val_fraction: f64) -> (Range<usize>, Range<usize>) {
    assert!((0.0..1.0).contains(&val_fraction), "val_fraction is {val_fraction}, expected 0 up to 1");
    // A text is cut at a whole token; rounding keeps 0.1 of 1000 at 100, which 1 − 0.1 in f64 would not.
    let val = (len as f64 * val_fraction).round() as usize;
    (0..len - val, len - val..len)
}

/// Whether a document of a set is for validation: every tenth is, counted from zero, so that both parts hold
/// documents of all kinds, in whatever order they come.
pub fn is_validation(document: u64) -> bool {
    document % 10 == 9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_as_narrow_as_its_vocabulary() {
        for (vocab_size, width) in [(65, 2), (65_536, 2), (65_537, 4)] {
            let ids = [0, 1, vocab_size as u32 - 1];
            let buffer = TokenBuffer::from_ids(&ids, vocab_size);
            assert_eq!((buffer.len(), buffer.bytes()), (3, 3 * width));
            let mut out = [0; 2];
            buffer.read(1, &mut out).unwrap();
            assert_eq!(out, ids[1..]);
        }
    }

    #[test]
    #[should_panic(expected = "token id 65 is outside of the vocabulary of 65")]
    fn a_buffer_refuses_ids_outside_of_the_vocabulary() {
        TokenBuffer::from_ids(&[64, 65], 65);
    }

    #[test]
    fn documents_are_packed_behind_each_other() {
        let mut buffer = TokenBuffer::new(100);
        let mut packer = Packer::new(&mut buffer, Some(99));
        packer.document(&[1, 2]).unwrap();
        packer.part(&[3]).unwrap();
        packer.part(&[4]).unwrap();
        packer.end_document().unwrap();
        packer.finish();
        let mut plain = Packer::new(TokenBuffer::new(100), None);
        plain.document(&[5]).unwrap();
        plain.document(&[6]).unwrap();
        assert_eq!(all(&buffer), [1, 2, 99, 3, 4, 99]);
        assert_eq!(all(&plain.finish()), [5, 6]);
    }

    #[test]
    fn a_view_is_a_part_of_other_tokens() {
        let tokens = std::rc::Rc::new(TokenBuffer::from_ids(&(0..20).collect::<Vec<_>>(), 20));
        let (train, val) = split_tail(tokens.len(), 0.1);
        let (train, val) = (View::new(tokens.clone(), train), View::new(tokens, val));
        assert_eq!((train.len(), val.len()), (18, 2));
        assert_eq!(all(&val), [18, 19]);
        assert_eq!(all(&View::new(&train, 5..7)), [5, 6]);
        assert!(View::new(&val, 1..1).is_empty());
    }

    #[test]
    fn every_tenth_document_validates() {
        let chosen: Vec<u64> = (0..40).filter(|&i| is_validation(i)).collect();
        assert_eq!(chosen, [9, 19, 29, 39]);
    }

    fn all(tokens: &impl Tokens) -> Vec<u32> {
        let mut out = vec![0; tokens.len()];
        tokens.read(0, &mut out).unwrap();
        out
    }
}
