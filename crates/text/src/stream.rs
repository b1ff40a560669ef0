//! Text from ids that arrive one at a time.

use crate::Tokenizer;

/// Turns ids into text as they come, and never shows half a character: a token may end inside one, and the next
/// token brings the rest. All pieces joined are what [`Tokenizer::decode`] gives for all ids.
///
/// # Example
/// ```
/// use cloche_text::{StreamDecoder, Tokenizer, TokenizerKind};
/// let tokenizer = Tokenizer::train(TokenizerKind::Byte, ["any"]).unwrap();
/// let mut decoder = StreamDecoder::new();
/// let ids = tokenizer.encode("né");
/// assert_eq!(decoder.push(&tokenizer, ids[0]), "n");
/// assert_eq!(decoder.push(&tokenizer, ids[1]), ""); // the first of two bytes
/// assert_eq!(decoder.push(&tokenizer, ids[2]), "é");
/// assert_eq!(decoder.finish(&tokenizer), "");
/// ```
#[derive(Debug, Default, Clone)]
pub struct StreamDecoder {
    /// Bytes that may become a character.
    pending: Vec<u8>,
    /// For pipelines whose tokens are more than their bytes: the ids so far, as [`Window`] keeps them.
    window: Window,
}

/// The library's state for decoding in steps: the last ids, and how much of their text is already shown.
#[derive(Debug, Default, Clone)]
struct Window {
    ids: Vec<u32>,
    prefix: String,
    prefix_index: usize,
}

/// So many ids before a text are enough to know how it goes on from them.
const SHOWN: usize = 16;

impl Window {
    /// Where all of these ids have been shown.
    fn behind(tokenizer: &Tokenizer, ids: Vec<u32>) -> Window {
        Window { prefix: tokenizer.decode(&ids), prefix_index: ids.len(), ids }
    }

    fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        let Window { ids, prefix, prefix_index } = self;
        match tokenizers::step_decode_stream(&tokenizer.hf, vec![id], false, ids, prefix, prefix_index) {
            Ok(text) => text.unwrap_or_default(),
            // Bytes in a row are decoded anew with each that joins them, and may become another text than was shown. That
            // stays, and this goes on behind it.
            Err(_) => {
                let ids = ids.split_off(*prefix_index);
                *self = Window::behind(tokenizer, ids);
                self.prefix.clone()
            }
        }
    }
}

impl StreamDecoder {
    /// A decoder at the start of a text.
    pub fn new() -> Self {
        Self::default()
    }

    /// A decoder behind a text that has been shown, whose ids these are. Where tokens are more than their bytes, as in
    /// SentencePiece's pipelines, the first one of a text loses its blank; what goes on from a text keeps it.
    pub fn behind(tokenizer: &Tokenizer, shown: &[u32]) -> Self {
        let mut decoder = Self::new();
        if !tokenizer.decodes_by_bytes() {
            decoder.window = Window::behind(tokenizer, shown[shown.len().saturating_sub(SHOWN)..].to_vec());
        }
        decoder
    }

    /// Takes the next id and gives the text that is now certain, often one token's, sometimes none.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        if !tokenizer.decodes_by_bytes() {
            return self.window.push(tokenizer, id);
        }
        self.pending.extend_from_slice(tokenizer.token_bytes(id));
        self.take_characters()
    }

    /// Ends the text: bytes that never became a character are shown as one U+FFFD. The decoder can start again.
    pub fn finish(&mut self, tokenizer: &Tokenizer) -> String {
        let Window { ids, prefix, prefix_index } = std::mem::take(&mut self.window);
        let rest = tokenizer.decode(&ids);
        let rest = rest.strip_prefix(prefix.as_str()).map(str::to_string);
        let mut text = rest.unwrap_or_else(|| tokenizer.decode(&ids[prefix_index..]));
        text.push_str(&String::from_utf8_lossy(&std::mem::take(&mut self.pending)));
        text
    }

    /// Takes all whole characters from the front of `pending`. What can never become one is U+FFFD at once; what may
    /// still become one stays.
    fn take_characters(&mut self) -> String {
        let mut text = String::new();
        let mut taken = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            taken += chunk.valid().len();
            let rest = &self.pending[taken..];
            let is_unfinished = std::str::from_utf8(rest).is_err_and(|error| error.error_len().is_none());
            if is_unfinished && chunk.invalid().len() == rest.len() {
                break;
            }
            if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
                taken += chunk.invalid().len();
            }
        }
        self.pending.drain(..taken);
        text
    }
}
