//! Tokenizers from elsewhere: those of well-known models give the ids that Hugging Face's library gave in Python
//! (`tests/golden/generate_tokenizers.py`), and files that are wrong get a name and no panic.

use cloche_text::{MAX_JSON_BYTES, StreamDecoder, TextError, Tokenizer, TokenizerKind};
use serde_json::{Value, json};

fn golden() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/tokenizers.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn well_known_pipelines_give_the_ids_they_give_in_python() {
    for entry in golden() {
        let (name, json) = (entry["name"].as_str().unwrap(), entry["json"].as_str().unwrap());
        let tokenizer = Tokenizer::from_json(json).unwrap();
        assert_eq!(tokenizer.kind().is_some(), name == "gpt2", "{name} takes the wrong path");
        assert_eq!(tokenizer.eot_id().and_then(|id| tokenizer.token(id)), entry["eos"].as_str(), "{name}");
        for case in entry["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            assert_eq!(tokenizer.encode(text), ids(&case["ids_plain"]), "{name}: {text:?}");
            let with_special = tokenizer.encode_with_special(text);
            assert_eq!(with_special, ids(&case["ids"]), "{name}: {text:?}");
            assert_eq!(tokenizer.decode(&with_special), case["decoded"], "{name}: {text:?}");

            let mut decoder = StreamDecoder::new();
            let mut streamed: String = with_special.iter().map(|&id| decoder.push(&tokenizer, id)).collect();
            streamed.push_str(&decoder.finish(&tokenizer));
            assert_eq!(streamed, case["decoded"], "{name}: {text:?}");

            // What goes on from a text that is shown keeps its blanks.
            let plain = tokenizer.encode(text);
            let (before, after) = plain.split_at(plain.len() / 2);
            if let Some(rest) = tokenizer.decode(&plain).strip_prefix(&tokenizer.decode(before)) {
                let mut decoder = StreamDecoder::behind(&tokenizer, before);
                let mut goes_on: String = after.iter().map(|&id| decoder.push(&tokenizer, id)).collect();
                goes_on.push_str(&decoder.finish(&tokenizer));
                assert_eq!(goes_on, rest, "{name}: {text:?}");
            }

            let traced = tokenizer.trace(text).pieces;
            let traced: Vec<u32> =
                traced.iter().flat_map(|piece| &piece.tokens).map(|token| token.id).collect();
            assert_eq!(traced, tokenizer.encode(text), "{name}: {text:?}");
        }
        // The file goes out as it came in, whatever we leave undone in it.
        assert_eq!(tokenizer.files(512)[0].1, json);
    }
}

#[test]
fn a_stray_byte_does_not_end_a_stream() {
    let entry = golden().into_iter().find(|entry| entry["name"] == "llama2").unwrap();
    let tokenizer = Tokenizer::from_json(entry["json"].as_str().unwrap()).unwrap();
    let id = |token: &str| (0..391).find(|&id| tokenizer.token(id) == Some(token)).unwrap();
    let mut ids = ["<0xC3>", "<0xA9>", "<0xFF>"].map(id).to_vec();
    ids.extend(tokenizer.encode("the cat"));
    let mut decoder = StreamDecoder::new();
    let mut streamed: String = ids.iter().map(|&id| decoder.push(&tokenizer, id)).collect();
    streamed.push_str(&decoder.finish(&tokenizer));
    assert_eq!(streamed, "é\u{fffd} the cat");
    // The same where the text ends before the library has seen that its beginning was another.
    let mut decoder = StreamDecoder::new();
    let shown: String = ids[..3].iter().map(|&id| decoder.push(&tokenizer, id)).collect();
    assert_eq!(shown + &decoder.finish(&tokenizer), "é\u{fffd}");
}

#[test]
fn the_configuration_says_which_token_ends_a_text() {
    let entry = golden().into_iter().find(|entry| entry["name"] == "bert").unwrap();
    let json = entry["json"].as_str().unwrap();
    let end = |config: &str| Tokenizer::from_files(json, config).map(|tokenizer| tokenizer.eot_id());
    assert_eq!(end(r#"{"eos_token": "[SEP]"}"#), Ok(Some(3)));
    assert_eq!(end(r#"{"eos_token": {"content": "[SEP]", "lstrip": false}}"#), Ok(Some(3)));
    assert_eq!(end(r#"{"eos_token": null}"#), Ok(None));
    assert_eq!(end("{}"), Ok(None));
    assert_eq!(
        end(r#"{"eos_token": "[END]"}"#).unwrap_err().to_string(),
        "tokenizer_config.json \"eos_token\": \"[END]\", expected a token of tokenizer.json"
    );
    assert_eq!(end("{").unwrap_err().code(), "CHECKPOINT");
}

/// A small valid pipeline, one field of it replaced.
fn broken(path: &str, value: Value) -> String {
    let mut pipeline = json!({
        "version": "1.0",
        "added_tokens": [],
        "model": {
            "type": "BPE",
            "vocab": { "a": 0, "b": 1, "ab": 2 },
            "merges": [["a", "b"]],
        },
    });
    let (parent, field) = path.rsplit_once('/').unwrap();
    pipeline.pointer_mut(parent).unwrap()[field] = value;
    pipeline.to_string()
}

/// The message with which a file is refused.
fn message(json: &str) -> String {
    let error = Tokenizer::from_json(json).expect_err(json);
    assert_eq!(error.code(), "CHECKPOINT");
    error.to_string()
}

#[test]
fn what_is_wrong_with_a_vocabulary_is_named() {
    let cases = [
        ("/model/vocab", json!(null), r#"tokenizer.json "model.vocab": null, expected an object of ids"#),
        ("/model/vocab", json!({}), r#"tokenizer.json "model.vocab": no token, expected at least one"#),
        (
            "/model/vocab",
            json!({ "a": 4294967295u32, "b": 1, "ab": 2 }),
            r#"tokenizer.json "model.vocab["a"]": 4294967295, expected an id from 0 to 1048575"#,
        ),
        (
            "/model/vocab",
            json!({ "a": -1, "b": 1, "ab": 2 }),
            r#"tokenizer.json "model.vocab["a"]": -1, expected an id from 0 to 1048575"#,
        ),
        (
            "/model/vocab",
            json!({ "a": 1, "b": 1 }),
            r#"tokenizer.json "model.vocab["b"]": id 1 again, expected an id of its own"#,
        ),
        (
            // The library indexes beyond the longest token here.
            "/model/merges",
            json!([["ab", "ab"]]),
            r#"tokenizer.json "model.merges[0]": "abab", expected tokens of model.vocab"#,
        ),
        (
            "/model/merges",
            json!(["a b c"]),
            r#"tokenizer.json "model.merges[0]": "a b c", expected two tokens"#,
        ),
        ("/model/merges", json!([7]), r#"tokenizer.json "model.merges[0]": 7, expected two tokens"#),
        (
            // And here it subtracts more than there is.
            "/model/continuing_subword_prefix",
            json!("@@@@"),
            r#"tokenizer.json "model.merges[0]": "b", expected a token after "@@@@""#,
        ),
    ];
    for (path, value, expected) in cases {
        assert_eq!(message(&broken(path, value)), expected);
    }
}

#[test]
fn what_is_wrong_with_a_pipeline_is_named() {
    let cases = [
        (
            "/model/unk_token",
            json!("?"),
            r#"tokenizer.json "model.unk_token": "?", expected a token of model.vocab"#,
        ),
        (
            "/model/type",
            json!("Magic"),
            r#"tokenizer.json "model.type": Magic, expected BPE, WordLevel, WordPiece or Unigram"#,
        ),
        (
            "/model/type",
            json!("WordLevel"),
            r#"tokenizer.json "model.unk_token": missing, expected a token of model.vocab"#,
        ),
        (
            "/model/type",
            json!("Unigram"),
            r#"tokenizer.json "model.vocab": an object, expected an array of scores"#,
        ),
        ("/model", json!([]), r#"tokenizer.json "model": an array, expected an object"#),
        (
            "/added_tokens",
            json!([{ "content": "" }]),
            r#"tokenizer.json "added_tokens[0].content": "", expected a text that no other one has"#,
        ),
        (
            "/pre_tokenizer",
            json!({ "type": "Sequence", "pretokenizers": [{ "type": "FixedLength", "length": 0 }] }),
            r#"tokenizer.json "pre_tokenizer.length": 0, expected at least 1"#,
        ),
        (
            "/decoder",
            json!({ "type": "Strip", "content": " ", "start": 0, "stop": 9 }),
            r#"tokenizer.json "decoder.stop": 9, expected 0 (cutting ends is not supported)"#,
        ),
    ];
    for (path, value, expected) in cases {
        assert_eq!(message(&broken(path, value)), expected);
    }
    // What only the library knows is told in its words.
    let split =
        json!({ "type": "Split", "pattern": { "Regex": "(" }, "behavior": "Isolated", "invert": false });
    for (path, value) in [
        ("/version", json!("9.9")),
        ("/pre_tokenizer", json!({ "type": "Nonsense" })),
        ("/pre_tokenizer", split),
        ("/added_tokens", json!([{ "content": "x" }])),
    ] {
        let message = message(&broken(path, value));
        assert!(message.ends_with("expected a Hugging Face tokenizer"), "{message}");
    }
}

#[test]
fn what_is_no_pipeline_is_refused() {
    for json in [
        "",
        "[]",
        "null",
        "{}",
        "{\"model\": 3}",
        "\"text\"",
        "{\"model\": {\"vocab\":",
        &"[".repeat(100_000),
    ] {
        assert!(message(json).starts_with("tokenizer.json"), "{json}");
    }
    let huge = " ".repeat(MAX_JSON_BYTES + 1);
    let expected = format!("tokenizer.json: {} bytes, expected at most {MAX_JSON_BYTES} bytes", huge.len());
    assert_eq!(message(&huge), expected);
}

#[test]
fn dropout_is_off() {
    let tokenizer = Tokenizer::from_json(&broken("/model/dropout", json!(0.9))).unwrap();
    assert!((0..50).all(|_| tokenizer.encode("abab") == [2, 2]));
}

#[test]
fn a_damaged_file_never_panics() {
    let files: Vec<String> = golden()
        .into_iter()
        .map(|entry| entry["json"].as_str().unwrap().to_string())
        .chain([Tokenizer::train(TokenizerKind::Char, ["damage"]).unwrap().files(8)[0].1.clone()])
        .collect();
    let mut state = 11u64;
    let mut next = |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    let mut accepted = 0;
    for _ in 0..400 {
        let mut bytes = files[next(files.len())].clone().into_bytes();
        for _ in 0..1 + next(3) {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes[at] = b"0123456789\"{}[],:abc"[next(20)],
                1 => drop(bytes.drain(at.max(1)..bytes.len().min(at + 1 + next(30)).max(1))),
                2 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, b"09\",-"[next(5)]),
            }
        }
        let Ok(json) = String::from_utf8(bytes) else { continue };
        match Tokenizer::from_json(&json) {
            Ok(tokenizer) => {
                accepted += 1;
                let ids = tokenizer.encode("It's a seedling, 12 days 🌱 old.");
                let _ = (tokenizer.decode(&ids), tokenizer.trace("a seedling"), tokenizer.files(64));
            }
            Err(error) => assert!(matches!(error, TextError::Format { .. })),
        }
    }
    assert!(accepted > 0, "damage so heavy that nothing was tried");
}
