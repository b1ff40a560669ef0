//! Which template a tokenizer has, and ours: a mark before each message and one after it.

use super::encoded::Segment;
use super::{ChatSettings, Message, Role};
use crate::{TextError, Tokenizer};

/// The tokens of our template: before what the system, the user and the assistant say, and after it.
pub const CHAT_TOKENS: [&str; 4] = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"];

/// How a conversation is written.
pub(super) enum Template {
    /// By our marks.
    Marks(Marks),
    /// By a template from elsewhere.
    Foreign(Foreign),
}

impl Template {
    pub fn of(tokenizer: &Tokenizer, settings: &ChatSettings) -> Result<Self, TextError> {
        let marks = Marks::of(tokenizer);
        match tokenizer.chat_template() {
            Some(source) if source != marks.jinja() => {
                Foreign::new(tokenizer, source, settings).map(Self::Foreign)
            }
            _ => {
                marks.check(tokenizer)?;
                Ok(Self::Marks(marks))
            }
        }
    }
}

/// What stands before and after a message, by its role.
pub(super) struct Marks([(Role, String, String); 3]);

impl Marks {
    /// Tokens where the vocabulary has them as special tokens, otherwise text.
    pub fn of(tokenizer: &Tokenizer) -> Self {
        let [.., end] = CHAT_TOKENS;
        if tokenizer.has_chat_tokens() {
            let mark = |at: usize| (Role::ALL[at], CHAT_TOKENS[at].to_string(), end.to_string());
            return Self([0, 1, 2].map(mark));
        }
        let eot = tokenizer.eot_id().and_then(|id| tokenizer.token(id));
        Self(Role::ALL.map(|role| {
            let open = match role {
                Role::System => "System:\n",
                Role::User => "User:\n",
                Role::Assistant => "Assistant:\n",
            };
            let close = eot.filter(|_| role == Role::Assistant).unwrap_or("\n\n");
            (role, open.to_string(), close.to_string())
        }))
    }

    /// Marks that are text must be text that the vocabulary can express.
    fn check(&self, tokenizer: &Tokenizer) -> Result<(), TextError> {
        let text: String = self.0.iter().map(|(_, open, _)| open.as_str()).collect();
        let missing = tokenizer.missing_chars(&text);
        if tokenizer.has_chat_tokens() || missing.is_empty() {
            return Ok(());
        }
        Err(TextError::Template {
            found: format!(
                "the vocabulary has neither {} nor the characters {missing:?}",
                CHAT_TOKENS.join(" ")
            ),
            expected: "a tokenizer trained with chat tokens".to_string(),
        })
    }

    fn of_role(&self, role: Role) -> (&str, &str) {
        let (_, open, close) = &self.0[role as usize];
        (open, close)
    }

    /// What ends a message.
    pub fn close(&self, role: Role) -> &str {
        self.of_role(role).1
    }

    /// A conversation, or a prompt that ends where the assistant begins. Answers from message number `from` on are
    /// marked.
    pub fn segments<'a>(&'a self, messages: &'a [Message], from: usize, is_prompt: bool) -> Vec<Segment<'a>> {
        let mut segments = Vec::with_capacity(3 * messages.len() + 1);
        for (at, message) in messages.iter().enumerate() {
            let (open, close) = self.of_role(message.role);
            let learn = at >= from && message.role == Role::Assistant;
            segments.push(Segment::template(open, false));
            segments.push(Segment::said(&message.content, learn));
            segments.push(Segment::template(close, learn));
        }
        if is_prompt {
            segments.push(Segment::template(self.of_role(Role::Assistant).0, false));
        }
        segments
    }

    /// The same as Jinja text, on one line, so that no setting of white space matters.
    pub fn jinja(&self) -> String {
        let quoted = |mark: &str| {
            let escaped = mark.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n");
            format!("'{escaped}'")
        };
        let mut source = "{% for message in messages %}".to_string();
        for (role, open, close) in &self.0 {
            let (open, close) = (quoted(open), quoted(close));
            source += &match role {
                Role::Assistant => format!(
                    "{{% else %}}{{{{ {open} }}}}{{% generation %}}{{{{ message['content'] + {close} }}}}\
                     {{% endgeneration %}}{{% endif %}}"
                ),
                _ => {
                    let test = if *role == Role::System { "if" } else { "elif" };
                    format!(
                        "{{% {test} message['role'] == '{role}' %}}{{{{ {open} + message['content'] + {close} }}}}"
                    )
                }
            };
        }
        let open = quoted(self.of_role(Role::Assistant).0);
        source + &format!("{{% endfor %}}{{% if add_generation_prompt %}}{{{{ {open} }}}}{{% endif %}}")
    }
}

impl Tokenizer {
    /// Whether the tokens of our template ([`CHAT_TOKENS`]) are special tokens of the vocabulary.
    pub fn has_chat_tokens(&self) -> bool {
        CHAT_TOKENS.iter().all(|token| self.token_id(token).is_some_and(|id| self.is_special(id)))
    }
}

/// A Jinja template from a Hugging Face folder, and who renders it: minijinja natively, in a page a program of the page's.
pub(super) struct Foreign {
    source: String,
    render: Box<Render>,
}

/// Makes a text of messages, up to where the assistant begins if it is a prompt.
pub type Render = dyn Fn(&[Message], bool) -> Result<String, TextError>;

impl Foreign {
    #[cfg(feature = "jinja")]
    fn new(tokenizer: &Tokenizer, source: &str, settings: &ChatSettings) -> Result<Self, TextError> {
        let engine = super::jinja::Engine::new(source, tokenizer.named_tokens(), settings.now)?;
        let render = move |messages: &[Message], is_prompt: bool| engine.render(messages, is_prompt);
        Ok(Self { source: source.to_string(), render: Box::new(render) })
    }

    #[cfg(not(feature = "jinja"))]
    fn new(_: &Tokenizer, source: &str, _: &ChatSettings) -> Result<Self, TextError> {
        let nobody = |_: &[Message], _: bool| {
            let (found, expected) = ("a template from elsewhere", "somebody who renders it");
            Err(TextError::Template { found: found.to_string(), expected: expected.to_string() })
        };
        Ok(Self { source: source.to_string(), render: Box::new(nobody) })
    }

    /// The same, rendered by somebody else.
    pub fn rendered_by(self, render: Box<Render>) -> Self {
        Self { render, ..self }
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of a conversation, or of a prompt that ends where the assistant begins.
    pub fn render(&self, messages: &[Message], is_prompt: bool) -> Result<String, TextError> {
        (self.render)(messages, is_prompt)
    }
}
