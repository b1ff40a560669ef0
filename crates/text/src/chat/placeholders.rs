//! Keeping apart what a template writes and what somebody said: the template is rendered with placeholders, and cut at
//! them. What people say is never in the text that special tokens are looked for in.

use super::encoded::Segment;
use super::{Message, Role};
use crate::{TextError, Tokenizer};

/// Messages with placeholders for what they say: a name that the template does not contain, the message's number, and
/// the white space around the message, so that a template which trims is seen to do so.
pub(super) fn blank(template: &str, messages: &[Message]) -> Vec<Message> {
    let mut names = (0..).map(|number| format!("message{number}no"));
    let name = names.find(|name| !template.contains(name.as_str())).unwrap_or_default();
    let blank = |(at, message): (usize, &Message)| {
        let (before, said, after) = trimmed(&message.content);
        let placeholder = if said.is_empty() { String::new() } else { format!("{name}{at}said") };
        Message::new(message.role, format!("{before}{placeholder}{after}"))
    };
    messages.iter().enumerate().map(blank).collect()
}

/// Cuts a rendered text at the placeholders of `blank` and puts what `messages` say in their place. What the assistant
/// says from message number `from` on is marked, and after it the template's text up to the first special token, which
/// is what ends the turn.
///
/// # Errors
/// [`TextError::Template`] where a placeholder is missing: the template left the message out, or changed it.
pub(super) fn fill<'a>(
    tokenizer: &Tokenizer,
    rendered: &'a str,
    blank: &[Message],
    messages: &'a [Message],
    from: usize,
) -> Result<Vec<Segment<'a>>, TextError> {
    let mut places = Vec::new();
    for (at, message) in blank.iter().enumerate() {
        let placeholder = message.content.trim();
        let found = placeholder.is_empty() || rendered.contains(placeholder);
        if !found {
            return Err(TextError::Template {
                found: format!("it leaves out or alters message {at} ({})", message.role),
                expected: "each message as it is".to_string(),
            });
        }
        if !placeholder.is_empty() {
            places.extend(rendered.match_indices(placeholder).map(|(start, found)| (start, found.len(), at)));
        }
    }
    places.sort_unstable();

    let mut segments = Vec::with_capacity(3 * places.len() + 1);
    let mut rest = 0; // where in the rendered text the next segment begins
    let mut learn = false; // whether the last message is learnt
    let ends = places.iter().skip(1).map(|(start, ..)| *start).chain([rendered.len()]);
    for (&(start, len, at), end) in places.iter().zip(ends) {
        let (before, said, after) = trimmed(&messages[at].content);
        // The spaces at the end of the template's text begin the first word, as in a text that is encoded at once.
        let own = rendered[rest..start].strip_suffix(before).unwrap_or(&rendered[rest..start]);
        let own = own.trim_end_matches(' ');
        template_text(tokenizer, own, learn, &mut segments);
        let spaces = &rendered[rest + own.len()..start];
        rest = start + len;
        if rendered[rest..end].starts_with(after) {
            rest += after.len();
        }
        let after = &rendered[start + len..rest];
        learn = at >= from && messages[at].role == Role::Assistant;
        segments.push(match (spaces, after) {
            ("", "") => Segment::said(said, learn),
            _ => Segment::said([spaces, said, after].concat(), learn),
        });
    }
    template_text(tokenizer, &rendered[rest..], learn, &mut segments);
    Ok(segments)
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
