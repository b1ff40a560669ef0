//! Keeping apart what a template writes and what somebody said: the template is rendered with placeholders, and cut at
//! them. What people say is never in the text that special tokens are looked for in.

use super::encoded::Segment;
use super::{Message, Role};
use crate::{TextError, Tokenizer};

/// What ends a placeholder, after its number.
const END: &str = "said";

/// What begins a placeholder: a word that the template does not contain.
pub(super) fn name(template: &str) -> String {
    let mut names = (0..).map(|number| format!("message{number}no"));
    names.find(|name| !template.contains(name.as_str())).unwrap_or_default()
}

/// Messages with placeholders for what they say: the name, the message's number, and the white space around the
/// message, so that a template which trims is seen to do so.
pub(super) fn blank(name: &str, messages: &[Message]) -> Vec<Message> {
    let blank = |(at, message): (usize, &Message)| {
        let (before, said, after) = trimmed(&message.content);
        let placeholder = if said.is_empty() { String::new() } else { format!("{name}{at}{END}") };
        Message::new(message.role, [before, &placeholder, after].concat())
    };
    messages.iter().enumerate().map(blank).collect()
}

/// Cuts a rendered text at its placeholders and puts what `messages` say in their place. What the assistant says from
/// message number `from` on is marked, and after it the template's text up to the first special token, which is what
/// ends the turn.
///
/// # Errors
/// [`TextError::Template`] where a placeholder is missing: the template left the message out, or altered it.
pub(super) fn fill<'a>(
    tokenizer: &Tokenizer,
    name: &str,
    rendered: &'a str,
    messages: &'a [Message],
    from: usize,
) -> Result<Vec<Segment<'a>>, TextError> {
    let mut segments = Vec::new();
    let mut is_missing: Vec<bool> = messages.iter().map(|message| !message.content.is_empty()).collect();
    let mut learn = false; // whether the message before is learnt
    let mut pieces = rendered.split(name);
    let mut own = pieces.next().unwrap_or_default(); // the template's text before the next placeholder
    for piece in pieces {
        let (number, rest) = piece.split_once(END).unwrap_or_default();
        let at = number.parse().ok().filter(|&at: &usize| at < messages.len());
        let at = at.ok_or_else(|| altered("a message".to_string()))?;
        is_missing[at] = false;
        let (before, said, after) = trimmed(&messages[at].content);
        // The spaces at the end of the template's text begin the first word, as in a text that is encoded at once.
        let text = own.strip_suffix(before).unwrap_or(own).trim_end_matches(' ');
        template_text(tokenizer, text, learn, &mut segments);
        let before = &own[text.len()..];
        own = rest.strip_prefix(after).unwrap_or(rest);
        let after = &rest[..rest.len() - own.len()];
        learn = at >= from && messages[at].role == Role::Assistant;
        segments.push(match (before, after) {
            ("", "") => Segment::said(said, learn),
            _ => Segment::said([before, said, after].concat(), learn),
        });
    }
    template_text(tokenizer, own, learn, &mut segments);
    match is_missing.iter().position(|&is_missing| is_missing) {
        None => Ok(segments),
        Some(at) => Err(altered(format!("message {at} ({})", messages[at].role))),
    }
}

fn altered(what: String) -> TextError {
    let found = format!("it leaves out or alters {what}");
    TextError::Template { found, expected: "each message as it is".to_string() }
}

/// Adds text of the template's own. After an answer that is learnt, its end is learnt as well.
fn template_text<'a>(tokenizer: &Tokenizer, text: &'a str, learn: bool, segments: &mut Vec<Segment<'a>>) {
    let end = tokenizer.first_special(text).filter(|_| learn).map_or(0, |(at, _, token)| at + token.len());
    let parts = [Segment::template(&text[..end], true), Segment::template(&text[end..], false)];
    segments.extend(parts.into_iter().filter(|part| !part.text.is_empty()));
}

/// A text and the white space around it. A text of nothing else is taken as it is.
fn trimmed(text: &str) -> (&str, &str, &str) {
    if text.trim().is_empty() {
        return ("", text, "");
    }
    let start = text.len() - text.trim_start().len();
    let (before, rest) = text.split_at(start);
    let (said, after) = rest.split_at(rest.trim_end().len());
    (before, said, after)
}
