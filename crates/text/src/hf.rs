//! Tokenizers as Hugging Face writes them: a pipeline in `tokenizer.json`, and two small files that name its tokens.
//!
//! A trained tokenizer is made by writing its `tokenizer.json` and loading that, so there is one way to be a
//! tokenizer, whoever trained it.

use crate::encode::{Scheme, Tokenizer};
use crate::{Chat, TextError, bpe, byte_level, check};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// The token between documents.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// A `tokenizer.json` larger than this is refused unread.
pub const MAX_JSON_BYTES: usize = 32 << 20;

/// The tokens that a configuration may name.
const NAMES: [&str; 4] = ["bos_token", "eos_token", "pad_token", "unk_token"];

/// A chat template larger than this is refused unread.
const MAX_TEMPLATE_BYTES: usize = 1 << 20;

/// What other tokenizers call the token that ends a document.
const OTHER_ENDS: [&str; 4] = ["<|end_of_text|>", "</s>", "<eos>", "<|im_end|>"];

/// One token per character: BPE without merges over the whole text, so that a character is a token as it stands,
/// newline and space included, and a character outside the vocabulary is left out.
pub(crate) fn char_tokenizer(characters: &[char], special: &[&str]) -> Result<Tokenizer, TextError> {
    let tokens = characters.iter().map(char::to_string).chain(special.iter().map(|token| token.to_string()));
    trained(&tokens.collect::<Vec<_>>(), special, &[], None, json!({ "type": "Fuse" }))
}

/// One token per byte, in GPT-2's order, and the special tokens.
pub(crate) fn byte_tokenizer(special: &[&str]) -> Result<Tokenizer, TextError> {
    let merges = bpe::Merges { tokens: byte_level::alphabet(), pairs: Vec::new() };
    byte_level_tokenizer(&merges, special, false)
}

/// GPT-2's pipeline with merges of our own. Ids: the 256 bytes, the merges, the special tokens.
pub(crate) fn bpe_tokenizer(merges: &bpe::Merges, special: &[&str]) -> Result<Tokenizer, TextError> {
    byte_level_tokenizer(merges, special, true)
}

fn byte_level_tokenizer(
    merges: &bpe::Merges,
    special: &[&str],
    split_words: bool,
) -> Result<Tokenizer, TextError> {
    let shown = merges.tokens.iter().map(|token| byte_level::show(token));
    let tokens: Vec<String> = shown.chain(special.iter().map(|token| token.to_string())).collect();
    let token = |id: u32| tokens[id as usize].as_str();
    let pairs: Vec<_> = merges.pairs.iter().map(|&(left, right)| (token(left), token(right))).collect();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": split_words,
    });
    trained(&tokens, special, &pairs, Some(byte_level.clone()), byte_level)
}

/// `tokenizer.json` as we write it: text → pre-tokenizer → BPE → ids → decoder → text. There is no post-processor,
/// since nothing is put around a text that was not in it.
#[derive(Serialize)]
struct Pipeline<'a> {
    version: &'a str,
    truncation: (),
    padding: (),
    added_tokens: Vec<Value>,
    normalizer: (),
    pre_tokenizer: Option<Value>,
    post_processor: (),
    decoder: Value,
    model: Model<'a>,
}

#[derive(Serialize)]
struct Model<'a> {
    r#type: &'a str,
    dropout: (),
    unk_token: (),
    continuing_subword_prefix: (),
    end_of_word_suffix: (),
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    #[serde(serialize_with = "by_id")]
    vocab: &'a [String],
    merges: &'a [(&'a str, &'a str)],
}

/// The vocabulary as an object in the order of its ids, so that a reader finds them.
fn by_id<S: Serializer>(tokens: &&[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(tokens.iter().zip(0..))
}

/// Writes the pipeline of a trained tokenizer and loads it. The special tokens are the last of the tokens.
fn trained(
    tokens: &[String],
    special: &[&str],
    merges: &[(&str, &str)],
    pre_tokenizer: Option<Value>,
    decoder: Value,
) -> Result<Tokenizer, TextError> {
    let added = special.iter().zip(tokens.len() - special.len()..).map(|(token, id)| {
        json!({
            "id": id, "content": token, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    });
    let pipeline = Pipeline {
        version: "1.0",
        truncation: (),
        padding: (),
        added_tokens: added.collect(),
        normalizer: (),
        pre_tokenizer,
        post_processor: (),
        decoder,
        model: Model {
            r#type: "BPE",
            dropout: (),
            unk_token: (),
            continuing_subword_prefix: (),
            end_of_word_suffix: (),
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: false,
            vocab: tokens,
            merges,
        },
    };
    let json = serde_json::to_string_pretty(&pipeline)
        .map_err(|error| TextError::format("tokenizer.json", error.to_string(), "a vocabulary"))?;
    Tokenizer::from_pipeline(check::parse(&json)?, json)
}

impl Tokenizer {
    /// Reads a `tokenizer.json`, ours or anyone's.
    ///
    /// Truncation and padding that the file asks for are not done, tokens that it puts around a text are not put
    /// there, and BPE dropout is off: encoding a text gives the ids of that text, always the same.
    ///
    /// # Errors
    /// [`TextError::Format`], naming the field, for a file that is too large ([`MAX_JSON_BYTES`]), not JSON,
    /// or not a tokenizer.
    pub fn from_json(json: &str) -> Result<Self, TextError> {
        if json.len() > MAX_JSON_BYTES {
            let found = format!("{} bytes", json.len());
            return Err(TextError::format(
                "tokenizer.json",
                found,
                format!("at most {MAX_JSON_BYTES} bytes"),
            ));
        }
        Self::from_pipeline(check::parse(json)?, json.to_string())
    }

    /// Reads a `tokenizer.json` together with its `tokenizer_config.json`, which says which token ends a text, and
    /// perhaps how a chat is written.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json), if the configuration names a token that does not exist, and as
    /// [`with_chat_template`](Self::with_chat_template).
    pub fn from_files(tokenizer_json: &str, tokenizer_config: &str) -> Result<Self, TextError> {
        let file = "tokenizer_config.json";
        let mut tokenizer = Self::from_json(tokenizer_json)?;
        if tokenizer_config.len() > MAX_JSON_BYTES {
            return Err(TextError::format(file, "more than 32 MB", "a small JSON file"));
        }
        let config: Value = serde_json::from_str(tokenizer_config)
            .map_err(|error| TextError::format(file, error.to_string(), "JSON"))?;
        for name in NAMES {
            // A token is written as a string, or as an object that describes it.
            let token = &config[name];
            let Some(token) = token.as_str().or_else(|| token["content"].as_str()) else { continue };
            match tokenizer.token_id(token) {
                Some(id) if name == "eos_token" => tokenizer.eot = Some(id),
                Some(_) => {}
                // Only the end of a text is needed; a token for padding may well be missing.
                None if name != "eos_token" => continue,
                None => {
                    let what = format!("{file} \"{name}\"");
                    return Err(TextError::format(what, format!("{token:?}"), "a token of tokenizer.json"));
                }
            }
            tokenizer.names.insert(name.to_string(), json!(token));
        }
        // One template, or several with a name each.
        let template = &config["chat_template"];
        let named = template.as_array().and_then(|list| list.iter().find(|entry| entry["name"] == "default"));
        match template.as_str().or_else(|| named?["template"].as_str()) {
            Some(template) => tokenizer.with_chat_template(template),
            None => Ok(tokenizer),
        }
    }

    /// The same tokenizer with a chat template: the text of a `chat_template.jinja`, which goes before that of the
    /// configuration, or of [`Chat::jinja`](crate::Chat::jinja).
    ///
    /// # Errors
    /// [`TextError::Format`] for a text of more than a megabyte.
    pub fn with_chat_template(mut self, source: impl Into<String>) -> Result<Self, TextError> {
        let source = source.into();
        if source.len() > MAX_TEMPLATE_BYTES {
            let found = format!("{} bytes", source.len());
            return Err(TextError::format("chat template", found, "at most 1 MB"));
        }
        self.chat_template = Some(source);
        Ok(self)
    }

    /// The chat template that came with the tokenizer, as Jinja text.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// The tokens by the names that configurations and templates use, such as `eos_token`.
    pub(crate) fn named_tokens(&self) -> Map<String, Value> {
        let mut names = Map::new();
        // The token that ends a document also begins the next one, as in GPT-2.
        if let Some(end) = self.eot_id().and_then(|id| self.token(id)) {
            names.insert("bos_token".to_string(), json!(end));
            names.insert("eos_token".to_string(), json!(end));
        }
        if let Some(unk) = self.unk_token() {
            names.insert("unk_token".to_string(), json!(unk));
        }
        names.extend(self.names.clone());
        names
    }

    /// Builds a tokenizer from a checked pipeline and its text.
    fn from_pipeline(mut value: Value, json: String) -> Result<Self, TextError> {
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
        Ok(Self::new(hf, scheme, tokens, special, eot, json))
    }

    /// The files that make a folder open in `transformers`, as (name, content): `tokenizer.json`,
    /// `tokenizer_config.json` and `special_tokens_map.json`. `model_max_length` is the model's context length.
    ///
    /// A tokenizer that was loaded gives back its own `tokenizer.json`, unchanged, and its chat template; one that was
    /// trained with chat tokens has ours.
    pub fn files(&self, model_max_length: usize) -> Vec<(String, String)> {
        let names = self.named_tokens();
        let mut config = Map::from_iter([
            ("tokenizer_class".to_string(), json!("PreTrainedTokenizerFast")),
            ("model_max_length".to_string(), json!(model_max_length)),
            ("clean_up_tokenization_spaces".to_string(), json!(false)),
        ]);
        let ours = || self.has_chat_tokens().then(|| Chat::new(self).ok()).flatten().map(|chat| chat.jinja());
        if let Some(template) = self.chat_template.clone().or_else(ours) {
            config.insert("chat_template".to_string(), json!(template));
        }
        config.extend(names.clone());
        let pretty = |value: Map<String, Value>| format!("{:#}\n", Value::Object(value));
        vec![
            ("tokenizer.json".to_string(), self.json().to_string()),
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
