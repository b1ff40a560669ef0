//! Rendering templates from elsewhere, natively: Jinja as `transformers` sets it up, with bounds.
//!
//! A template is a program from a stranger. It can see nothing but the messages and the names of special tokens; it
//! may run so many instructions and write so many bytes. (What it holds in variables while it runs is not bounded.)

use super::Message;
use crate::TextError;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::Map;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Instructions that a template may run: about a second. A message takes some dozens.
const FUEL: u64 = 10_000_000;

/// Bytes that a template may write.
const MAX_OUTPUT_BYTES: usize = 32 << 20;

/// The name by which the environment knows the one template.
const NAME: &str = "chat_template";

/// A template that is ready to be rendered.
pub(super) struct Engine {
    environment: Environment<'static>,
    /// Special tokens by the names that templates use.
    tokens: Map<String, serde_json::Value>,
}

impl Engine {
    /// Parses a template. `now` is what it is told when it asks for the time, in seconds since 1970.
    pub fn new(source: &str, tokens: Map<String, serde_json::Value>, now: u64) -> Result<Self, TextError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(wrong)?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        // What is not there may be asked for, but not written.
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, format!("it raises {message:?}")))
        });
        environment.add_function("strftime_now", move |format: String| time(now, &format));
        environment.add_template_owned(NAME, without_generation(source)).map_err(wrong)?;
        Ok(Self { environment, tokens })
    }

    /// The text of a conversation, or of a prompt that ends where the assistant begins.
    pub fn render(&self, messages: &[Message], is_prompt: bool) -> Result<String, TextError> {
        let message = |message: &Message| {
            Value::from(BTreeMap::from([
                ("role", Value::from(message.role.name())),
                ("content", Value::from(message.content.as_str())),
            ]))
        };
        let messages: Vec<Value> = messages.iter().map(message).collect();
        let token = |name: &str| self.tokens.get(name).and_then(|token| token.as_str()).unwrap_or_default();
        let context = context! {
            messages, add_generation_prompt => is_prompt, tools => (), documents => (),
            bos_token => token("bos_token"), eos_token => token("eos_token"),
            pad_token => token("pad_token"), unk_token => token("unk_token"),
        };
        let mut out = Bounded(Vec::new());
        let template = self.environment.get_template(NAME).map_err(wrong)?;
        template.render_captured_to(context, &mut out).map_err(wrong)?;
        Ok(String::from_utf8_lossy(&out.0).into_owned())
    }
}

/// Names what a template did wrong, and on which line.
fn wrong(error: Error) -> TextError {
    let place = error.line().map_or(String::new(), |line| format!(" on line {line}"));
    let reason = match error.kind() {
        ErrorKind::OutOfFuel => format!("it does not end within {FUEL} instructions"),
        ErrorKind::WriteFailure => format!("it writes more than {} MB", MAX_OUTPUT_BYTES >> 20),
        kind => match error.detail() {
            Some(detail) if kind == ErrorKind::InvalidOperation => detail.to_string(),
            Some(detail) => format!("{kind}: {detail}"),
            None => kind.to_string(),
        },
    };
    TextError::Template {
        found: format!("{reason}{place}"),
        expected: "a template for these messages".to_string(),
    }
}

/// Templates that are used for training mark what is generated with a tag of `transformers`. We know that from the
/// roles; the tag becomes one that does nothing.
fn without_generation(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, tag)) = rest.split_once("{%") {
        text.push_str(before);
        text.push_str("{%");
        let (inside, after) = tag.split_once("%}").unwrap_or((tag, ""));
        text.push_str(&match inside.trim_matches(['-', '+', ' ', '\t', '\n']) {
            "generation" => inside.replace("generation", "if true"),
            "endgeneration" => inside.replace("endgeneration", "endif"),
            _ => inside.to_string(),
        });
        if tag.len() > inside.len() {
            text.push_str("%}");
        }
        rest = after;
    }
    text + rest
}

/// `json.dumps` as `transformers` uses it: no characters are escaped for a page.
fn to_json(value: Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let json =
        if indent.is_some() { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
    json.map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}

/// A buffer that refuses to grow beyond [`MAX_OUTPUT_BYTES`].
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(io::Error::other("too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const MONTHS: [(&str, u64); 12] = [
    ("January", 31),
    ("February", 28),
    ("March", 31),
    ("April", 30),
    ("May", 31),
    ("June", 30),
    ("July", 31),
    ("August", 31),
    ("September", 30),
    ("October", 31),
    ("November", 30),
    ("December", 31),
];

/// The time `now`, in seconds since 1970 and in UTC, as `strftime` writes it.
fn time(now: u64, format: &str) -> Result<String, Error> {
    let (mut day, second) = (now / 86_400, now % 86_400);
    let weekday = DAYS[(day % 7) as usize];
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 0;
    while day >= MONTHS[month].1 + u64::from(month == 1 && is_leap(year)) {
        day -= MONTHS[month].1 + u64::from(month == 1 && is_leap(year));
        month += 1;
    }
    let name = MONTHS[month].0;
    let mut text = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        text += &match letters.next() {
            Some('Y') => year.to_string(),
            Some('m') => format!("{:02}", month + 1),
            Some('B') => name.to_string(),
            Some('b') => name[..3].to_string(),
            Some('d') => format!("{:02}", day + 1),
            Some('A') => weekday.to_string(),
            Some('a') => weekday[..3].to_string(),
            Some('H') => format!("{:02}", second / 3600),
            Some('M') => format!("{:02}", second / 60 % 60),
            Some('S') => format!("{:02}", second % 60),
            Some('%') => "%".to_string(),
            other => {
                let found = other.map_or("%".to_string(), |letter| format!("%{letter}"));
                let detail = format!("strftime_now knows %Y %m %B %b %d %A %a %H %M %S, not {found}");
                return Err(Error::new(ErrorKind::InvalidOperation, detail));
            }
        };
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_with_leap_years() {
        let at = |now, format| time(now, format).unwrap();
        assert_eq!(at(0, "%A %d %B %Y, %H:%M:%S"), "Thursday 01 January 1970, 00:00:00");
        assert_eq!(at(super::super::DEFAULT_NOW, "%d %b %Y"), "26 Jul 2024");
        assert_eq!(at(951_782_400, "%Y-%m-%d %a"), "2000-02-29 Tue");
        assert_eq!(at(951_868_799, "%d %H:%M:%S 100%%"), "29 23:59:59 100%");
        assert_eq!(at(951_868_800, "%Y-%m-%d"), "2000-03-01");
        assert_eq!(at(4_107_542_400, "%Y-%m-%d"), "2100-03-01"); // 2100 is no leap year
        assert!(time(0, "%q").unwrap_err().to_string().contains("not %q"));
    }

    #[test]
    fn the_tag_for_generation_does_nothing() {
        let source = "a{%- generation -%}b{% endgeneration%}{% if generation %}{{ '{%' }}";
        assert_eq!(without_generation(source), "a{%- if true -%}b{% endif%}{% if generation %}{{ '{%' }}");
        assert_eq!(without_generation("{% generation"), "{% if true");
    }
}
