//! Chat templates from elsewhere, rendered natively: ids as `transformers` gives them, ours as Jinja, and an error for
//! templates that raise, loop, write without end, or need what is absent.

use cloche_text::{Chat, ChatSettings, Message, Role, Tokenizer, TokenizerKind, TokenizerTrainer, Turns};
use serde_json::Value;

fn messages(value: &Value) -> Vec<Message> {
    let message = |value: &Value| {
        let role = Role::ALL.into_iter().find(|role| value["role"] == role.name()).unwrap();
        Message::new(role, value["content"].as_str().unwrap())
    };
    value.as_array().unwrap().iter().map(message).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn templates_give_the_ids_they_give_in_python() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/chat.json");
    let golden: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(golden.len() >= 5);
    for entry in &golden {
        let [name, json, config] = ["name", "json", "config"].map(|field| entry[field].as_str().unwrap());
        let tokenizer = Tokenizer::from_files(json, config).unwrap();
        let chat = Chat::new(&tokenizer).unwrap();
        for case in entry["cases"].as_array().unwrap() {
            let said = messages(&case["messages"]);
            let encoded = match chat.conversation(&said) {
                Ok(encoded) => encoded,
                Err(error) => {
                    assert!(case["ids"].is_null(), "{name}: {error}");
                    let raised =
                        format!("chat template: it raises {:?} on line", case["error"].as_str().unwrap());
                    assert!(error.to_string().starts_with(&raised), "{name}: {error}");
                    continue;
                }
            };
            assert_eq!(encoded.ids, ids(&case["ids"]), "{name}: {}", tokenizer.decode(&encoded.ids));
            let shown = encoded.show_mask(&tokenizer).into_iter();
            let learnt: String = shown.filter(|(_, learn)| *learn).map(|(text, _)| text).collect();
            assert_eq!(learnt, case["learnt"], "{name}");
            let end = chat.stop_ids()[0];
            assert!(learnt.ends_with(tokenizer.token(end).unwrap()), "{name}: {learnt}");
            if let Some(prompt) = case["prompt_ids"].as_array() {
                let said = said[..said.len() - 1].to_vec();
                let found = chat.prompt(&Turns::Messages(said), 1000).unwrap();
                assert_eq!(found, ids(&Value::from(prompt.clone())), "{name}: {}", tokenizer.decode(&found));
            }
        }
    }
}

/// Our template by the other way: a comment in it hides that it is ours.
#[test]
fn our_template_is_what_its_jinja_text_says() {
    let said = [
        Message::new(Role::System, "Be brief: one word."),
        Message::new(Role::User, "Is <|user|> 'one' word?"),
        Message::new(Role::Assistant, "{{ Yes }}"),
        Message::new(Role::User, "Sure?\n\nReally?"),
        Message::new(Role::Assistant, "Yes"),
    ];
    let letters: String = said.iter().map(|message| message.content.as_str()).collect();
    let letters = format!("{letters}User: Assistant: System:\n");
    for kind in ["char", "byte", "bpe:300"] {
        for (chat_tokens, end_of_text) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut trainer = TokenizerTrainer::new(kind.parse().unwrap());
            trainer.feed(&letters.repeat(9));
            trainer.chat_tokens(chat_tokens);
            trainer.end_of_text(end_of_text);
            let tokenizer = trainer.finish(&mut |_| {}).unwrap();
            let ours = Chat::new(&tokenizer).unwrap();
            let hidden = format!("{{# a comment #}}{}", ours.jinja());
            let [(name, json), ..] = &tokenizer.files(64)[..] else { panic!("no files") };
            assert_eq!(name, "tokenizer.json");
            let theirs = Tokenizer::from_json(json).unwrap().with_chat_template(hidden).unwrap();
            let theirs = Chat::new(&theirs).unwrap();
            for n in [2, 3, 5] {
                let mut expected = ours.conversation(&said[..n]).unwrap();
                if ours.stop_text().is_some() {
                    // Without a token that ends a turn, nobody can tell that the text after it does.
                    let unmarked =
                        said[..n].iter().filter(|message| message.role == Role::Assistant).count() * 2;
                    let found = theirs.conversation(&said[..n]).unwrap();
                    assert_eq!(found.n_learn() + unmarked, expected.n_learn());
                    expected.learn.clone_from(&found.learn);
                }
                assert_eq!(theirs.conversation(&said[..n]).unwrap(), expected, "{kind} {n}");
            }
            let prompt = Turns::Messages(said[..4].to_vec());
            assert_eq!(theirs.prompt(&prompt, 1000), ours.prompt(&prompt, 1000));
        }
    }
}

/// What becomes of "Hi" and "Ho" in a template, or the error.
fn render(template: &str) -> Result<String, String> {
    let tokenizer =
        Tokenizer::train(TokenizerKind::Byte, ["any"]).unwrap().with_chat_template(template).unwrap();
    let chat = Chat::new(&tokenizer).map_err(|error| error.to_string())?;
    let said = [Message::new(Role::User, "Hi"), Message::new(Role::Assistant, "Ho")];
    let encoded = chat.conversation(&said).map_err(|error| error.to_string())?;
    Ok(tokenizer.decode(&encoded.ids))
}

#[test]
fn templates_may_do_what_python_does() {
    let all = "{% for m in messages %}{{ m.content }}{% endfor %}";
    for (template, expected) in [
        (all, "HiHo"),
        ("{{ messages[0]['content'] + messages[-1].get('content') }}", "HiHo"),
        ("{% for m in messages[::-1] %}{{ m['content'].strip() }}{% endfor %}", "HoHi"),
        (
            "{%- set ns = namespace(n=0) -%}{%- for m in messages -%}{%- set ns.n = ns.n + 1 -%}{{ ns.n }}{{ m.content }}{%- endfor -%}",
            "1Hi2Ho",
        ),
        (
            "{% macro say(m) %}[{{ m.content }}]{% endmacro %}{{ say(messages[0]) }}{{ say(messages[1]) }}",
            "[Hi][Ho]",
        ),
        (
            "  {% if true %}\n{{ messages | map(attribute='content') | join('|') }}\n  {% endif %}\n",
            "Hi|Ho\n",
        ),
        (
            "{% for m in messages %}{% if loop.index0 == 5 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
            "HiHo",
        ),
        (
            "{{ bos_token }}{% if tools %}x{% endif %}{% if absent is defined %}x{% endif %}{{ pad_token }}{{ messages[0].content }}{{ messages[1].content }}",
            "<|endoftext|>HiHo",
        ),
        (
            "{{ '<b>' }}{{ {'a': [1, '<']} | tojson }}{{ messages[0].content ~ messages[1].content }}",
            "<b>{\"a\":[1,\"<\"]}HiHo",
        ),
        ("{{ strftime_now('%d %b %Y') }}{{ messages[0].content ~ messages[1].content }}", "26 Jul 2024HiHo"),
        (
            "{{ messages[0].role.upper() }}{% if 'user' in messages[0].role %}{% generation %}{{ messages[0].content }}{% endgeneration %}{% endif %}{{ messages[1].content }}",
            "USERHiHo",
        ),
    ] {
        assert_eq!(render(template), Ok(expected.to_string()), "{template}");
    }
    let tokenizer = Tokenizer::train(TokenizerKind::Byte, ["any"]).unwrap();
    let tokenizer = tokenizer.with_chat_template(format!("{{{{ strftime_now('%Y') }}}}{all}")).unwrap();
    let settings = ChatSettings { now: 0, ..Default::default() };
    let ids = Chat::with(&tokenizer, settings)
        .unwrap()
        .conversation(&[Message::new(Role::User, "Hi")])
        .unwrap()
        .ids;
    assert_eq!(tokenizer.decode(&ids), "1970Hi");
}

#[test]
fn a_template_that_fails_says_how() {
    let doubling = "{% set ns = namespace(t='xxxxxxxx') %}{% for i in range(23) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}";
    for (template, expected) in [
        ("{% for m in messages %}", "syntax error: unexpected end of input"),
        ("{{ raise_exception('Only \"tools\" here!') }}", "it raises \"Only \\\"tools\\\" here!\" on line 1"),
        ("a\n{{ absent }}", "undefined value"),
        ("{{ absent.field }}", "undefined value"),
        ("{{ messages[0]['name'] }}", "undefined value"),
        ("{{ absent() }}", "unknown function"),
        ("{{ messages | absent }}", "unknown filter"),
        ("{{ messages[0].content.absent() }}", "unknown method"),
        ("{% include 'other' %}", "template not found"),
        (
            "{{ messages[0].content[:3] }}{{ messages[1].content }}",
            "it leaves out or alters message 0 (user)",
        ),
        (
            "{{ messages[0].content | upper }}{{ messages[1].content }}",
            "it leaves out or alters message 0 (user)",
        ),
        ("{{ messages[0].content }}", "it leaves out or alters message 1 (assistant)"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion limit"),
        (
            "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}",
            "it does not end within 10000000 instructions",
        ),
        (doubling, "it writes more than 32 MB"),
        ("{{ strftime_now('%q') }}", "strftime_now knows %Y"),
    ] {
        let error = render(template).expect_err(template);
        assert!(error.starts_with("chat template: ") && error.contains(expected), "{template}: {error}");
    }
}
