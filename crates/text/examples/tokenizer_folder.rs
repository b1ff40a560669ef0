//! Trains a tokenizer on a text file and writes its folder, with `ids.json` to check it against `transformers`:
//!
//! ```text
//! cargo run -p cloche-text --example tokenizer_folder -- TEXT_FILE char|byte|bpe:SIZE FOLDER
//! python tests/golden/check_tokenizer.py FOLDER FOLDER/ids.json
//! ```

use cloche_text::{Tokenizer, decode_utf8};
use std::error::Error;
use std::path::Path;

/// Texts in which implementations of a tokenizer tend to differ.
const TEXTS: [&str; 12] = [
    "",
    "?",
    "  two  spaces  \n\n\tand a tab\r\n",
    "I'll say you'd've known it's 'quoted'; WE'LL",
    "1234567890 3.14159 ½ ٣",
    "naïve café nai\u{308}ve cafe\u{301}",
    "🙂 👩‍👩‍👧‍👦 🇨🇭 👍🏽",
    "我能吞下玻璃而不伤身体。",
    "أنا قادر على أكل الزجاج و هذا لا يؤلمني.",
    "no\u{a0}break,\u{2003}em space\u{3000}ideographic",
    "\u{feff}mark \u{200b}zero\u{200d}width \u{7f}",
    "one document<|endoftext|>and another<|endoftext|>",
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, kind, folder] = arguments.as_slice() else {
        return Err("expected TEXT_FILE char|byte|bpe:SIZE FOLDER".into());
    };
    let bytes = std::fs::read(file)?;
    let text = decode_utf8(&bytes, file)?;
    let tokenizer = Tokenizer::train(kind.parse()?, [text])?;

    let folder = Path::new(folder);
    std::fs::create_dir_all(folder)?;
    for (name, content) in tokenizer.files(1024) {
        std::fs::write(folder.join(name), content)?;
    }
    let cases: Vec<_> = TEXTS
        .into_iter()
        .chain([text])
        .map(|text| {
            let ids = tokenizer.encode_with_special(text);
            serde_json::json!({ "text": text, "decoded": tokenizer.decode(&ids), "ids": ids })
        })
        .collect();
    std::fs::write(folder.join("ids.json"), serde_json::to_string(&cases)?)?;
    println!("{kind}: {} tokens, {} texts", tokenizer.vocab_size(), cases.len());
    Ok(())
}
