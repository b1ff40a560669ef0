//! What must hold of a `tokenizer.json` from elsewhere before it is handed to the library underneath.
//!
//! That library panics on some files that are well-formed but wrong, and in WebAssembly a panic ends the instance.
//! What is refused here is what it would stumble over; everything else is left to its own errors.

use crate::TextError;
use crate::train::LARGEST_VOCAB;
use serde_json::{Map, Value};
use std::collections::HashSet;

type Check = Result<(), TextError>;

fn wrong(field: &str, found: impl Into<String>, expected: &str) -> TextError {
    TextError::format(format!("tokenizer.json \"{field}\""), found, expected)
}

/// Names a JSON value without quoting all of it.
fn name(value: Option<&Value>) -> String {
    match value {
        None => "missing".to_string(),
        Some(Value::Object(_)) => "an object".to_string(),
        Some(Value::Array(_)) => "an array".to_string(),
        Some(Value::String(text)) => format!("{:?}", text.chars().take(40).collect::<String>()),
        Some(scalar) => scalar.to_string(),
    }
}

/// Parses a `tokenizer.json` and checks it.
pub(crate) fn parse(json: &str) -> Result<Value, TextError> {
    let value: Value = serde_json::from_str(json)
        .map_err(|error| TextError::format("tokenizer.json", error.to_string(), "JSON"))?;
    check(&value)?;
    Ok(value)
}

/// Checks a whole pipeline.
fn check(value: &Value) -> Check {
    let root = value.as_object().ok_or_else(|| wrong("", name(Some(value)), "an object"))?;
    let model = root.get("model").and_then(Value::as_object);
    let model = model.ok_or_else(|| wrong("model", name(root.get("model")), "an object"))?;
    match model_type(model) {
        "BPE" => check_bpe(model)?,
        "WordLevel" | "WordPiece" => check_words(model)?,
        "Unigram" => check_unigram(model)?,
        other => return Err(wrong("model.type", other, "BPE, WordLevel, WordPiece or Unigram")),
    }
    check_added_tokens(root.get("added_tokens"))?;
    for part in ["normalizer", "pre_tokenizer", "decoder"] {
        root.get(part).map_or(Ok(()), |value| check_part(part, value))?;
    }
    Ok(())
}

/// Old files do not name the type: those with merges are BPE.
pub(crate) fn model_type(model: &Map<String, Value>) -> &str {
    match model.get("type").and_then(Value::as_str) {
        Some(name) => name,
        None if model.contains_key("merges") => "BPE",
        None if model.contains_key("unk_id") => "Unigram",
        None if model.contains_key("continuing_subword_prefix") => "WordPiece",
        None => "WordLevel",
    }
}

/// `vocab` as an object of distinct ids, none of them absurd.
fn check_vocab(model: &Map<String, Value>) -> Result<&Map<String, Value>, TextError> {
    let vocab = model.get("vocab").and_then(Value::as_object);
    let vocab = vocab.ok_or_else(|| wrong("model.vocab", name(model.get("vocab")), "an object of ids"))?;
    let mut ids = HashSet::new();
    for (token, id) in vocab {
        let field = || format!("model.vocab[{token:?}]");
        let number = id.as_u64().filter(|&id| id < LARGEST_VOCAB as u64);
        let number = number.ok_or_else(|| {
            wrong(&field(), name(Some(id)), &format!("an id from 0 to {}", LARGEST_VOCAB - 1))
        })?;
        if !ids.insert(number) {
            return Err(wrong(&field(), format!("id {number} again"), "an id of its own"));
        }
    }
    if vocab.is_empty() {
        return Err(wrong("model.vocab", "no token", "at least one"));
    }
    Ok(vocab)
}

fn check_bpe(model: &Map<String, Value>) -> Check {
    let vocab = check_vocab(model)?;
    let text = |field: &str| model.get(field).and_then(Value::as_str);
    if let Some(unk) = text("unk_token").filter(|unk| !unk.is_empty() && !vocab.contains_key(*unk)) {
        return Err(wrong("model.unk_token", format!("{unk:?}"), "a token of model.vocab"));
    }
    let prefix = text("continuing_subword_prefix").unwrap_or("");
    let merges = model.get("merges").and_then(Value::as_array);
    let merges =
        merges.ok_or_else(|| wrong("model.merges", name(model.get("merges")), "an array of pairs"))?;
    for (rank, merge) in merges.iter().enumerate() {
        let field = || format!("model.merges[{rank}]");
        let pair = match merge {
            Value::String(line) if line.starts_with("#version") => continue,
            Value::String(line) => line.split_once(' ').filter(|(_, right)| !right.contains(' ')),
            Value::Array(pair) if pair.len() == 2 => pair[0].as_str().zip(pair[1].as_str()),
            _ => None,
        };
        let (left, right) = pair.ok_or_else(|| wrong(&field(), name(Some(merge)), "two tokens"))?;
        let rest = right.strip_prefix(prefix);
        let rest =
            rest.ok_or_else(|| wrong(&field(), format!("{right:?}"), &format!("a token after {prefix:?}")))?;
        for token in [left, right, &format!("{left}{rest}")] {
            if !vocab.contains_key(token) {
                return Err(wrong(&field(), format!("{token:?}"), "tokens of model.vocab"));
            }
        }
    }
    Ok(())
}

/// WordLevel and WordPiece need a token for what they do not know, or they fail in the middle of a text.
fn check_words(model: &Map<String, Value>) -> Check {
    let vocab = check_vocab(model)?;
    let unk = model.get("unk_token");
    match unk.and_then(Value::as_str) {
        Some(unk) if vocab.contains_key(unk) => Ok(()),
        _ => Err(wrong("model.unk_token", name(unk), "a token of model.vocab")),
    }
}

fn check_unigram(model: &Map<String, Value>) -> Check {
    let vocab = model.get("vocab").and_then(Value::as_array);
    let vocab = vocab.ok_or_else(|| wrong("model.vocab", name(model.get("vocab")), "an array of scores"))?;
    if vocab.len() > LARGEST_VOCAB {
        return Err(wrong("model.vocab", format!("{} tokens", vocab.len()), "at most a million"));
    }
    let mut tokens = HashSet::new();
    for (id, entry) in vocab.iter().enumerate() {
        let token = entry.get(0).and_then(Value::as_str).filter(|token| !token.is_empty());
        let scored = entry.get(1).is_some_and(Value::is_number);
        if !token.is_some_and(|token| scored && tokens.insert(token)) {
            return Err(wrong(&format!("model.vocab[{id}]"), name(Some(entry)), "a new token and its score"));
        }
    }
    let unk = model.get("unk_id");
    match unk.and_then(Value::as_u64) {
        Some(id) if id < vocab.len() as u64 => Ok(()),
        _ => Err(wrong("model.unk_id", name(unk), "the id of a token")),
    }
}

fn check_added_tokens(added: Option<&Value>) -> Check {
    let mut contents = HashSet::new();
    let tokens = match added {
        None | Some(Value::Null) => return Ok(()),
        Some(value) => {
            value.as_array().ok_or_else(|| wrong("added_tokens", name(Some(value)), "an array"))?
        }
    };
    if tokens.len() > LARGEST_VOCAB {
        return Err(wrong("added_tokens", format!("{} tokens", tokens.len()), "at most a million"));
    }
    for (at, token) in tokens.iter().enumerate() {
        let content = token.get("content").and_then(Value::as_str).filter(|content| !content.is_empty());
        if !content.is_some_and(|content| contents.insert(content)) {
            let field = format!("added_tokens[{at}].content");
            return Err(wrong(&field, name(token.get("content")), "a text that no other one has"));
        }
    }
    Ok(())
}

/// Looks through a part, and the parts in it if it is a sequence, for settings that divide by zero or cut a token
/// beyond its end.
fn check_part(part: &str, value: &Value) -> Check {
    let kind = value.get("type").and_then(Value::as_str);
    if kind == Some("FixedLength") && value.get("length").and_then(Value::as_u64) == Some(0) {
        return Err(wrong(&format!("{part}.length"), "0", "at least 1"));
    }
    if part == "decoder" && kind == Some("Strip") && value.get("stop").and_then(Value::as_u64) != Some(0) {
        return Err(wrong(
            &format!("{part}.stop"),
            name(value.get("stop")),
            "0 (cutting ends is not supported)",
        ));
    }
    let children =
        value.as_object().into_iter().flat_map(|fields| fields.values()).filter_map(Value::as_array);
    children.flatten().filter(|child| child.is_object()).try_for_each(|child| check_part(part, child))
}
