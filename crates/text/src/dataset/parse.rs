//! From the JSON of a line to a checked record.

use super::{MAX_LINE_BYTES, Message, Record, Role, Shape, Turns};
use crate::TextError;
use serde_json::{Map, Value};

/// More answers to one prompt than this are a mistake: each is compared with each.
const MAX_RESPONSES: usize = 64;

/// What is wrong with a line, before it is known which line it is.
pub(super) struct Wrong {
    found: String,
    expected: String,
}

impl Wrong {
    fn new(found: &str, expected: &str) -> Self {
        Self { found: found.to_string(), expected: expected.to_string() }
    }

    fn field(field: &str, found: &str, expected: &str) -> Self {
        Self::new(&["field \"", field, "\" ", found].concat(), expected)
    }

    pub(super) fn at(self, name: &str, line: usize) -> TextError {
        TextError::Record { name: name.to_string(), line, found: self.found, expected: self.expected }
    }
}

type Parsed<T> = Result<T, Wrong>;
type Object = Map<String, Value>;

/// Reads a line as the first of the shapes `wanted` whose fields it has.
pub(super) fn record(line: &str, wanted: &[Shape]) -> Parsed<Record> {
    if line.len() > MAX_LINE_BYTES {
        return Err(Wrong::new("more than 16 MB", "a line of at most 16 MB"));
    }
    let mut object = match serde_json::from_str(line) {
        Ok(Value::Object(object)) => object,
        Ok(other) => return Err(Wrong::new(kind_of(&other), "an object")),
        Err(error) => {
            let found = format!("malformed JSON at column {} ({})", error.column(), reason(&error));
            return Err(Wrong::new(&found, "one object in each line"));
        }
    };
    let object = &mut object;
    match shape_of(object, wanted)? {
        Shape::Preference => preference(object),
        Shape::Ranking => ranking(object),
        Shape::Completion => {
            let prompt = prompt(object)?;
            let completion = answer_turns(take(object, "completion"), "completion", &prompt)?;
            Ok(Record::Completion { prompt, completion })
        }
        Shape::Question => {
            let answer = match take(object, "answer") {
                Value::Number(number) => number.to_string(),
                other => string(other, "answer")?,
            };
            Ok(Record::Question { prompt: prompt(object)?, answer })
        }
        Shape::Conversation => conversation(object),
        Shape::Text => Ok(Record::Text(string(take(object, "text"), "text")?)),
    }
}

/// The library's message without its line number, which is always 1 here.
fn reason(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.split(" at line ").next().unwrap_or_default().to_string()
}

/// The first shape whose fields are all there. Where there is none, the error names the field that a shape which is
/// there in part still lacks.
fn shape_of(object: &Object, wanted: &[Shape]) -> Parsed<Shape> {
    // A table written out as JSON has null where a row has no value.
    let has = |field: &str| object.get(field).is_some_and(|value| !value.is_null());
    if let Some(&shape) = wanted.iter().find(|shape| shape.fields().iter().all(|field| has(field))) {
        return Ok(shape);
    }
    for shape in wanted {
        // Every second shape has a prompt: that alone says nothing.
        let telling = shape.fields().iter().find(|&&field| field != "prompt" && has(field));
        let missing = shape.fields().iter().find(|&&field| !has(field));
        if let (Some(telling), Some(missing)) = (telling, missing) {
            return Err(Wrong::field(missing, "is missing", &format!("it beside \"{telling}\"")));
        }
    }
    let quoted = |fields: &[&str], between: &str| {
        fields.iter().map(|field| format!("\"{field}\"")).collect::<Vec<_>>().join(between)
    };
    let fields: Vec<&str> = object.keys().take(8).map(String::as_str).collect();
    let found = match &fields[..] {
        [] => "an object without fields".to_string(),
        fields => format!("fields {}", quoted(fields, ", ")),
    };
    let shapes: Vec<String> = wanted.iter().map(|shape| quoted(shape.fields(), " and ")).collect();
    Err(Wrong::new(&found, &shapes.join(", or ")))
}

fn conversation(object: &mut Object) -> Parsed<Record> {
    let messages = messages(take(object, "messages"), "messages")?;
    in_order(&messages, "messages", false)?;
    if messages.iter().all(|message| message.role != Role::Assistant) {
        return Err(Wrong::field("messages", "holds no assistant's message", "one to learn from"));
    }
    Ok(Record::Conversation(messages))
}

fn preference(object: &mut Object) -> Parsed<Record> {
    let [chosen, rejected] = ["chosen", "rejected"].map(|field| take(object, field));
    let is_whole = |value: &Value| value[0]["role"].as_str().is_some_and(|role| role != "assistant");
    let (prompt, chosen, rejected) = if is_whole(&chosen) && is_whole(&rejected) {
        whole_conversations(object, chosen, rejected)?
    } else {
        let prompt = prompt(object)?;
        let chosen = answer_turns(chosen, "chosen", &prompt)?;
        let rejected = answer_turns(rejected, "rejected", &prompt)?;
        (prompt, chosen, rejected)
    };
    if chosen == rejected {
        return Err(Wrong::field("rejected", "equals \"chosen\"", "two answers that differ"));
    }
    Ok(Record::Preference { prompt, chosen, rejected })
}

/// Two whole conversations: the prompt is what they begin with in common. A field `prompt` may repeat a part of it.
fn whole_conversations(object: &mut Object, chosen: Value, rejected: Value) -> Parsed<(Turns, Turns, Turns)> {
    let mut chosen = messages(chosen, "chosen")?;
    let mut rejected = messages(rejected, "rejected")?;
    in_order(&chosen, "chosen", false)?;
    in_order(&rejected, "rejected", false)?;
    // Equal conversations share everything, and are told apart from answers that are missing by what is said then.
    if chosen == rejected {
        return Err(Wrong::field("rejected", "equals \"chosen\"", "two answers that differ"));
    }
    let n_shared = chosen.iter().zip(&rejected).take_while(|(chosen, rejected)| chosen == rejected).count();
    for (field, messages) in [("chosen", &chosen), ("rejected", &rejected)] {
        if messages.get(n_shared).is_none_or(|message| message.role != Role::Assistant) {
            let expected = "an assistant's message where \"chosen\" and \"rejected\" part";
            return Err(Wrong::field(&format!("{field}[{n_shared}]"), "is none", expected));
        }
        ends_with(messages, field, Role::Assistant)?;
    }
    let (chosen_answer, rejected_answer) = (chosen.split_off(n_shared), rejected.split_off(n_shared));
    let prompt = take(object, "prompt");
    if !prompt.is_null()
        && !chosen.iter().any(|message| prompt == *message.content)
        && messages(prompt, "prompt").ok().as_ref() != Some(&chosen)
    {
        return Err(Wrong::field("prompt", "is not what the answers begin with", "one of their messages"));
    }
    Ok((Turns::Messages(chosen), Turns::Messages(chosen_answer), Turns::Messages(rejected_answer)))
}

fn ranking(object: &mut Object) -> Parsed<Record> {
    let prompt = prompt(object)?;
    let values = array(take(object, "responses"), "responses")?;
    if !(2..=MAX_RESPONSES).contains(&values.len()) {
        let found = format!("holds {}", values.len());
        return Err(Wrong::field("responses", &found, &format!("2 to {MAX_RESPONSES} answers")));
    }
    let mut responses = Vec::with_capacity(values.len());
    for (at, value) in values.into_iter().enumerate() {
        let field = format!("responses[{at}]");
        let response = answer_turns(value, &field, &prompt)?;
        if let Some(first) = responses.iter().position(|other| *other == response) {
            let found = format!("equals responses[{first}]");
            return Err(Wrong::field(&field, &found, "answers that differ"));
        }
        responses.push(response);
    }
    let ranks = ranks(object, responses.len())?;
    let mut ranked: Vec<(u32, Turns)> = Vec::with_capacity(responses.len());
    for (rank, response) in ranks.into_iter().zip(responses) {
        let place = ranked.partition_point(|(other, _)| *other <= rank);
        ranked.insert(place, (rank, response));
    }
    let (ranks, responses) = ranked.into_iter().unzip();
    Ok(Record::Ranking { prompt, responses, ranks })
}

/// A rank for each answer, the smallest for the best: those of the field `ranks`, or 1, 2, 3, …
fn ranks(object: &mut Object, n_responses: usize) -> Parsed<Vec<u32>> {
    let values = match take(object, "ranks") {
        Value::Null => return Ok((1..=n_responses as u32).collect()),
        values => array(values, "ranks")?,
    };
    if values.len() != n_responses {
        let found = format!("holds {}", values.len());
        return Err(Wrong::field("ranks", &found, &format!("{n_responses}, one for each of \"responses\"")));
    }
    let rank = |(at, value): (usize, Value)| {
        let rank = value.as_u64().and_then(|rank| u32::try_from(rank).ok());
        let found = format!("is {}", kind_of(&value));
        rank.ok_or_else(|| Wrong::field(&format!("ranks[{at}]"), &found, "a whole number, 1 for the best"))
    };
    let ranks = values.into_iter().enumerate().map(rank).collect::<Parsed<Vec<u32>>>()?;
    if ranks.iter().all(|rank| *rank == ranks[0]) {
        return Err(Wrong::field("ranks", "are all the same", "an answer that is better than another"));
    }
    Ok(ranks)
}

/// The field `prompt`: text, or messages of which the last is a user's.
fn prompt(object: &mut Object) -> Parsed<Turns> {
    let prompt = turns(take(object, "prompt"), "prompt")?;
    if let Turns::Messages(messages) = &prompt {
        in_order(messages, "prompt", false)?;
        ends_with(messages, "prompt", Role::User)?;
    }
    Ok(prompt)
}

/// An answer, which is of the kind of its prompt: text, or messages of which the first and the last are the
/// assistant's.
fn answer_turns(value: Value, field: &str, prompt: &Turns) -> Parsed<Turns> {
    let answer = turns(value, field)?;
    match (&answer, prompt) {
        (Turns::Text(_), Turns::Text(_)) => {}
        (Turns::Messages(messages), Turns::Messages(_)) => {
            in_order(messages, field, true)?;
            ends_with(messages, field, Role::Assistant)?;
        }
        (Turns::Text(_), _) => return Err(Wrong::field(field, "is a string", "messages, as \"prompt\" has")),
        _ => return Err(Wrong::field(field, "holds messages", "a string, as \"prompt\" is")),
    }
    Ok(answer)
}

fn turns(value: Value, field: &str) -> Parsed<Turns> {
    match value {
        Value::String(_) => string(value, field).map(Turns::Text),
        Value::Array(_) => messages(value, field).map(Turns::Messages),
        other => Err(wrong_type(&other, field, "a string or an array of messages")),
    }
}

/// An array of `{"role", "content"}`, in whatever order.
fn messages(value: Value, field: &str) -> Parsed<Vec<Message>> {
    let values = array(value, field)?;
    if values.is_empty() {
        return Err(Wrong::field(field, "is empty", "at least one message"));
    }
    let message = |(at, value): (usize, Value)| {
        let field = |name: &str| format!("{field}[{at}]{name}");
        let Value::Object(mut object) = value else {
            return Err(wrong_type(&value, &field(""), "an object with \"role\" and \"content\""));
        };
        let role = string(take(&mut object, "role"), &field(".role"))?;
        let known = Role::ALL.into_iter().find(|known| known.name() == role);
        let shown: String = role.chars().take(40).collect();
        let expected = "\"system\", \"user\" or \"assistant\"";
        let role = known.ok_or_else(|| Wrong::field(&field(".role"), &format!("is {shown:?}"), expected))?;
        Ok(Message { role, content: string(take(&mut object, "content"), &field(".content"))? })
    };
    values.into_iter().enumerate().map(message).collect()
}

/// Holds messages to the order of a conversation: perhaps a system's, then user and assistant in turns. An answer
/// goes on with the assistant's turn where its prompt ended.
fn in_order(messages: &[Message], field: &str, is_answer: bool) -> Parsed<()> {
    let mut due = if is_answer { Role::Assistant } else { Role::User };
    for (at, message) in messages.iter().enumerate() {
        if message.role == Role::System && at == 0 && !is_answer {
            continue;
        }
        if message.role != due {
            let after = match (at, message.role) {
                (_, Role::System) => " (a system's message can only come first)".to_string(),
                (0, _) => String::new(),
                _ => format!(" after \"{}\"", messages[at - 1].role),
            };
            let found = format!("is \"{}\"", message.role);
            return Err(Wrong::field(&format!("{field}[{at}].role"), &found, &format!("\"{due}\"{after}")));
        }
        due = if due == Role::User { Role::Assistant } else { Role::User };
    }
    Ok(())
}

fn ends_with(messages: &[Message], field: &str, role: Role) -> Parsed<()> {
    match messages.last() {
        Some(last) if last.role == role => Ok(()),
        last => {
            let found = format!("is \"{}\"", last.map_or("", |last| last.role.name()));
            let field = format!("{field}[{}].role", messages.len().saturating_sub(1));
            Err(Wrong::field(&field, &found, &format!("\"{role}\" in the last message")))
        }
    }
}

/// A string with something in it besides white space.
fn string(value: Value, field: &str) -> Parsed<String> {
    match value {
        Value::String(text) if text.trim().is_empty() => {
            Err(Wrong::field(field, "is empty", "a string with text in it"))
        }
        Value::String(text) => Ok(text),
        other => Err(wrong_type(&other, field, "a string")),
    }
}

fn array(value: Value, field: &str) -> Parsed<Vec<Value>> {
    match value {
        Value::Array(values) => Ok(values),
        other => Err(wrong_type(&other, field, "an array")),
    }
}

/// Takes a field out of an object, so that its text is not copied. A field that is missing is taken as null.
fn take(object: &mut Object, field: &str) -> Value {
    object.get_mut(field).map(Value::take).unwrap_or_default()
}

fn wrong_type(value: &Value, field: &str, expected: &str) -> Wrong {
    let kind = if value.is_null() { "missing" } else { kind_of(value) };
    Wrong::field(field, &format!("is {kind}"), expected)
}

/// Names the type of a value.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
