//! Text to ids and back: character, byte and BPE tokenizers, with a trace of how a text is split.
//!
//! Life of a text here: `documents → TokenizerTrainer → Tokenizer → ids → model → ids → StreamDecoder → text`.
//! Every tokenizer is a pipeline of Hugging Face's `tokenizers`, so that the folder we write opens in
//! `transformers` and gives the same ids there; this crate adds the three kinds that Cloche trains, short paths for
//! long texts, checks for files from elsewhere, and a look inside.
//!
//! Special tokens in a text are plain text to [`Tokenizer::encode`]: what a user types can never end a document or
//! open a chat turn. [`Tokenizer::encode_with_special`] is for text that the program itself has composed.
//!
//! Life of an example for fine-tuning: `a line of JSON → Record → Chat → Encoded`, ids with a mark on each token that
//! the model shall learn to say.
//!
//! # Example
//! ```
//! use cloche_text::{Tokenizer, TokenizerKind};
//! let tokenizer = Tokenizer::train(TokenizerKind::Char, ["hello world"]).unwrap();
//! assert_eq!(tokenizer.vocab_size(), 8); // the distinct characters " dehlorw", in this order
//! assert_eq!(tokenizer.encode("hello"), [3, 2, 4, 4, 5]);
//! assert_eq!(tokenizer.decode(&[7, 5, 6, 4, 1]), "world");
//! ```

// In the order to read them. rustfmt would sort neighbours.
mod read;

mod train;

mod byte_level;

mod bpe;

mod encode;

mod stream;

mod trace;

mod hf;

mod check;

mod dataset;

mod chat;

mod dedup;

mod error;

pub use chat::{CHAT_TOKENS, Chat, ChatSettings, Cut, Encoded, Render, Side};
pub use dataset::{MAX_LINE_BYTES, Message, Record, Records, Role, Shape, Turns};
pub use dedup::{FilterCounts, FilterSettings, NearSettings, TextFilter, Verdict};
pub use encode::Tokenizer;
pub use error::TextError;
pub use hf::{END_OF_TEXT, MAX_JSON_BYTES};
pub use read::{Utf8Reader, decode_utf8};
pub use stream::StreamDecoder;
pub use trace::{MergeStep, Piece, Trace, TraceToken, TrainStep, TrainTrace, train_trace};
pub use train::{Progress, Stage, TOKENIZERS, TokenizerEntry, TokenizerKind, TokenizerTrainer};
