//! Trains a tokenizer on a text file and writes its folder, with `ids.json` to check it against `transformers`:
//!
//! ```text
//! cargo run -p cloche-text --example tokenizer_folder -- TEXT_FILE char|byte|bpe:SIZE FOLDER [chat]
//! python tests/golden/check_tokenizer.py FOLDER FOLDER/ids.json
//! ```
//!
//! With `chat`, the vocabulary has the tokens of our chat template; without, the template writes names.

use cloche_text::{Chat, Message, Role, TokenizerTrainer, decode_utf8};
use serde_json::{Value, json};
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

/// A conversation whose parts could be taken for the template's.
const SAID: [(Role, &str); 5] = [
    (Role::System, "Be brief:\none word."),
    (Role::User, "Who is <user>? I'll say 'User'"),
    (Role::Assistant, "You, naïve {{ one }}."),
    (Role::User, "  Is it 玻璃?  "),
    (Role::Assistant, "Yes"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (file, kind, folder, chat) = match arguments.as_slice() {
        [file, kind, folder] => (file, kind, folder, false),
        [file, kind, folder, chat] if chat == "chat" => (file, kind, folder, true),
        _ => return Err("expected TEXT_FILE char|byte|bpe:SIZE FOLDER [chat]".into()),
    };
    let bytes = std::fs::read(file)?;
    let text = decode_utf8(&bytes, file)?;
    let mut trainer = TokenizerTrainer::new(kind.parse()?);
    trainer.feed(text);
    trainer.chat_tokens(chat);
    let tokenizer = trainer.finish(&mut |_| {})?;
    let template = Chat::new(&tokenizer)?.jinja();
    let tokenizer = tokenizer.with_chat_template(template)?;

    let folder = Path::new(folder);
    std::fs::create_dir_all(folder)?;
    for (name, content) in tokenizer.files(1024) {
        std::fs::write(folder.join(name), content)?;
    }
    let encoded = |text: &str| {
        let ids = tokenizer.encode_with_special(text);
        json!({ "text": text, "decoded": tokenizer.decode(&ids), "ids": ids })
    };
    let mut cases: Vec<Value> = TEXTS.into_iter().chain([text]).map(encoded).collect();
    let chat = Chat::new(&tokenizer)?;
    // The library's offsets, by which transformers marks tokens, do not count characters that the vocabulary lacks.
    let said = SAID.map(|(role, content)| {
        let missing = tokenizer.missing_chars(content);
        Message::new(role, content.replace(&missing[..], ""))
    });
    for n in [2, 3, 5] {
        let encoded = chat.conversation(&said[..n])?;
        let messages: Vec<Value> = said[..n]
            .iter()
            .map(|message| json!({ "role": message.role.name(), "content": message.content }))
            .collect();
        cases.push(json!({ "messages": messages, "ids": encoded.ids, "learn": encoded.learn }));
    }
    std::fs::write(folder.join("ids.json"), serde_json::to_string(&cases)?)?;
    println!("{kind}: {} tokens, {} texts", tokenizer.vocab_size(), cases.len());
    Ok(())
}
