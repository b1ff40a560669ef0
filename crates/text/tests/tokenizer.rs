//! What every kind of tokenizer must do: round trips, determinism, the short paths equal to the library's, training
//! equal to the library's, files that come back the same, and a name for everything that is wrong.

use cloche_text::{
    END_OF_TEXT, StreamDecoder, TOKENIZERS, TextError, Tokenizer, TokenizerKind, TokenizerTrainer,
};
use std::collections::HashMap;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{Model, ModelWrapper};

/// Texts that are hard in different ways.
const TEXTS: [&str; 16] = [
    "",
    "?",
    " ",
    "\n\n\n",
    "  leading and trailing  ",
    "Tabs\tand\r\nwindows lines\r\n",
    "I'll say you'd've known it's 'quoted'",
    "1234567890 3.14159 ½ ٣",
    "naïve café",
    "nai\u{308}ve cafe\u{301} Z\u{335}\u{321}algo",
    "🙂 👩‍👩‍👧‍👦 🇨🇭 👍🏽",
    "我能吞下玻璃而不伤身体。",
    "أنا قادر على أكل الزجاج و هذا لا يؤلمني.",
    "ASCII, then\u{a0}no-break,\u{2003}em space\u{3000}ideographic",
    "<|endoftext|> is only text here",
    "\u{feff}mark \u{200b}zero\u{200d}width \u{0}null \u{7f}",
];

/// A deterministic text of about `bytes` bytes: sentences of made-up words, some from other scripts.
fn corpus(bytes: usize, seed: u64) -> String {
    let syllables = ["ba", "lo", "mi", "ter", "gra", "ne", "shi", "que", "ost", "ü", "ñe", "ход", "字", "🌱"];
    let ends = [". ", ", ", "! ", "?\n", "\n\n", "'s ", " — ", " 42 ", ": \"", "\"  "];
    let mut state = seed;
    let mut next = |n: usize| {
        // Knuth's MMIX generator; its high bits are good enough to choose words.
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    let mut text = String::new();
    while text.len() < bytes {
        for _ in 0..1 + next(3) {
            // The product makes early syllables frequent, as in a language.
            text.push_str(syllables[next(syllables.len()) * next(syllables.len()) / syllables.len()]);
        }
        text.push_str(if next(6) == 0 { ends[next(ends.len())] } else { " " });
    }
    text
}

fn kinds() -> [TokenizerKind; 3] {
    let kinds = ["char", "byte", "bpe:600"].map(|name| name.parse().unwrap());
    assert_eq!(kinds.len(), TOKENIZERS.len(), "a kind is missing from these tests");
    kinds
}

/// A tokenizer of each kind that has seen every character of `TEXTS`.
fn trained() -> Vec<Tokenizer> {
    let documents = || TEXTS.iter().map(|text| text.to_string()).chain([corpus(50_000, 1)]);
    kinds().into_iter().map(|kind| Tokenizer::train(kind, documents()).unwrap()).collect()
}

#[test]
fn kinds_are_written_as_they_are_read() {
    for (kind, entry) in kinds().into_iter().zip(TOKENIZERS) {
        assert_eq!(kind.to_string().parse(), Ok(kind));
        assert!(kind.to_string().starts_with(entry.name) && entry.about.ends_with('.'));
    }
    let message = |text: &str| text.parse::<TokenizerKind>().unwrap_err().to_string();
    assert_eq!(message("words"), "tokenizer \"words\": expected char, byte or bpe:SIZE");
    assert_eq!(message("char:65"), "tokenizer \"char:65\": this kind takes no size");
    assert_eq!(message("bpe"), "tokenizer \"bpe\": expected a size, for example bpe:4096");
    let range = "expected a size from 257 (256 bytes and <|endoftext|>) to 1048576, for example bpe:4096";
    for wrong in ["bpe:256", "bpe:-1", "bpe:4k", "bpe:99999999999999999999", "bpe:"] {
        assert_eq!(message(wrong), format!("tokenizer \"{wrong}\": {range}"));
    }
}

#[test]
fn decoding_undoes_encoding() {
    let text = corpus(300_000, 2);
    for tokenizer in trained() {
        for text in TEXTS.into_iter().chain([text.as_str()]) {
            let ids = tokenizer.encode(text);
            assert_eq!(tokenizer.decode(&ids), text, "{:?}", tokenizer.kind());
            assert!(
                ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size() && !tokenizer.is_special(id))
            );

            let mut decoder = StreamDecoder::new();
            let mut streamed: String = ids.iter().map(|&id| decoder.push(&tokenizer, id)).collect();
            streamed.push_str(&decoder.finish(&tokenizer));
            assert_eq!(streamed, text);
        }
        let batch = tokenizer.encode_batch(&TEXTS);
        assert!(TEXTS.iter().zip(batch).all(|(text, ids)| ids == tokenizer.encode(text)));
        assert!(tokenizer.encode_batch::<&str>(&[]).is_empty());
    }
}

#[test]
fn any_ids_decode_the_same_in_steps() {
    for tokenizer in trained() {
        let mut state = 7u32;
        for length in 0..200 {
            let next = |_| {
                state = state.wrapping_mul(1664525).wrapping_add(1013904223);
                (state >> 8) % (tokenizer.vocab_size() as u32 + 3) // some ids do not exist
            };
            let ids: Vec<u32> = (0..length).map(next).collect();
            let mut decoder = StreamDecoder::new();
            let mut text: String = ids.iter().map(|&id| decoder.push(&tokenizer, id)).collect();
            text.push_str(&decoder.finish(&tokenizer));
            assert_eq!(text, tokenizer.decode(&ids), "{ids:?}");
            assert_eq!(tokenizer.decode(&ids), library(&tokenizer, true).decode(&ids, false).unwrap());
        }
    }
}

/// The same pipeline run by the library alone.
fn library(tokenizer: &Tokenizer, specials_are_text: bool) -> tokenizers::Tokenizer {
    let mut library: tokenizers::Tokenizer = tokenizer.files(64)[0].1.parse().unwrap();
    library.set_encode_special_tokens(specials_are_text);
    library
}

#[test]
fn short_paths_give_the_ids_of_the_library() {
    let text = corpus(100_000, 3);
    for tokenizer in trained() {
        let (plain, special) = (library(&tokenizer, true), library(&tokenizer, false));
        let mut texts: Vec<&str> = TEXTS.into_iter().chain([text.as_str()]).collect();
        texts.extend(["<|endoftext|>", "a<|endoftext|><|endoftext|>b", "<|endoftext", "<|<|endoftext|>|>"]);
        for text in texts {
            assert_eq!(tokenizer.encode(text), plain.encode(text, false).unwrap().get_ids(), "{text}");
            let ids = tokenizer.encode_with_special(text);
            assert_eq!(ids, special.encode(text, false).unwrap().get_ids(), "{text}");
            assert_eq!(tokenizer.decode(&ids), text);
        }
    }
}

#[test]
fn training_is_deterministic_and_does_not_depend_on_chunks() {
    let text = corpus(40_000, 4);
    for kind in kinds() {
        let files = |tokenizer: Tokenizer| tokenizer.files(128);
        let whole = files(Tokenizer::train(kind, [&text]).unwrap());
        assert_eq!(whole, files(Tokenizer::train(kind, [&text]).unwrap()), "{kind}");
        for chunk in [1, 7, 4096] {
            let mut trainer = TokenizerTrainer::new(kind);
            let mut rest = text.as_str();
            while !rest.is_empty() {
                let (head, tail) = rest.split_at(rest.ceil_char_boundary(chunk));
                trainer.feed(head);
                rest = tail;
            }
            assert_eq!(trainer.bytes(), text.len());
            assert_eq!(whole, files(trainer.finish(&mut |_| {}).unwrap()), "{kind}, chunks of {chunk}");
        }
    }
}

#[test]
fn bpe_learns_what_the_library_learns() {
    for (bytes, vocab_size) in [(20_000, 400), (400_000, 1900)] {
        let text = corpus(bytes, 5);
        let ours = Tokenizer::train(TokenizerKind::Bpe { vocab_size }, [&text]).unwrap();

        let trainer = BpeTrainer::builder()
            .vocab_size(vocab_size - 1)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let mut library = tokenizers::Tokenizer::new(ModelWrapper::BPE(BPE::default()));
        library.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
        library.train(&mut TrainerWrapper::BpeTrainer(trainer), [text.as_str()].into_iter()).unwrap();
        let expected: HashMap<String, u32> = library.get_model().get_vocab();

        let end = ours.eot_id().unwrap();
        assert_eq!(end as usize, vocab_size - 1);
        let found = (0..end).map(|id| (ours.token(id).unwrap().to_string(), id)).collect();
        assert_eq!(expected, found);
        let theirs = library.encode(text.as_str(), false).unwrap();
        assert_eq!(theirs.get_ids(), ours.encode(&text));
    }
}

#[test]
fn a_character_vocabulary_of_one_document_is_its_characters() {
    let alone = Tokenizer::train(TokenizerKind::Char, ["hello"]).unwrap();
    assert_eq!((alone.vocab_size(), alone.n_plain(), alone.eot_id()), (4, 4, None));
    let several = Tokenizer::train(TokenizerKind::Char, ["hello", "", "hell"]).unwrap();
    assert_eq!((several.vocab_size(), several.n_plain(), several.eot_id()), (5, 4, Some(4)));
    assert_eq!(several.token(4), Some(END_OF_TEXT));

    let mut trainer = TokenizerTrainer::new(TokenizerKind::Char);
    trainer.feed("hello");
    trainer.end_of_text(true);
    assert_eq!(trainer.finish(&mut |_| {}).unwrap().vocab_size(), 5);

    // What the vocabulary lacks is left out, and can be asked for.
    assert_eq!(alone.decode(&alone.encode("hello, hollow€ow")), "helloholloo");
    assert_eq!(alone.missing_chars("hello, hollow€ow"), [',', ' ', 'w', '€']);
    for kind in [TokenizerKind::Byte, TokenizerKind::Bpe { vocab_size: 257 }] {
        let tokenizer = Tokenizer::train(kind, ["hello"]).unwrap();
        assert_eq!((tokenizer.vocab_size(), tokenizer.n_plain(), tokenizer.eot_id()), (257, 256, Some(256)));
        assert!(tokenizer.missing_chars("hello, hollow€ow").is_empty());
    }
}

#[test]
fn tokens_can_be_looked_at() {
    let tokenizer = Tokenizer::train(TokenizerKind::Bpe { vocab_size: 259 }, ["the the the"]).unwrap();
    // "th" and "he" tie at three; "he" has the smaller ids, and then "t"+"he" is the most frequent.
    assert_eq!(tokenizer.token(257), Some("the"));
    let ids = tokenizer.encode(" the é");
    let tokens: Vec<_> = ids.iter().map(|&id| tokenizer.token(id).unwrap()).collect();
    assert_eq!(tokens, ["Ġ", "the", "Ġ", "Ã", "©"]);
    assert_eq!(tokenizer.token_text(ids[0]), " ");
    assert_eq!(tokenizer.token_text(ids[3]), "\u{fffd}");
    assert_eq!(tokenizer.token_bytes(ids[3]), [0xc3]);
    assert_eq!(tokenizer.token_bytes(9999), b"");
    assert_eq!(tokenizer.token(9999), None);
    assert_eq!(tokenizer.token_id("the"), Some(257));
    assert_eq!(tokenizer.bytes_per_token("the"), 3.0);
    assert_eq!(tokenizer.bytes_per_token(""), 0.0);
}

#[test]
fn files_come_back_the_same() {
    for tokenizer in trained() {
        let files: HashMap<String, String> = tokenizer.files(1024).into_iter().collect();
        let again = Tokenizer::from_files(&files["tokenizer.json"], &files["tokenizer_config.json"]).unwrap();
        assert_eq!(again.files(1024).into_iter().collect::<HashMap<_, _>>(), files);
        assert_eq!((again.kind(), again.eot_id()), (tokenizer.kind(), tokenizer.eot_id()));
        for text in TEXTS {
            assert_eq!(again.encode(text), tokenizer.encode(text));
        }
        let config: serde_json::Value = serde_json::from_str(&files["tokenizer_config.json"]).unwrap();
        assert_eq!(config["model_max_length"], 1024);
        assert_eq!(config["eos_token"], END_OF_TEXT);
        assert!(files["special_tokens_map.json"].contains("eos_token"));
    }
}

#[test]
fn text_that_gives_no_tokenizer_is_named() {
    let error = |kind, documents: &[&str]| Tokenizer::train(kind, documents).err().unwrap();
    for kind in kinds() {
        assert_eq!(error(kind, &[]), TextError::Empty);
        assert_eq!(error(kind, &["", ""]), TextError::Empty);
    }
    assert_eq!(error(TokenizerKind::Char, &["aaaa", "a"]), TextError::OneCharacter { found: 'a' });
    let too_large = error(TokenizerKind::Bpe { vocab_size: 5000 }, &["the cat the cat"]);
    assert_eq!(too_large.code(), "VOCAB_TOO_LARGE");
    assert_eq!(
        too_large.to_string(),
        "vocabulary of 5000 tokens: the text gives only 262 (a merge must occur at least twice); \
         ask for at most 262 or give more text"
    );
    Tokenizer::train(TokenizerKind::Bpe { vocab_size: 262 }, ["the cat the cat"]).unwrap();
    assert_eq!(error(TokenizerKind::Bpe { vocab_size: 3 }, &["the cat"]).code(), "SETTINGS");
}
