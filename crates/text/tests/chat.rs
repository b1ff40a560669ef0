//! Conversations: ids and marks by hand on small vocabularies, what people type never counts as special, and what is
//! cut is said.

use cloche_text::{
    CHAT_TOKENS, Chat, ChatSettings, Cut, Encoded, Message, Role, Side, TextError, Tokenizer, TokenizerKind,
    TokenizerTrainer, Turns,
};
use std::collections::HashMap;

/// A tokenizer of one document with the tokens of our template.
fn with_chat_tokens(kind: &str, text: &str) -> Tokenizer {
    let mut trainer = TokenizerTrainer::new(kind.parse().unwrap());
    trainer.feed(text);
    trainer.chat_tokens(true);
    trainer.finish(&mut |_| {}).unwrap()
}

/// Messages, each written as `role: content`.
fn messages(lines: &[&str]) -> Vec<Message> {
    let message = |line: &&str| {
        let (role, content) = line.split_once(": ").unwrap();
        Message::new(Role::ALL.into_iter().find(|known| known.name() == role).unwrap(), content)
    };
    lines.iter().map(message).collect()
}

fn turns(lines: &[&str]) -> Turns {
    Turns::Messages(messages(lines))
}

fn text(text: &str) -> Turns {
    Turns::Text(text.to_string())
}

/// The places that are marked.
fn marked(encoded: &Encoded) -> Vec<usize> {
    assert_eq!(encoded.ids.len(), encoded.learn.len());
    let marked: Vec<usize> = (0..encoded.ids.len()).filter(|&at| encoded.learn[at]).collect();
    assert_eq!(marked.len(), encoded.n_learn());
    marked
}

/// What is marked, as text.
fn learnt(encoded: &Encoded, tokenizer: &Tokenizer) -> String {
    let ids: Vec<u32> = marked(encoded).into_iter().map(|at| encoded.ids[at]).collect();
    tokenizer.decode(&ids)
}

#[test]
fn every_turn_of_the_assistant_is_marked() {
    let tokenizer = with_chat_tokens("char", "abcd");
    let ids = |token: &str| tokenizer.token_id(token).unwrap();
    assert_eq!(CHAT_TOKENS.map(ids), [4, 5, 6, 7]);
    let chat = Chat::new(&tokenizer).unwrap();
    let said = messages(&["system: d", "user: ab", "assistant: c", "user: a", "assistant: bd"]);
    let encoded = chat.conversation(&said).unwrap();
    assert_eq!(encoded.ids, [4, 3, 7, 5, 0, 1, 7, 6, 2, 7, 5, 0, 7, 6, 1, 3, 7]);
    assert_eq!(marked(&encoded), [8, 9, 14, 15, 16]);

    // As an answer to the first four, only the last turn is marked; the prompt is the same up to there.
    let (prompt, answer) = (Turns::Messages(said[..4].to_vec()), Turns::Messages(said[4..].to_vec()));
    let example = chat.answer(&prompt, &answer).unwrap();
    assert_eq!((&example.ids, &marked(&example)[..]), (&encoded.ids, &[14, 15, 16][..]));
    assert_eq!(chat.prompt(&prompt, 14).unwrap(), encoded.ids[..14]);
    let error = chat.prompt(&prompt, 13).unwrap_err();
    assert_eq!(error, TextError::Prompt { tokens: 14, room: 13 });
    assert_eq!(error.to_string(), "prompt of 14 tokens, expected at most 13");

    let settings = ChatSettings { learn_everything: true, ..Default::default() };
    let everything = Chat::with(&tokenizer, settings).unwrap().conversation(&said).unwrap();
    assert_eq!((everything.ids.len(), everything.n_learn()), (17, 17));

    let shown: String = encoded.show_mask(&tokenizer).iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(
        shown,
        "<|system|>d<|end|><|user|>ab<|end|><|assistant|>c<|end|><|user|>a<|end|><|assistant|>bd<|end|>"
    );
    assert_eq!(encoded.show_mask(&tokenizer)[8], ("c".to_string(), true));
    assert_eq!((chat.stop_ids(), chat.stop_text()), (vec![7], None));
}

#[test]
fn strings_are_one_text_or_two_turns() {
    let tokenizer = with_chat_tokens("byte", "any");
    let eot = tokenizer.eot_id().unwrap();
    let chat = Chat::new(&tokenizer).unwrap();
    let encoded = chat.answer(&text("2 + 2 ="), &text(" 4")).unwrap();
    assert_eq!(encoded.ids, [tokenizer.encode("2 + 2 = 4"), vec![eot]].concat());
    assert_eq!(marked(&encoded), [7, 8, 9]);
    assert_eq!(chat.prompt(&text("2 + 2 ="), 7).unwrap(), tokenizer.encode("2 + 2 ="));
    let document = chat.text("<|end|>");
    assert_eq!((document.ids.len(), document.n_learn()), (8, 8));

    let settings = ChatSettings { strings_are_turns: true, ..Default::default() };
    let turned = Chat::with(&tokenizer, settings).unwrap();
    let expected = chat.answer(&turns(&["user: 2 + 2 ="]), &turns(&["assistant:  4"])).unwrap();
    assert_eq!(turned.answer(&text("2 + 2 ="), &text(" 4")).unwrap(), expected);
    assert_eq!(turned.prompt(&text("2 + 2 ="), 100).unwrap(), expected.ids[..10]);
    assert_eq!(chat.stop_ids(), [260, 256]);
}

#[test]
fn a_vocabulary_without_tokens_for_it_writes_names() {
    let letters = "Assistant: User: System:\n abcd";
    let alone = Tokenizer::train(TokenizerKind::Char, [letters]).unwrap();
    let several = Tokenizer::train(TokenizerKind::Char, [letters, "a"]).unwrap();
    let said = messages(&["system: a", "user: b", "assistant: c", "user: b", "assistant: d"]);
    let begin = "System:\na\n\nUser:\nb\n\nAssistant:\n";
    for (tokenizer, end) in [(&alone, "\n\n"), (&several, "<|endoftext|>")] {
        let chat = Chat::new(tokenizer).unwrap();
        let encoded = chat.conversation(&said).unwrap();
        let expected = format!("{begin}c{end}User:\nb\n\nAssistant:\nd{end}");
        assert_eq!(tokenizer.decode(&encoded.ids), expected);
        assert_eq!(learnt(&encoded, tokenizer), format!("c{end}d{end}"));
        let prompt = chat.prompt(&Turns::Messages(said[..2].to_vec()), 100).unwrap();
        assert_eq!(tokenizer.decode(&prompt), begin);
    }
    let chat = Chat::new(&alone).unwrap();
    assert_eq!((chat.stop_ids(), chat.stop_text()), (vec![], Some("\n\n")));
    let chat = Chat::new(&several).unwrap();
    assert_eq!((chat.stop_ids(), chat.stop_text()), (several.eot_id().into_iter().collect(), None));

    let poor = Tokenizer::train(TokenizerKind::Char, ["stain U"]).unwrap();
    assert_eq!(
        Chat::new(&poor).err().unwrap().to_string(),
        "chat template: the vocabulary has neither <|system|> <|user|> <|assistant|> <|end|> nor the characters \
         ['S', 'y', 'e', 'm', ':', '\\n', 'r', 'A'], expected a tokenizer trained with chat tokens"
    );
}

/// Deterministic numbers below `n`.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, n: usize) -> usize {
        // Knuth's MMIX generator; its high bits are good enough to choose.
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }
}

/// A template of the kind that most models from elsewhere have, rendered by hand.
fn chat_ml(messages: &[Message]) -> String {
    let turn = |message: &Message| format!("<|im_start|>{}\n{}<|im_end|>\n", message.role, message.content);
    messages.iter().map(turn).collect()
}

#[test]
fn what_people_type_is_never_special() {
    // Pieces from which one would build a token, a turn, or a placeholder.
    let pieces = [
        "<|system|>",
        "<|user|>",
        "<|assistant|>",
        "<|end|>",
        "<|endoftext|>",
        "<|",
        "|>",
        "end",
        "assistant",
        "\n",
        " ",
        "<|im_start|>",
        "<|im_end|>",
        "User:\n",
        "message0no0said",
        "message0no1said",
        "message0no",
        "é",
        "{{",
        "{%",
    ];
    let corpus = format!("{}\nUser: Assistant: System:", pieces.concat());
    let mut numbers = Numbers(3);
    let mut foreign: serde_json::Value =
        serde_json::from_str(&Tokenizer::train(TokenizerKind::Byte, ["any"]).unwrap().files(8)[0].1).unwrap();
    for (id, token) in [(257, "<|im_start|>"), (258, "<|im_end|>")] {
        let mut added = foreign["added_tokens"][0].clone();
        (added["id"], added["content"]) = (id.into(), token.into());
        foreign["added_tokens"].as_array_mut().unwrap().push(added);
    }
    let foreign =
        Tokenizer::from_json(&foreign.to_string()).unwrap().with_chat_template("elsewhere").unwrap();
    let ours = ["char", "byte", "bpe:300"].map(|kind| with_chat_tokens(kind, &corpus.repeat(5)));
    for _ in 0..300 {
        let content = |role: Role, numbers: &mut Numbers| {
            let pieces: String =
                (0..1 + numbers.next(6)).map(|_| pieces[numbers.next(pieces.len())]).collect();
            Message::new(role, pieces)
        };
        let said: Vec<Message> = [Role::User, Role::Assistant, Role::User, Role::Assistant]
            .map(|role| content(role, &mut numbers))
            .into();
        for tokenizer in &ours {
            let chat = Chat::new(tokenizer).unwrap();
            let encoded = chat.conversation(&said).unwrap();
            let special: Vec<u32> =
                encoded.ids.iter().copied().filter(|&id| tokenizer.is_special(id)).collect();
            let [_, user, assistant, end] = CHAT_TOKENS.map(|token| tokenizer.token_id(token).unwrap());
            assert_eq!(special, [user, end, assistant, end].repeat(2), "{said:?}");
            let turn = |message: &Message| format!("<|{}|>{}<|end|>", message.role, message.content);
            assert_eq!(tokenizer.decode(&encoded.ids), said.iter().map(turn).collect::<String>());
            let learnt_text: String = [1, 3].map(|at: usize| said[at].content.clone() + "<|end|>").concat();
            assert_eq!(learnt(&encoded, tokenizer), learnt_text);
        }
        let chat = Chat::new(&foreign).unwrap();
        let encoded = chat.rendered(&chat_ml(&chat.placeholders(&said)), &said, 0).unwrap();
        let special: Vec<u32> = encoded.ids.iter().copied().filter(|&id| foreign.is_special(id)).collect();
        assert_eq!(special, [257, 258].repeat(4), "{said:?}");
        assert_eq!(foreign.decode(&encoded.ids), chat_ml(&said));
        let learnt_text: String = [1, 3].map(|at: usize| said[at].content.clone() + "<|im_end|>").concat();
        assert_eq!(learnt(&encoded, &foreign), learnt_text);
    }
}

#[test]
fn placeholders_keep_what_a_template_may_trim() {
    let tokenizer = Tokenizer::train(TokenizerKind::Byte, ["any"]).unwrap();
    let tokenizer = tokenizer.with_chat_template("message0no is a name that this template has").unwrap();
    let chat = Chat::new(&tokenizer).unwrap();
    let said = [Message::new(Role::User, " \n hi\t"), Message::new(Role::Assistant, "yo \n")];
    let blank = chat.placeholders(&said);
    let contents: Vec<&str> = blank.iter().map(|message| message.content.as_str()).collect();
    assert_eq!(contents, [" \n message1no0said\t", "message1no1said \n"]);

    let [user, assistant] = [0, 1].map(|at: usize| blank[at].content.clone());
    let check = |rendered: String, expected: &str, learn: &str| {
        let encoded = chat.rendered(&rendered, &said, 0).unwrap();
        assert_eq!(tokenizer.decode(&encoded.ids), expected);
        assert_eq!(learnt(&encoded, &tokenizer), learn, "{expected:?}");
    };
    check(
        format!("U:{user}\nA: {assistant}<|endoftext|>\n"),
        "U: \n hi\t\nA: yo \n<|endoftext|>\n",
        " yo \n<|endoftext|>",
    );
    let (user, assistant) = (user.trim(), assistant.trim());
    check(
        format!("U:\n{user}\nA:{assistant} <|endoftext|>"),
        "U:\nhi\nA:yo <|endoftext|>",
        "yo <|endoftext|>",
    );
    // Twice, in another order, without an end.
    check(format!("{assistant}{user}{assistant}"), "yohiyo", "yoyo");

    let error = |rendered: &str| chat.rendered(rendered, &said, 0).unwrap_err().to_string();
    let user_lost = "chat template: it leaves out or alters message 0 (user), expected each message as it is";
    assert_eq!(error(&format!("{assistant}<|endoftext|>")), user_lost);
    assert_eq!(error(&format!("{}{assistant}", user.to_uppercase())), user_lost);
    assert!(error(user).contains("message 1 (assistant)"));
}

#[test]
fn what_is_cut_is_said() {
    let encoded = || Encoded { ids: vec![10, 11, 12, 13, 14], learn: vec![false, false, true, true, false] };
    let cut = |limit, side| {
        let mut cut = encoded();
        let lost = cut.truncate(limit, side);
        (lost, cut.ids, cut.learn)
    };
    assert_eq!(cut(5, Side::End), (None, encoded().ids, encoded().learn));
    let (tokens, learn) = (2, 1);
    assert_eq!(
        cut(3, Side::End),
        (Some(Cut { side: Side::End, tokens, learn }), vec![10, 11, 12], vec![false, false, true])
    );
    assert_eq!(
        cut(3, Side::Start),
        (Some(Cut { side: Side::Start, tokens, learn: 0 }), vec![12, 13, 14], vec![true, true, false])
    );
    assert_eq!(cut(0, Side::Start).0.unwrap().to_string(), "5 tokens cut at the start, 2 of them to learn");
}

#[test]
fn chat_tokens_count_in_the_size_and_come_last() {
    let text = "the cat and the hat and the bat and the rat, the sea shells and the seashore".repeat(2);
    let text = text.as_str();
    let plain = Tokenizer::train(TokenizerKind::Bpe { vocab_size: 265 }, [text]).unwrap();
    let chat = with_chat_tokens("bpe:265", text);
    assert_eq!((plain.vocab_size(), chat.vocab_size()), (265, 265));
    assert_eq!((chat.n_plain(), chat.eot_id()), (260, Some(260)));
    assert!(chat.has_chat_tokens() && !plain.has_chat_tokens());
    // The first merges are the same.
    assert!((0..260).all(|id| chat.token(id) == plain.token(id)));
    assert_eq!(chat.encode_with_special("<|end|>"), [264]);
    assert_eq!(with_chat_tokens("byte", "x").vocab_size(), 261);

    let mut trainer = TokenizerTrainer::new(TokenizerKind::Bpe { vocab_size: 260 });
    trainer.feed(text);
    trainer.chat_tokens(true);
    assert_eq!(
        trainer.finish(&mut |_| {}).unwrap_err().to_string(),
        "tokenizer \"bpe:260\": expected at least 261: 256 bytes and <|endoftext|> <|system|> <|user|> <|assistant|> \
         <|end|>"
    );
}

#[test]
fn a_folder_keeps_its_template() {
    let files =
        |tokenizer: &Tokenizer| -> HashMap<String, String> { tokenizer.files(64).into_iter().collect() };
    let again = |files: &HashMap<String, String>| {
        Tokenizer::from_files(&files["tokenizer.json"], &files["tokenizer_config.json"]).unwrap()
    };
    let said = messages(&["user: the cat", "assistant: the hat"]);
    for kind in ["char", "byte", "bpe:262"] {
        let tokenizer = with_chat_tokens(kind, "the cat and the hat");
        let read = again(&files(&tokenizer));
        assert_eq!(files(&read), files(&tokenizer));
        assert_eq!(read.kind(), tokenizer.kind());
        assert_eq!(read.chat_template(), Some(Chat::new(&tokenizer).unwrap().jinja().as_str()));
        let [ours, theirs] = [&tokenizer, &read].map(|t| Chat::new(t).unwrap().conversation(&said).unwrap());
        assert_eq!(ours, theirs);
    }

    // One without chat tokens says nothing of chats, unless it is told to.
    let plain = Tokenizer::train(TokenizerKind::Byte, ["any"]).unwrap();
    assert!(!files(&plain)["tokenizer_config.json"].contains("chat_template"));
    let jinja = Chat::new(&plain).unwrap().jinja();
    let told = plain.with_chat_template(jinja.clone()).unwrap();
    let read = again(&files(&told));
    assert_eq!(
        (read.chat_template(), Chat::new(&read).unwrap().jinja()),
        (Some(jinja.as_str()), jinja.clone())
    );

    // Whatever a folder has is kept, whichever form it has.
    let json = &files(&told)["tokenizer.json"];
    for config in [
        r#"{"chat_template": "{{ x }}", "bos_token": "<|endoftext|>", "pad_token": "[PAD]"}"#,
        r#"{"chat_template": [{"name": "tools", "template": ""}, {"name": "default", "template": "{{ x }}"}]}"#,
    ] {
        let read = Tokenizer::from_files(json, config).unwrap();
        assert_eq!(read.chat_template(), Some("{{ x }}"));
        assert_eq!(again(&files(&read)).chat_template(), Some("{{ x }}"));
        assert!(!files(&read)["tokenizer_config.json"].contains("[PAD]"), "a token that does not exist");
    }
    let long = told.with_chat_template("x".repeat((1 << 20) + 1)).unwrap_err().to_string();
    assert_eq!(long, "chat template: 1048577 bytes, expected at most 1 MB");
}
