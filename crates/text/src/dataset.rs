//! Data sets for fine-tuning: JSON lines in the shapes that people have, read one line at a time.
//!
//! A line is an object. Which [`Shape`] it has is told by its fields; other fields (`id`, `source`, …) are left alone:
//!
//! | fields | record |
//! |---|---|
//! | `chosen`, `rejected`, and `prompt` | two answers, of which people prefer the first |
//! | `prompt`, `responses`, perhaps `ranks` | K answers, best first, or in any order with a rank each (1 is best) |
//! | `prompt`, `completion` | a demonstration |
//! | `prompt`, `answer` | a question, and what a verifier compares the answer with |
//! | `messages` | a conversation: `{"role": "system" \| "user" \| "assistant", "content": "…"}` each |
//! | `text` | plain text |
//!
//! `prompt`, `completion`, `chosen`, `rejected` and each of `responses` are either strings or lists of messages, all
//! of one record alike, as in TRL (<https://huggingface.co/docs/trl/dataset_formats>). Where `chosen` and `rejected`
//! are whole conversations, the prompt is what they begin with in common.

use crate::TextError;
use serde_json::{Map, Value, json};
use std::fmt;
use std::io::{self, BufRead, Read};

mod parse;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Whoever set the model up: at most once, before everything else.
    System,
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// Every role, in the order in which a conversation meets them.
    pub const ALL: [Role; 3] = [Role::System, Role::User, Role::Assistant];

    /// The name in data sets and templates.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// What somebody says in a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said: never empty in a record that was read.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }
}

/// A part of a record: text that goes on where the text before it ended, or turns of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Turns {
    /// Plain text.
    Text(String),
    /// Messages, in which user and assistant take turns.
    Messages(Vec<Message>),
}

impl Turns {
    /// All that is said, message after message.
    pub fn contents(&self) -> impl Iterator<Item = &str> {
        let (text, messages) = match self {
            Self::Text(text) => (Some(text.as_str()), &[][..]),
            Self::Messages(messages) => (None, messages.as_slice()),
        };
        text.into_iter().chain(messages.iter().map(|message| message.content.as_str()))
    }

    /// As messages: a text becomes one message of `role`.
    pub fn into_messages(self, role: Role) -> Vec<Message> {
        match self {
            Self::Text(text) => vec![Message::new(role, text)],
            Self::Messages(messages) => messages,
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Messages(messages) => messages
                .iter()
                .map(|message| json!({ "role": message.role.name(), "content": message.content }))
                .collect(),
        }
    }
}

/// One line of a data set. Each has been checked: nothing is empty, roles are in order, answers differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Plain text.
    Text(String),
    /// A conversation in which the assistant speaks at least once.
    Conversation(Vec<Message>),
    /// A demonstration.
    Completion {
        /// What the model is given; its last message is a user's.
        prompt: Turns,
        /// What it shall answer; its first and last message are the assistant's.
        completion: Turns,
    },
    /// A comparison of two answers.
    Preference {
        /// What both answer.
        prompt: Turns,
        /// The better answer.
        chosen: Turns,
        /// The worse answer.
        rejected: Turns,
    },
    /// A comparison of two or more answers.
    Ranking {
        /// What all of them answer.
        prompt: Turns,
        /// The answers, best first.
        responses: Vec<Turns>,
        /// The rank of each, ascending; equal ranks say that neither is better.
        ranks: Vec<u32>,
    },
    /// A question that a verifier knows the answer of.
    Question {
        /// What the model is given.
        prompt: Turns,
        /// What a verifier compares with.
        answer: String,
    },
}

/// The shapes of a record, by its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `chosen`, `rejected`, and `prompt`.
    Preference,
    /// `prompt`, `responses`, perhaps `ranks`.
    Ranking,
    /// `prompt`, `completion`.
    Completion,
    /// `prompt`, `answer`.
    Question,
    /// `messages`.
    Conversation,
    /// `text`.
    Text,
}

impl Shape {
    /// Every shape, those that say more before those that say less: of the shapes that a line has, the first counts.
    pub const ALL: [Shape; 6] =
        [Self::Preference, Self::Ranking, Self::Completion, Self::Question, Self::Conversation, Self::Text];

    /// The fields that tell this shape from the others.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Preference => &["chosen", "rejected"],
            Self::Ranking => &["prompt", "responses"],
            Self::Completion => &["prompt", "completion"],
            Self::Question => &["prompt", "answer"],
            Self::Conversation => &["messages"],
            Self::Text => &["text"],
        }
    }
}

impl Record {
    /// Reads one line: the first of the shapes `wanted` whose fields it has. `name` and `line` are what an error calls
    /// the place.
    ///
    /// # Errors
    /// [`TextError::Record`], naming the field: JSON that is malformed, no shape, a field that is missing, empty or of
    /// another type, a role that is unknown or out of order, answers that do not differ.
    ///
    /// # Example
    /// ```
    /// use cloche_text::{Record, Shape, Turns};
    /// let line = r#"{"prompt": "2 + 2 = ", "completion": "4"}"#;
    /// let (prompt, completion) = (Turns::Text("2 + 2 = ".into()), Turns::Text("4".into()));
    /// assert_eq!(Record::parse(line, "sums.jsonl", 1, &Shape::ALL), Ok(Record::Completion { prompt, completion }));
    /// assert_eq!(
    ///     Record::parse(r#"{"text": ""}"#, "sums.jsonl", 2, &Shape::ALL).unwrap_err().to_string(),
    ///     "sums.jsonl line 2: field \"text\" is empty, expected a string with text in it"
    /// );
    /// ```
    pub fn parse(line: &str, name: &str, number: usize, wanted: &[Shape]) -> Result<Record, TextError> {
        parse::record(line, wanted).map_err(|wrong| wrong.at(name, number))
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        match self {
            Self::Text(_) => Shape::Text,
            Self::Conversation(_) => Shape::Conversation,
            Self::Completion { .. } => Shape::Completion,
            Self::Preference { .. } => Shape::Preference,
            Self::Ranking { .. } => Shape::Ranking,
            Self::Question { .. } => Shape::Question,
        }
    }

    /// All of its text, for what looks at text alone: filters, duplicates, the training of a tokenizer.
    pub fn contents(&self) -> Vec<&str> {
        match self {
            Self::Text(text) => vec![text],
            Self::Conversation(messages) => messages.iter().map(|message| message.content.as_str()).collect(),
            Self::Completion { prompt, completion } => {
                prompt.contents().chain(completion.contents()).collect()
            }
            Self::Preference { prompt, chosen, rejected } => {
                prompt.contents().chain(chosen.contents()).chain(rejected.contents()).collect()
            }
            Self::Ranking { prompt, responses, .. } => {
                prompt.contents().chain(responses.iter().flat_map(Turns::contents)).collect()
            }
            Self::Question { prompt, answer } => prompt.contents().chain([answer.as_str()]).collect(),
        }
    }

    /// The line from which [`parse`](Self::parse) reads this record, without a line break.
    pub fn to_json(&self) -> String {
        let fields: Vec<(&str, Value)> = match self {
            Self::Text(text) => vec![("text", json!(text))],
            Self::Conversation(messages) => {
                vec![("messages", Turns::Messages(messages.clone()).to_json())]
            }
            Self::Completion { prompt, completion } => {
                vec![("prompt", prompt.to_json()), ("completion", completion.to_json())]
            }
            Self::Preference { prompt, chosen, rejected } => vec![
                ("prompt", prompt.to_json()),
                ("chosen", chosen.to_json()),
                ("rejected", rejected.to_json()),
            ],
            Self::Ranking { prompt, responses, ranks } => vec![
                ("prompt", prompt.to_json()),
                ("responses", responses.iter().map(Turns::to_json).collect()),
                ("ranks", json!(ranks)),
            ],
            Self::Question { prompt, answer } => {
                vec![("prompt", prompt.to_json()), ("answer", json!(answer))]
            }
        };
        let object: Map<String, Value> =
            fields.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        Value::Object(object).to_string()
    }
}

/// A line longer than this is taken for a file of another kind.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// The records of a file, one line at a time; only the current line is held. Empty lines are passed over.
///
/// # Errors
/// An item is an error where a line is no record ([`TextError::Record`]); the lines after it can still be read. After
/// a line that is too long ([`MAX_LINE_BYTES`]), bytes that are not UTF-8, what the reader says ([`TextError::Read`])
/// or the end of a file without a record, nothing follows.
///
/// # Example
/// ```
/// use cloche_text::{Record, Records};
/// let file = "{\"text\": \"one\"}\n\n{\"text\": \"two\"}\n";
/// let mut records = Records::new(file.as_bytes(), "a.jsonl");
/// assert_eq!(records.next(), Some(Ok(Record::Text("one".into()))));
/// assert_eq!(records.next(), Some(Ok(Record::Text("two".into()))));
/// assert_eq!((records.line(), records.next()), (3, None));
/// ```
pub struct Records<R> {
    reader: R,
    name: String,
    wanted: Vec<Shape>,
    line: usize,
    any: bool,
    ended: bool,
}

impl<R: BufRead> Records<R> {
    /// The records that `reader` gives; `name` is what errors call it.
    pub fn new(reader: R, name: impl Into<String>) -> Self {
        let (name, wanted) = (name.into(), Shape::ALL.to_vec());
        Self { reader, name, wanted, line: 0, any: false, ended: false }
    }

    /// Accepts these shapes only; of those that a line has, the first counts.
    pub fn expecting(mut self, wanted: &[Shape]) -> Self {
        self.wanted = wanted.to_vec();
        self
    }

    /// The number of the line that was read last, counted from one.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The next line that is not empty.
    fn next_line(&mut self) -> Result<Option<String>, TextError> {
        let mut bytes = Vec::new();
        while bytes.trim_ascii().is_empty() {
            bytes.clear();
            let mut limited = self.reader.by_ref().take(MAX_LINE_BYTES as u64 + 1);
            let read = limited.read_until(b'\n', &mut bytes);
            let failed =
                |error: io::Error| TextError::Read { name: self.name.clone(), reason: error.to_string() };
            if read.map_err(failed)? == 0 {
                return Ok(None);
            }
            self.line += 1;
            if bytes.last() == Some(&b'\n') {
                bytes.pop();
            }
            // Some editors begin a file with this mark; it is no part of the text.
            if self.line == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
                bytes.drain(..3);
            }
        }
        if bytes.len() > MAX_LINE_BYTES {
            return Err(self.wrong("more than 16 MB", "a line of at most 16 MB"));
        }
        String::from_utf8(bytes).map(Some).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            self.wrong(format!("byte {:#04x} at byte {at} of the line", error.as_bytes()[at]), "UTF-8 text")
        })
    }

    fn wrong(&self, found: impl Into<String>, expected: &str) -> TextError {
        let (name, line) = (self.name.clone(), self.line.max(1));
        TextError::Record { name, line, found: found.into(), expected: expected.to_string() }
    }
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = Result<Record, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let line = self.next_line();
        self.ended = !matches!(line, Ok(Some(_)));
        let had_any = std::mem::replace(&mut self.any, true);
        match line {
            Ok(Some(line)) => Some(Record::parse(line.trim_ascii(), &self.name, self.line, &self.wanted)),
            Ok(None) if had_any => None,
            Ok(None) => Some(Err(self.wrong("the file ends without a record", "an object in each line"))),
            Err(error) => Some(Err(error)),
        }
    }
}
