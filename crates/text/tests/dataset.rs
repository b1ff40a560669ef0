//! Data sets: every shape there and back, what each record may leave open, and a name for everything that is wrong.

use cloche_text::{MAX_LINE_BYTES, Message, Record, Records, Role, Shape, TextError, Turns};
use std::io::{BufReader, Read};

fn parse(line: &str) -> Result<Record, TextError> {
    Record::parse(line, "a.jsonl", 7, &Shape::ALL)
}

fn text(text: &str) -> Turns {
    Turns::Text(text.to_string())
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

/// A record of every shape, in both forms where there are two.
fn records() -> Vec<Record> {
    let ask = || turns(&["system: Be brief.", "user: Hi", "assistant: Hello.", "user: \"2 + 2\"\n= ?"]);
    let say = |answer: &str| turns(&[&format!("assistant: {answer}")]);
    vec![
        Record::Text("one\ntwo \u{1f331}".into()),
        Record::Conversation(messages(&["user: Hi", "assistant: Hello.", "user: Bye"])),
        Record::Conversation(messages(&["system: Be kind.", "user: Hi", "assistant: Hello."])),
        Record::Completion { prompt: text("2 + 2 ="), completion: text(" 4") },
        Record::Completion {
            prompt: ask(),
            completion: turns(&["assistant: 4", "user: Sure?", "assistant: Yes."]),
        },
        Record::Preference { prompt: text("Hi"), chosen: text("Hello."), rejected: text("What?") },
        Record::Preference { prompt: ask(), chosen: say("4"), rejected: say("5") },
        Record::Ranking {
            prompt: text("Hi"),
            responses: vec![text("Hello."), text("Hey."), text("What?")],
            ranks: vec![1, 1, 2],
        },
        Record::Ranking { prompt: ask(), responses: vec![say("4"), say("5")], ranks: vec![1, 2] },
        Record::Question { prompt: text("2 + 2 ="), answer: "4".into() },
        Record::Question { prompt: ask(), answer: "4".into() },
    ]
}

#[test]
fn every_shape_comes_back_as_it_was_written() {
    let records = records();
    for shape in Shape::ALL {
        assert!(
            records.iter().any(|record| record.shape() == shape),
            "{shape:?} is missing from these tests"
        );
    }
    let file: String = records.iter().map(|record| record.to_json() + "\n").collect();
    assert_eq!(file.lines().count(), records.len());
    for reader in
        [file.as_str(), file.trim_end(), &format!("\u{feff}\n \n{}", file.replace('\n', "\r\n\r\n"))]
    {
        let read: Vec<Record> = Records::new(reader.as_bytes(), "a.jsonl").map(Result::unwrap).collect();
        assert_eq!(read, records);
    }
    // However little the reader gives at once.
    let slow = BufReader::with_capacity(3, file.as_bytes());
    assert_eq!(Records::new(slow, "a.jsonl").map(Result::unwrap).collect::<Vec<_>>(), records);
}

#[test]
fn the_first_shape_that_is_wanted_counts() {
    let line = r#"{"id": 3, "prompt": "p", "text": "t", "answer": 42, "completion": "c", "messages": null}"#;
    let first = |wanted: &[Shape]| Record::parse(line, "a.jsonl", 1, wanted).map(|record| record.shape());
    assert_eq!(first(&Shape::ALL), Ok(Shape::Completion));
    assert_eq!(first(&[Shape::Text, Shape::Completion]), Ok(Shape::Text));
    assert_eq!(first(&[Shape::Preference, Shape::Question]), Ok(Shape::Question));
    assert_eq!(parse(r#"{"prompt": "p", "answer": 42}"#).unwrap().contents(), ["p", "42"]);
    assert_eq!(
        first(&[Shape::Conversation, Shape::Preference]).unwrap_err().to_string(),
        "a.jsonl line 1: fields \"answer\", \"completion\", \"id\", \"messages\", \"prompt\", \"text\", \
         expected \"messages\", or \"chosen\" and \"rejected\""
    );
    let mut records = Records::new(line.as_bytes(), "a.jsonl").expecting(&[Shape::Text]);
    assert_eq!(records.next(), Some(Ok(Record::Text("t".into()))));
}

#[test]
fn whole_conversations_share_their_prompt() {
    let said = r#"{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "#;
    let pair =
        |rest: &str| parse(&format!(r#"{{"chosen": [{said}"a"}}], "rejected": [{said}"b"}}]{rest}}}"#));
    let expected = Record::Preference {
        prompt: turns(&["user: Hi"]),
        chosen: turns(&["assistant: a"]),
        rejected: turns(&["assistant: b"]),
    };
    for prompt in ["", r#", "prompt": "Hi""#, r#", "prompt": [{"role": "user", "content": "Hi"}]"#] {
        assert_eq!(pair(prompt), Ok(expected.clone()), "{prompt}");
    }
    let message = pair(r#", "prompt": "Ho""#).unwrap_err().to_string();
    assert!(message.contains("field \"prompt\" is not what the answers begin with"), "{message}");
}

#[test]
fn ranks_put_the_best_first() {
    let rank = |ranks: &str| {
        let line = format!(r#"{{"prompt": "p", "responses": ["a", "b", "c"]{ranks}}}"#);
        match parse(&line) {
            Ok(Record::Ranking { responses, ranks, .. }) => {
                let first = responses.iter().flat_map(Turns::contents).collect::<String>();
                Ok((first, ranks))
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    };
    assert_eq!(rank(""), Ok(("abc".into(), vec![1, 2, 3])));
    assert_eq!(rank(r#", "ranks": [3, 1, 2]"#), Ok(("bca".into(), vec![1, 2, 3])));
    assert_eq!(rank(r#", "ranks": [2, 1, 1]"#), Ok(("bca".into(), vec![1, 1, 2])));
    for (ranks, found) in [
        ("[1, 2]", "field \"ranks\" holds 2, expected 3, one for each of \"responses\""),
        ("[1, 1, 1]", "field \"ranks\" are all the same, expected an answer that is better than another"),
        ("[1, 2, 0.5]", "field \"ranks[2]\" is a number, expected a whole number, 1 for the best"),
        ("[1, -2, 3]", "field \"ranks[1]\" is a number, expected a whole number, 1 for the best"),
        ("\"abc\"", "field \"ranks\" is a string, expected an array"),
    ] {
        assert_eq!(rank(&format!(r#", "ranks": {ranks}"#)), Err(format!("a.jsonl line 7: {found}")));
    }
}

#[test]
fn what_is_wrong_with_a_line_has_a_name() {
    for (line, expected) in [
        (
            "{\"text\": ",
            "malformed JSON at column 9 (EOF while parsing a value), expected one object in each line",
        ),
        (
            "{\"text\": \"a\"} {}",
            "malformed JSON at column 15 (trailing characters), expected one object in each line",
        ),
        ("[1]", "an array, expected an object"),
        ("null", "null, expected an object"),
        ("{\"text\": \"\"}", "field \"text\" is empty, expected a string with text in it"),
        ("{\"text\": \" \\n\"}", "field \"text\" is empty, expected a string with text in it"),
        ("{\"text\": [\"a\"]}", "field \"text\" is an array, expected a string"),
        (
            "{\"prompt\": \"p\", \"chosen\": \"c\"}",
            "field \"rejected\" is missing, expected it beside \"chosen\"",
        ),
        (
            "{\"chosen\": \"c\", \"rejected\": \"r\"}",
            "field \"prompt\" is missing, expected a string or an array of messages",
        ),
        ("{\"completion\": \"c\"}", "field \"prompt\" is missing, expected it beside \"completion\""),
        (
            "{\"prompt\": \"p\", \"completion\": 4}",
            "field \"completion\" is a number, expected a string or an array of messages",
        ),
        (
            "{\"prompt\": \"p\", \"completion\": [{\"role\": \"assistant\", \"content\": \"c\"}]}",
            "field \"completion\" holds messages, expected a string, as \"prompt\" is",
        ),
        (
            "{\"prompt\": [{\"role\": \"user\", \"content\": \"p\"}], \"completion\": \"c\"}",
            "field \"completion\" is a string, expected messages, as \"prompt\" has",
        ),
        (
            "{\"prompt\": \"p\", \"chosen\": \"c\", \"rejected\": \"c\"}",
            "field \"rejected\" equals \"chosen\", expected two answers that differ",
        ),
        ("{\"prompt\": \"p\", \"answer\": true}", "field \"answer\" is a boolean, expected a string"),
        (
            "{\"prompt\": \"p\", \"responses\": [\"a\"]}",
            "field \"responses\" holds 1, expected 2 to 64 answers",
        ),
        (
            "{\"prompt\": \"p\", \"responses\": [\"a\", \"b\", \"a\"]}",
            "field \"responses[2]\" equals responses[0], expected answers that differ",
        ),
        (
            "{\"prompt\": \"p\", \"responses\": [\"a\", \"\"]}",
            "field \"responses[1]\" is empty, expected a string with text in it",
        ),
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!(error.code(), "DATA");
        assert_eq!(error.to_string(), format!("a.jsonl line 7: {expected}"), "{line}");
    }
    let nothing = parse("{}").unwrap_err().to_string();
    assert!(
        nothing.starts_with("a.jsonl line 7: an object without fields, expected \"chosen\" and"),
        "{nothing}"
    );
    let long = parse(&" ".repeat(MAX_LINE_BYTES + 1)).unwrap_err().to_string();
    assert_eq!(long, "a.jsonl line 7: more than 16 MB, expected a line of at most 16 MB");
    // As deep as anyone likes.
    assert!(parse(&"[".repeat(1 << 20)).unwrap_err().to_string().contains("recursion limit exceeded"));
}

#[test]
fn roles_out_of_order_have_a_name() {
    let conversation = |roles: &[&str]| {
        let messages: Vec<String> =
            roles.iter().map(|role| format!(r#"{{"role": "{role}", "content": "x"}}"#)).collect();
        parse(&format!(r#"{{"messages": [{}]}}"#, messages.join(", ")))
    };
    for (roles, expected) in [
        (&["assistant"][..], "field \"messages[0].role\" is \"assistant\", expected \"user\""),
        (
            &["user", "system"],
            "field \"messages[1].role\" is \"system\", expected \"assistant\" (a system's message can only come first)",
        ),
        (
            &["system", "system"],
            "field \"messages[1].role\" is \"system\", expected \"user\" (a system's message can only come first)",
        ),
        (
            &["system", "assistant"],
            "field \"messages[1].role\" is \"assistant\", expected \"user\" after \"system\"",
        ),
        (&["user", "user"], "field \"messages[1].role\" is \"user\", expected \"assistant\" after \"user\""),
        (
            &["user", "assistant", "assistant"],
            "field \"messages[2].role\" is \"assistant\", expected \"user\" after \"assistant\"",
        ),
        (
            &["user", "tool"],
            "field \"messages[1].role\" is \"tool\", expected \"system\", \"user\" or \"assistant\"",
        ),
        (&["User"], "field \"messages[0].role\" is \"User\", expected \"system\", \"user\" or \"assistant\""),
        (&["system", "user"], "field \"messages\" holds no assistant's message, expected one to learn from"),
        (&[], "field \"messages\" is empty, expected at least one message"),
    ] {
        let message = conversation(roles).expect_err(expected).to_string();
        assert_eq!(message, format!("a.jsonl line 7: {expected}"));
    }
    conversation(&["system", "user", "assistant", "user", "assistant"]).unwrap();
    conversation(&["user", "assistant", "user"]).unwrap();

    for (line, expected) in [
        (
            r#"{"messages": [7]}"#,
            "field \"messages[0]\" is a number, expected an object with \"role\" and \"content\"",
        ),
        (r#"{"messages": [{"content": "x"}]}"#, "field \"messages[0].role\" is missing, expected a string"),
        (
            r#"{"messages": [{"role": "user"}]}"#,
            "field \"messages[0].content\" is missing, expected a string",
        ),
        (
            r#"{"messages": [{"role": "user", "content": []}]}"#,
            "field \"messages[0].content\" is an array, expected a string",
        ),
        (r#"{"messages": {"role": "user"}}"#, "field \"messages\" is an object, expected an array"),
        (
            r#"{"prompt": [{"role": "system", "content": "x"}], "answer": "x"}"#,
            "field \"prompt[0].role\" is \"system\", expected \"user\" in the last message",
        ),
        (
            r#"{"prompt": [{"role": "user", "content": "x"}], "completion": [{"role": "user", "content": "x"}]}"#,
            "field \"completion[0].role\" is \"user\", expected \"assistant\"",
        ),
    ] {
        assert_eq!(parse(line).expect_err(line).to_string(), format!("a.jsonl line 7: {expected}"));
    }
}

#[test]
fn conversations_that_part_at_a_user_are_no_comparison() {
    let compare = |chosen: &[&str], rejected: &[&str]| {
        let json = |lines: &[&str]| {
            let record = Record::Conversation(messages(lines)).to_json();
            record.strip_prefix("{\"messages\":").unwrap().strip_suffix('}').unwrap().to_string()
        };
        let line = format!(r#"{{"chosen": {}, "rejected": {}}}"#, json(chosen), json(rejected));
        parse(&line).expect_err(&line).to_string()
    };
    let parts = "is none, expected an assistant's message where \"chosen\" and \"rejected\" part";
    let (ask, one, two) = ("user: a", "assistant: 1", "assistant: 2");
    assert!(compare(&[ask, one], &["user: b", one]).contains(&format!("field \"chosen[0]\" {parts}")));
    assert!(compare(&[ask, one], &[ask]).contains(&format!("field \"rejected[1]\" {parts}")));
    assert!(compare(&[ask, one], &[ask, one]).contains("\"rejected\" equals \"chosen\""));
    assert!(
        compare(&[ask, one, ask], &[ask, two]).contains("field \"chosen[2].role\" is \"user\", expected")
    );
}

#[test]
fn a_file_is_read_past_its_bad_lines_and_no_further_than_it_can_be() {
    let read = |bytes: &[u8]| -> Vec<Result<Record, String>> {
        Records::new(bytes, "a.jsonl").map(|item| item.map_err(|error| error.to_string())).collect()
    };
    let one = Ok(Record::Text("x".into()));
    let bad = "a.jsonl line 2: field \"text\" is a number, expected a string";
    let file = b"{\"text\": \"x\"}\n{\"text\": 1}\n{\"text\": \"x\"}";
    assert_eq!(read(file), [one.clone(), Err(bad.into()), one.clone()]);

    let nothing = "the file ends without a record, expected an object in each line";
    assert_eq!(read(b""), [Err(format!("a.jsonl line 1: {nothing}"))]);
    assert_eq!(read(b"\n\n"), [Err(format!("a.jsonl line 2: {nothing}"))]);

    let not_text = "a.jsonl line 2: byte 0xff at byte 10 of the line, expected UTF-8 text";
    assert_eq!(read(b"{\"text\": \"x\"}\n{\"text\": \"\xff\"}\n{}"), [one.clone(), Err(not_text.into())]);

    // A line without an end is given up at the limit, whatever follows.
    let endless = BufReader::new("{\"text\": \"x\"}\n".as_bytes().chain(std::io::repeat(b'a')));
    let items: Vec<_> = Records::new(endless, "a.jsonl").collect();
    assert_eq!(items.len(), 2);
    let message = items[1].as_ref().unwrap_err().to_string();
    assert_eq!(message, "a.jsonl line 2: more than 16 MB, expected a line of at most 16 MB");
    let longest = format!("{{\"text\": \"{}\"}}", "x".repeat(MAX_LINE_BYTES - 12));
    assert_eq!((longest.len(), read(longest.as_bytes()).len()), (MAX_LINE_BYTES, 1));
    assert!(read(longest.as_bytes())[0].is_ok());
}

#[test]
fn what_the_system_says_is_passed_on() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    let items: Vec<_> = Records::new(BufReader::new(Broken), "a.jsonl").collect();
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].as_ref().unwrap_err().to_string(), "a.jsonl: the disk is gone");
}
