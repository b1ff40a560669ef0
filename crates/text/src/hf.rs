//! Tokenizers as Hugging Face writes them: a pipeline in `tokenizer.json`, and two small files that name its tokens.
//!
//! A trained tokenizer is made by writing its `tokenizer.json` and loading that, so there is one way to be a
//! tokenizer, whoever trained it.

use crate::encode::{Scheme, Tokenizer};
use crate::{TextError, bpe, byte_level, check};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// The token between documents.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// What other tokenizers call the token that ends a document.
const OTHER_ENDS: [&str; 4] = ["<|end_of_text|>", "</s>", "<eos>", "<|im_end|>"];

/// One token per character: BPE without merges over the whole text, so that a character is a token as it stands,
/// newline and space included, and a character outside the vocabulary is left out.
pub(crate) fn char_tokenizer(characters: &[char], end_of_text: bool) -> Result<Tokenizer, TextError> {
    let mut tokens: Vec<String> = characters.iter().map(char::to_string).collect();
    tokens.extend(end_of_text.then(|| END_OF_TEXT.to_string()));
    Tokenizer::from_pipeline(pipeline(&tokens, &[], Value::Null, json!({ "type": "Fuse" })), None)
}

/// One token per byte, in GPT-2's order, and `<|endoftext|>`.
pub(crate) fn byte_tokenizer() -> Result<Tokenizer, TextError> {
    let merges = bpe::Merges { tokens: byte_level::alphabet(), pairs: Vec::new() };
    byte_level_tokenizer(&merges, false)
}

/// GPT-2's pipeline with merges of our own. Ids: the 256 bytes, the merges, `<|endoftext|>`.
pub(crate) fn bpe_tokenizer(merges: &bpe::Merges) -> Result<Tokenizer, TextError> {
    byte_level_tokenizer(merges, true)
}

fn byte_level_tokenizer(merges: &bpe::Merges, split_words: bool) -> Result<Tokenizer, TextError> {
    let mut tokens: Vec<String> = merges.tokens.iter().map(|token| byte_level::show(token)).collect();
    let pairs: Vec<(&str, &str)> = merges
        .pairs
        .iter()
        .map(|&(left, right)| (tokens[left as usize].as_str(), tokens[right as usize].as_str()))
        .collect();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": split_words,
    });
    let pairs = json!(pairs);
    tokens.push(END_OF_TEXT.to_string());
    let pairs = pairs.as_array().map_or(&[][..], Vec::as_slice);
    Tokenizer::from_pipeline(pipeline(&tokens, pairs, byte_level.clone(), byte_level), None)
}

/// A `tokenizer.json`: text → pre-tokenizer → BPE → ids → decoder → text. There is no post-processor, since nothing
/// is put around a text that was not in it.
fn pipeline(tokens: &[String], merges: &[Value], pre_tokenizer: Value, decoder: Value) -> Value {
    let vocab: Map<String, Value> = tokens.iter().cloned().zip((0..tokens.len()).map(Value::from)).collect();
    let added_tokens: Vec<Value> = vocab
        .get(END_OF_TEXT)
        .map(|id| {
            json!({
                "id": id, "content": END_OF_TEXT, "special": true,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            })
        })
        .into_iter()
        .collect();
    json!({
        "version": "1.0",
        "added_tokens": added_tokens,
        "pre_tokenizer": pre_tokenizer,
        "decoder": decoder,
        "model": { "type": "BPE", "vocab": vocab, "merges": merges },
    })
}

impl Tokenizer {
    /// Reads a `tokenizer.json`, ours or anyone's.
    ///
    /// Truncation and padding that the file asks for are not done, tokens that it puts around a text are not put
    /// there, and BPE dropout is off: encoding a text gives the ids of that text, always the same.
    ///
    /// # Errors
    /// [`TextError::Format`], naming the field, for a file that is too large ([`crate::MAX_JSON_BYTES`]), not JSON,
    /// or not a tokenizer.
    pub fn from_json(json: &str) -> Result<Self, TextError> {
        Self::from_pipeline(check::parse(json)?, Some(json))
    }

    /// Reads a `tokenizer.json` together with its `tokenizer_config.json`, which says which token ends a text.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json), and if the configuration names a token that does not exist.
    pub fn from_files(tokenizer_json: &str, tokenizer_config: &str) -> Result<Self, TextError> {
        let file = "tokenizer_config.json";
        let mut tokenizer = Self::from_json(tokenizer_json)?;
        if tokenizer_config.len() > check::MAX_JSON_BYTES {
            return Err(TextError::format(file, "more than 32 MB", "a small JSON file"));
        }
        let config: Value = serde_json::from_str(tokenizer_config)
            .map_err(|error| TextError::format(file, error.to_string(), "JSON"))?;
        // A token is written as a string, or as an object that describes it.
        let eos = &config["eos_token"];
        if let Some(eos) = eos.as_str().or_else(|| eos["content"].as_str()) {
            let id = tokenizer.token_id(eos).ok_or_else(|| {
                TextError::format(
                    format!("{file} \"eos_token\""),
                    format!("{eos:?}"),
                    "a token of tokenizer.json",
                )
            })?;
            tokenizer.eot = Some(id);
        }
        Ok(tokenizer)
    }

    /// Builds a tokenizer from a checked pipeline. `json` is its text, if it came as one.
    pub(crate) fn from_pipeline(mut value: Value, json: Option<&str>) -> Result<Self, TextError> {
        let scheme = Scheme::of(&value);
        for field in ["truncation", "padding", "post_processor"] {
            value[field] = Value::Null;
        }
        value["model"]["dropout"] = Value::Null;
        let mut hf = build(value)?;
        hf.set_encode_special_tokens(true);

        let vocab = hf.get_vocab(true);
        let vocab_size = vocab.values().max().map_or(0, |&id| id as usize + 1);
        let mut tokens = vec![None; vocab_size];
        for (token, id) in vocab {
            tokens[id as usize] = Some(token.into_boxed_str());
        }
        let added = hf.get_added_tokens_decoder();
        let special: HashMap<u32, String> = added
            .into_iter()
            .filter(|(_, token)| token.special)
            .map(|(id, token)| (id, token.content))
            .collect();
        let ends = std::iter::once(END_OF_TEXT).chain(OTHER_ENDS);
        let eot = ends.filter_map(|end| hf.token_to_id(end)).find(|id| special.contains_key(id));
        Ok(Self::new(hf, scheme, tokens, special, eot, json.map(Into::into)))
    }

    /// The files that make a folder open in `transformers`, as (name, content): `tokenizer.json`,
    /// `tokenizer_config.json` and `special_tokens_map.json`. `model_max_length` is the model's context length.
    ///
    /// A tokenizer that was loaded gives back its own `tokenizer.json`, unchanged.
    pub fn files(&self, model_max_length: usize) -> Vec<(String, String)> {
        let end = self.eot_id().and_then(|id| self.token(id));
        let mut names = Map::new();
        // The token that ends a document also begins the next one, as in GPT-2.
        if let Some(end) = end {
            names.insert("bos_token".to_string(), json!(end));
            names.insert("eos_token".to_string(), json!(end));
        }
        let mut config = Map::from_iter([
            ("tokenizer_class".to_string(), json!("PreTrainedTokenizerFast")),
            ("model_max_length".to_string(), json!(model_max_length)),
            ("clean_up_tokenization_spaces".to_string(), json!(false)),
        ]);
        if let Some(unk) = self.unk_token() {
            names.insert("unk_token".to_string(), json!(unk));
        }
        config.extend(names.clone());
        let pretty = |value: Map<String, Value>| format!("{:#}\n", Value::Object(value));
        vec![
            ("tokenizer.json".to_string(), self.json()),
            ("tokenizer_config.json".to_string(), pretty(config)),
            ("special_tokens_map.json".to_string(), pretty(names)),
        ]
    }
}

/// Hands the pipeline to the library. Where a panic can be caught it is, in case [`check`] has missed one.
fn build(value: Value) -> Result<tokenizers::Tokenizer, TextError> {
    let build = || serde_json::from_value::<tokenizers::Tokenizer>(value);
    let built = std::panic::catch_unwind(std::panic::AssertUnwindSafe(build));
    let reason = match built {
        Ok(Ok(tokenizer)) => return Ok(tokenizer),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "a vocabulary that contradicts itself".to_string(),
    };
    Err(TextError::format("tokenizer.json", reason, "a Hugging Face tokenizer"))
}
