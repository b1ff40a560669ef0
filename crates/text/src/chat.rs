//! Conversations as ids, with a mark on each token that the model shall learn to say.
//!
//! Life of a conversation: `messages → template → segments → ids and marks`. A segment is either the template's own
//! text, in which special tokens count, or what somebody said, in which they never do: whatever a user types, it is
//! encoded as plain text and can neither close a turn nor open another one. To keep the two apart, a template is
//! rendered with placeholders in place of what is said, and cut at them.
//!
//! A tokenizer from elsewhere brings its template along. Ours is one token before each message and one after it, which
//! a tokenizer has if it was trained with [`chat_tokens`](crate::TokenizerTrainer::chat_tokens):
//!
//! ```text
//! <|system|>Be brief.<|end|><|user|>2 + 2?<|end|><|assistant|>4<|end|>
//! ```
//!
//! A vocabulary without these tokens does with text instead, which a user can imitate:
//!
//! ```text
//! System:
//! Be brief.
//!
//! User:
//! 2 + 2?
//!
//! Assistant:
//! 4<|endoftext|>
//! ```

use crate::dataset::{Message, Role, Turns};
use crate::{TextError, Tokenizer};

mod encoded;

mod records;

mod placeholders;

mod template;

#[cfg(feature = "jinja")]
mod jinja;

pub use encoded::{Cut, Encoded, Side};
pub use template::{CHAT_TOKENS, Render};

use encoded::Segment;
use template::Template;

/// 26 July 2024 in seconds since 1970: the day that Llama 3's own template takes where nobody tells it the date.
const DEFAULT_NOW: u64 = 1_721_952_000;

/// How records become examples.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatSettings {
    /// Marks every token, not only what the assistant says.
    pub learn_everything: bool,
    /// Takes prompts and answers that are plain strings for a user's and an assistant's turn. Without it they are one
    /// text, of which the prompt is the beginning, as in TRL.
    pub strings_are_turns: bool,
    /// The time that a template is told if it asks for it, in seconds since 1970. It does not follow the clock, since a
    /// run that is continued tomorrow must give the same ids.
    pub now: u64,
}

impl Default for ChatSettings {
    fn default() -> Self {
        Self { learn_everything: false, strings_are_turns: false, now: DEFAULT_NOW }
    }
}

/// Encodes conversations by the template of a tokenizer.
///
/// # Example
/// ```
/// use cloche_text::{Chat, Message, Role, TokenizerKind, TokenizerTrainer};
/// let mut trainer = TokenizerTrainer::new(TokenizerKind::Char);
/// trainer.feed("Hi! <|end|>");
/// trainer.chat_tokens(true);
/// let tokenizer = trainer.finish(&mut |_| {}).unwrap();
///
/// let chat = Chat::new(&tokenizer).unwrap();
/// let said = [Message::new(Role::User, "<|end|>"), Message::new(Role::Assistant, "Hi!")];
/// let encoded = chat.conversation(&said).unwrap();
/// let shown: Vec<_> = encoded.show_mask(&tokenizer);
/// let marked: String = shown.iter().filter(|(_, learn)| *learn).map(|(text, _)| text.as_str()).collect();
/// assert_eq!(marked, "Hi!<|end|>");
/// // What the user typed is seven characters, not the token.
/// assert_eq!(encoded.ids.iter().filter(|id| tokenizer.is_special(**id)).count(), 4);
/// ```
pub struct Chat<'t> {
    tokenizer: &'t Tokenizer,
    template: Template,
    settings: ChatSettings,
}

impl<'t> Chat<'t> {
    /// The template that came with the tokenizer, or ours.
    ///
    /// # Errors
    /// [`TextError::Template`] for a template that cannot be parsed, and for a character vocabulary that cannot express
    /// our template.
    pub fn new(tokenizer: &'t Tokenizer) -> Result<Self, TextError> {
        Self::with(tokenizer, ChatSettings::default())
    }

    /// The same with other settings.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with(tokenizer: &'t Tokenizer, settings: ChatSettings) -> Result<Self, TextError> {
        Ok(Self { template: Template::of(tokenizer, &settings)?, tokenizer, settings })
    }

    /// A document: every token is marked, and the token that ends it, if the vocabulary has one.
    pub fn text(&self, text: &str) -> Encoded {
        let mut encoded = Encoded::of(self.tokenizer, &[Segment::said(text, true)]);
        encoded.push(self.tokenizer.eot_id(), true);
        encoded
    }

    /// A conversation: what the assistant says is marked, in every turn, and the token that ends the turn.
    ///
    /// # Errors
    /// [`TextError::Template`] where the template raises an error, does not end, or leaves out a message.
    pub fn conversation(&self, messages: &[Message]) -> Result<Encoded, TextError> {
        self.encode(messages, 0, false)
    }

    /// A prompt and an answer to it: the answer alone is marked, also where the prompt has turns of the assistant.
    ///
    /// # Errors
    /// As [`conversation`](Self::conversation).
    pub fn answer(&self, prompt: &Turns, answer: &Turns) -> Result<Encoded, TextError> {
        match (prompt, answer) {
            (Turns::Text(prompt), Turns::Text(answer)) if !self.settings.strings_are_turns => {
                let segments = [Segment::said(prompt, false), Segment::said(answer, true)];
                let mut encoded = Encoded::of(self.tokenizer, &segments);
                encoded.push(self.tokenizer.eot_id(), true);
                Ok(self.marked(encoded))
            }
            _ => {
                let mut messages = prompt.clone().into_messages(Role::User);
                let n_prompt = messages.len();
                messages.extend(answer.clone().into_messages(Role::Assistant));
                self.encode(&messages, n_prompt, false)
            }
        }
    }

    /// The ids of a prompt, up to where the model goes on. With our template they are the beginning of what
    /// [`answer`](Self::answer) gives.
    ///
    /// # Errors
    /// [`TextError::Prompt`] for more than `room` tokens: a prompt is never cut, since what it asks for may be lost.
    /// Otherwise as [`conversation`](Self::conversation).
    pub fn prompt(&self, prompt: &Turns, room: usize) -> Result<Vec<u32>, TextError> {
        let ids = match prompt {
            Turns::Text(text) if !self.settings.strings_are_turns => self.tokenizer.encode(text),
            _ => {
                let messages = prompt.clone().into_messages(Role::User);
                self.encode(&messages, messages.len(), true)?.ids
            }
        };
        if ids.len() > room {
            return Err(TextError::Prompt { tokens: ids.len(), room });
        }
        Ok(ids)
    }

    fn encode(&self, messages: &[Message], from: usize, is_prompt: bool) -> Result<Encoded, TextError> {
        match &self.template {
            Template::Marks(marks) => {
                let segments = marks.segments(messages, from, is_prompt);
                Ok(self.marked(Encoded::of(self.tokenizer, &segments)))
            }
            Template::Foreign(template) => {
                let rendered = template.render(&self.placeholders(messages), is_prompt)?;
                self.rendered(&rendered, messages, from)
            }
        }
    }

    fn marked(&self, mut encoded: Encoded) -> Encoded {
        if self.settings.learn_everything {
            encoded.learn.fill(true);
        }
        encoded
    }

    /// Whether the template is one from elsewhere.
    pub fn is_foreign(&self) -> bool {
        matches!(self.template, Template::Foreign(_))
    }

    /// Has a template from elsewhere rendered by somebody else, such as a page, in JavaScript. What is said never reaches
    /// him: he gets the [`placeholders`](Self::placeholders).
    pub fn rendered_by(self, render: Box<Render>) -> Self {
        let template = match self.template {
            Template::Foreign(template) => Template::Foreign(template.rendered_by(render)),
            ours => ours,
        };
        Self { template, ..self }
    }

    /// The messages with placeholders for what is said, which a template is rendered from. White space around it stays,
    /// because templates like to trim.
    pub fn placeholders(&self, messages: &[Message]) -> Vec<Message> {
        placeholders::blank(&self.placeholder_name(), messages)
    }

    /// Encodes what was rendered from [`placeholders`](Self::placeholders): the template's own text with special
    /// tokens, what the messages say without. Answers before message number `from` are not marked.
    ///
    /// # Errors
    /// [`TextError::Template`] where the rendered text lacks a placeholder.
    pub fn rendered(&self, rendered: &str, messages: &[Message], from: usize) -> Result<Encoded, TextError> {
        let name = self.placeholder_name();
        let segments = placeholders::fill(self.tokenizer, &name, rendered, messages, from)?;
        Ok(self.marked(Encoded::of(self.tokenizer, &segments)))
    }

    fn placeholder_name(&self) -> String {
        match &self.template {
            Template::Marks(_) => placeholders::name(""),
            Template::Foreign(template) => placeholders::name(template.source()),
        }
    }

    /// The ids that end an answer. Where there are none, [`stop_text`](Self::stop_text) does.
    pub fn stop_ids(&self) -> Vec<u32> {
        let end = match &self.template {
            Template::Marks(marks) => self.tokenizer.token_id(marks.close(Role::Assistant)),
            // What it puts after an answer is seen by letting it.
            Template::Foreign(_) => {
                let said = [Role::User, Role::Assistant].map(|role| Message::new(role, "a"));
                let encoded = self.encode(&said, 1, false).unwrap_or_default();
                let last = encoded.learn.iter().rposition(|&learn| learn);
                last.map(|at| encoded.ids[at]).filter(|&id| self.tokenizer.is_special(id))
            }
        };
        let mut ids: Vec<u32> = end.into_iter().chain(self.tokenizer.eot_id()).collect();
        ids.dedup();
        ids
    }

    /// The text that ends an answer where the vocabulary has no token for that.
    pub fn stop_text(&self) -> Option<&str> {
        match &self.template {
            Template::Marks(marks) if self.stop_ids().is_empty() => Some(marks.close(Role::Assistant)),
            _ => None,
        }
    }

    /// The template as Jinja text: the `chat_template` of a Hugging Face folder, from which `apply_chat_template` gives
    /// the same ids. Our own marks what it generates, so that TRL can train on the assistant's tokens alone.
    pub fn jinja(&self) -> String {
        match &self.template {
            Template::Marks(marks) => marks.jinja(),
            Template::Foreign(template) => template.source().to_string(),
        }
    }
}
