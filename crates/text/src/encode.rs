//! A trained tokenizer: text to ids, ids to text, and what one can ask of its vocabulary.

use crate::byte_level;
use crate::check::model_type;
use crate::train::TokenizerKind;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;
use tokenizers::{Model, ModelWrapper};

/// Text to ids and back. Made by [`Tokenizer::train`] or [`Tokenizer::from_json`]; never changes afterwards.
///
/// A character that the vocabulary cannot express is left out of the ids, as Hugging Face's BPE does; ask
/// [`missing_chars`](Self::missing_chars) first where that matters. Only character vocabularies, and some from
/// elsewhere, can miss one: bytes express every text.
pub struct Tokenizer {
    pub(crate) hf: tokenizers::Tokenizer,
    /// The same pipeline with special tokens recognised, for pipelines that only the library can run.
    recognising: OnceLock<tokenizers::Tokenizer>,
    scheme: Scheme,
    tokens: Vec<Option<Box<str>>>,
    bytes: Vec<Box<[u8]>>,
    special: HashMap<u32, String>,
    pub(crate) eot: Option<u32>,
    /// The tokens that a configuration names, such as `bos_token`, and its chat template.
    pub(crate) names: Map<String, Value>,
    pub(crate) chat_template: Option<String>,
    json: String,
}

/// Which pipelines have a short path. The library keeps an offset for each byte of a text, which costs too much for
/// megabytes; where the pipeline is plain enough, the same ids come from a table. Tests hold the two together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scheme {
    /// One token per character, by table.
    Char(CharIds),
    /// One token per byte, by table.
    Byte(Box<[u32; 256]>),
    /// GPT-2: words by its pattern, each word through BPE once.
    ByteLevelBpe,
    /// Anything else goes through the library.
    Other,
}

/// The id of each character, by code point: several times quicker than hashing, and at most 4 MB.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CharIds(Vec<u32>);

impl CharIds {
    const NONE: u32 = u32::MAX;

    fn new(ids: &[(char, u32)]) -> Self {
        let len = ids.iter().map(|&(character, _)| character as usize + 1).max().unwrap_or(0);
        let mut table = vec![Self::NONE; len];
        for &(character, id) in ids {
            table[character as usize] = id;
        }
        Self(table)
    }

    fn get(&self, character: char) -> Option<u32> {
        self.0.get(character as usize).copied().filter(|&id| id != Self::NONE)
    }
}

impl Scheme {
    /// Recognises a pipeline. When in doubt it is [`Scheme::Other`], which is slower but never wrong.
    pub(crate) fn of(pipeline: &Value) -> Self {
        Self::short_path(pipeline).unwrap_or(Self::Other)
    }

    fn short_path(pipeline: &Value) -> Option<Self> {
        let model = pipeline["model"].as_object()?;
        let vocab = model.get("vocab")?.as_object()?;
        let is_on = |field: &str| model.get(field).is_some_and(|value| value == true);
        let is_set =
            |field: &str| model.get(field).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        let plain_model = model_type(model) == "BPE"
            && !(is_on("byte_fallback") || is_on("ignore_merges"))
            && !(is_set("continuing_subword_prefix") || is_set("end_of_word_suffix"));
        let added = pipeline["added_tokens"].as_array().map_or(&[][..], Vec::as_slice);
        let plain_token = |token: &Value| {
            token["special"] == true
                && ["lstrip", "rstrip", "single_word"].iter().all(|flag| token[flag] != true)
        };
        if !plain_model || !pipeline["normalizer"].is_null() || !added.iter().all(plain_token) {
            return None;
        }

        let no_merges = model.get("merges")?.as_array()?.is_empty();
        let (pre_tokenizer, decoder) = (&pipeline["pre_tokenizer"], &pipeline["decoder"]);
        let id = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
        if pre_tokenizer.is_null() && decoder["type"] == "Fuse" && no_merges && !is_set("unk_token") {
            let is_added = |token: &str| added.iter().any(|added| added["content"] == token);
            let characters = vocab.iter().filter(|(token, _)| !is_added(token));
            let one = |(token, value): (&String, &Value)| {
                let mut characters = token.chars();
                Some((characters.next().filter(|_| characters.next().is_none())?, id(value)?))
            };
            return characters
                .map(one)
                .collect::<Option<_>>()
                .map(|ids: Vec<_>| Self::Char(CharIds::new(&ids)));
        }

        if pre_tokenizer["type"] != "ByteLevel"
            || pre_tokenizer["add_prefix_space"] != false
            || decoder["type"] != "ByteLevel"
        {
            return None;
        }
        let mut table = Box::new([0; 256]);
        for byte in 0..=255u8 {
            table[byte as usize] = vocab.get(&byte_level::show(&[byte])).and_then(id)?;
        }
        match pre_tokenizer["use_regex"] == false {
            true if no_merges => Some(Self::Byte(table)),
            true => None,
            false => Some(Self::ByteLevelBpe),
        }
    }
}

impl Tokenizer {
    pub(crate) fn new(
        hf: tokenizers::Tokenizer,
        scheme: Scheme,
        tokens: Vec<Option<Box<str>>>,
        special: HashMap<u32, String>,
        eot: Option<u32>,
        json: String,
    ) -> Self {
        let to_bytes = |token: &Option<Box<str>>| match (token, &scheme) {
            (None, _) => Box::default(),
            (Some(token), Scheme::Char(_)) => token.as_bytes().into(),
            (Some(token), Scheme::Byte(_) | Scheme::ByteLevelBpe) => byte_level::read(token).into(),
            (Some(token), Scheme::Other) => foreign_bytes(token, &hf).into(),
        };
        let bytes = tokens.iter().map(to_bytes).collect();
        let (names, chat_template) = (Map::new(), None);
        let recognising = OnceLock::new();
        Self { hf, recognising, scheme, tokens, bytes, special, eot, names, chat_template, json }
    }

    /// The ids of a text. Special tokens in it are plain text; nothing is added before or after.
    ///
    /// # Example
    /// ```
    /// use cloche_text::{Tokenizer, TokenizerKind};
    /// let tokenizer = Tokenizer::train(TokenizerKind::Byte, ["any text"]).unwrap();
    /// assert_eq!(tokenizer.encode("Hi!"), [39, 72, 0]); // GPT-2's ids for the bytes
    /// assert_eq!(tokenizer.encode("<|endoftext|>").len(), 13);
    /// assert_eq!(tokenizer.encode_with_special("<|endoftext|>"), [256]);
    /// ```
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.encode_into(text, &mut WordIds::default())
    }

    /// The ids of each of several texts. On native targets they are encoded side by side.
    pub fn encode_batch<S: AsRef<str> + Sync>(&self, texts: &[S]) -> Vec<Vec<u32>> {
        let encode_some = |texts: &[S]| -> Vec<Vec<u32>> {
            let mut known = WordIds::default();
            texts.iter().map(|text| self.encode_into(text.as_ref(), &mut known)).collect()
        };
        #[cfg(not(target_arch = "wasm32"))]
        {
            // A chunk shares the words it has met; the chunks are enough to keep every thread busy.
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            let chunk = texts.len().div_ceil(threads).max(1);
            let encode_some = &encode_some;
            std::thread::scope(|scope| {
                let chunks = texts.chunks(chunk).map(|texts| scope.spawn(move || encode_some(texts)));
                let chunks: Vec<_> = chunks.collect();
                chunks.into_iter().flat_map(|chunk| chunk.join().expect("encoding does not panic")).collect()
            })
        }
        #[cfg(target_arch = "wasm32")]
        encode_some(texts)
    }

    fn encode_into<'t>(&self, text: &'t str, known: &mut WordIds<'t>) -> Vec<u32> {
        match &self.scheme {
            Scheme::Char(ids) => text.chars().filter_map(|character| ids.get(character)).collect(),
            Scheme::Byte(ids) => text.bytes().map(|byte| ids[byte as usize]).collect(),
            Scheme::ByteLevelBpe => {
                let mut ids = Vec::with_capacity(text.len() / 3);
                for word in byte_level::words(text) {
                    ids.extend_from_slice(known.get(word, || self.merge_word(word)));
                }
                ids
            }
            Scheme::Other => encode_with(&self.hf, text),
        }
    }

    /// The ids of one word by the merges.
    fn merge_word(&self, word: &str) -> Vec<u32> {
        let tokens = self.hf.get_model().tokenize(&byte_level::show(word.as_bytes()));
        tokens.map_or_else(|_| Vec::new(), |tokens| tokens.into_iter().map(|token| token.id).collect())
    }

    /// The ids of a text that the program has composed: special tokens in it are recognised. Still nothing is added.
    pub fn encode_with_special(&self, text: &str) -> Vec<u32> {
        if self.scheme == Scheme::Other {
            let recognising = self.recognising.get_or_init(|| {
                let mut hf = self.hf.clone();
                hf.set_encode_special_tokens(false);
                hf
            });
            return encode_with(recognising, text);
        }
        let mut ids = Vec::new();
        let mut rest = text;
        while let Some((at, id, token)) = self.first_special(rest) {
            ids.extend(self.encode(&rest[..at]));
            ids.push(id);
            rest = &rest[at + token.len()..];
        }
        ids.extend(self.encode(rest));
        ids
    }

    /// The first special token in a text, the longest where two begin together.
    pub(crate) fn first_special(&self, text: &str) -> Option<(usize, u32, &str)> {
        let found =
            self.special.iter().filter_map(|(&id, token)| Some((text.find(token.as_str())?, id, token)));
        found
            .min_by_key(|(at, _, token)| (*at, usize::MAX - token.len()))
            .map(|(at, id, token)| (at, id, token.as_str()))
    }

    /// The text of some ids, special tokens included. Ids outside the vocabulary have no text; bytes that are not
    /// UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        if self.scheme == Scheme::Other {
            return self.hf.decode(ids, false).unwrap_or_default();
        }
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.token_bytes(id)).copied().collect();
        String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// Whether a token's bytes are all there is to decoding it.
    pub(crate) fn decodes_by_bytes(&self) -> bool {
        self.scheme != Scheme::Other
    }

    /// A token as it stands in the vocabulary, for example `Ġthe`.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.tokens.get(id as usize)?.as_deref()
    }

    /// The id of a token as it stands in the vocabulary.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.hf.token_to_id(token)
    }

    /// The bytes that a token adds to a text; none for an id outside the vocabulary.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.bytes.get(id as usize).map_or(&[], |bytes| bytes)
    }

    /// What a token looks like in a text, for example ` the`. Part of a character is shown as U+FFFD.
    pub fn token_text(&self, id: u32) -> String {
        String::from_utf8_lossy(self.token_bytes(id)).into_owned()
    }

    /// How many ids there are: the largest and one. This is the `vocab_size` of a model.
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// How many of the tokens are not special: 65 for tiny Shakespeare's characters.
    pub fn n_plain(&self) -> usize {
        self.tokens.iter().flatten().count() - self.special.len()
    }

    /// Whether a token is special: never the result of plain text.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains_key(&id)
    }

    /// The token that ends a document, if the vocabulary has one.
    pub fn eot_id(&self) -> Option<u32> {
        self.eot
    }

    /// The kind, if it is one that Cloche trains.
    pub fn kind(&self) -> Option<TokenizerKind> {
        match self.scheme {
            Scheme::Char(_) => Some(TokenizerKind::Char),
            Scheme::Byte(_) => Some(TokenizerKind::Byte),
            Scheme::ByteLevelBpe => Some(TokenizerKind::Bpe { vocab_size: self.vocab_size() }),
            Scheme::Other => None,
        }
    }

    /// The distinct characters of a text that the vocabulary cannot express, in the order of their appearance.
    pub fn missing_chars(&self, text: &str) -> Vec<char> {
        let unk = self.unk_token().and_then(|unk| self.token_id(unk));
        let mut missing = Vec::new();
        match &self.scheme {
            Scheme::Byte(_) | Scheme::ByteLevelBpe => return missing,
            Scheme::Char(ids) => {
                missing.extend(text.chars().filter(|&character| ids.get(character).is_none()))
            }
            Scheme::Other => missing.extend(text.chars().filter(|character| {
                let ids = self.encode(character.encode_utf8(&mut [0; 4]));
                !character.is_whitespace() && (ids.is_empty() || ids.iter().any(|&id| Some(id) == unk))
            })),
        }
        let mut seen = std::collections::HashSet::new();
        missing.retain(|character| seen.insert(*character));
        missing
    }

    /// How many bytes of a text a token covers on average: the number by which tokenizers are compared. 0 if the text
    /// gives no token.
    ///
    /// # Units
    /// Bytes per token. A loss in nats per token divided by this, and by ln 2, is bits per byte.
    pub fn bytes_per_token(&self, text: &str) -> f64 {
        match self.encode(text).len() {
            0 => 0.0,
            n_tokens => text.len() as f64 / n_tokens as f64,
        }
    }

    /// The token that stands for what the vocabulary does not know, if there is one.
    pub(crate) fn unk_token(&self) -> Option<&str> {
        match self.hf.get_model() {
            ModelWrapper::BPE(bpe) => bpe.unk_token.as_deref(),
            ModelWrapper::WordLevel(words) => Some(&words.unk_token),
            ModelWrapper::WordPiece(words) => Some(&words.unk_token),
            ModelWrapper::Unigram(_) => None,
        }
    }

    /// `tokenizer.json`, as it was loaded or learnt.
    pub(crate) fn json(&self) -> &str {
        &self.json
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind().map(|kind| kind.to_string());
        out.debug_struct("Tokenizer").field("kind", &kind).field("vocab_size", &self.vocab_size()).finish()
    }
}

fn encode_with(hf: &tokenizers::Tokenizer, text: &str) -> Vec<u32> {
    hf.encode_fast(text, false).map_or_else(|_| Vec::new(), |encoding| encoding.get_ids().to_vec())
}

/// What a token of another scheme looks like in a text, near enough to show it: `▁` is a space, `<0x0A>` a byte,
/// and byte-level letters are bytes if the decoder says so.
fn foreign_bytes(token: &str, hf: &tokenizers::Tokenizer) -> Vec<u8> {
    let hex = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')).filter(|hex| hex.len() == 2);
    if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
        return vec![byte];
    }
    match hf.get_decoder() {
        Some(tokenizers::DecoderWrapper::ByteLevel(_)) => byte_level::read(token),
        _ => token.replace('▁', " ").into_bytes(),
    }
}

/// The ids of words met so far: a text has far more words than different words.
#[derive(Default)]
struct WordIds<'t> {
    ranges: HashMap<&'t str, (u32, u32)>,
    ids: Vec<u32>,
}

impl<'t> WordIds<'t> {
    fn get(&mut self, word: &'t str, encode: impl FnOnce() -> Vec<u32>) -> &[u32] {
        let (start, end) = *self.ranges.entry(word).or_insert_with(|| {
            let start = self.ids.len() as u32;
            self.ids.extend(encode());
            (start, self.ids.len() as u32)
        });
        &self.ids[start as usize..end as usize]
    }
}
