//! Conversations and records of data sets as JavaScript sees them: ids, and a mark on each token that a model shall learn.

use crate::{Result, Tokenizer, thrown};
use cloche_text::{ChatSettings, Encoded, Message, Record, Shape, TextError, Turns};
use js_sys::{Array, Function, Uint8Array, Uint32Array};
use std::rc::Rc;
use wasm_bindgen::prelude::*;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** Tokens, and 1 at each that a model shall learn to say. A text that is too long goes on in another example. */
export type Encoded = [ids: Uint32Array, learn: Uint8Array, isText: boolean];
/** A prompt up to where the model goes on, what it asks as people read it, and the right answer. */
export type Question = [ids: Uint32Array, asked: string, answer: string];
"#;

const DEMONSTRATIONS: &[Shape] = &[Shape::Completion, Shape::Conversation, Shape::Text];
const COMPARISONS: &[Shape] = &[Shape::Preference, Shape::Ranking];
const QUESTIONS: &[Shape] = &[
    Shape::Question,
    Shape::Completion,
    Shape::Preference,
    Shape::Ranking,
    Shape::Conversation,
    Shape::Text,
];

/// Writes conversations for a model, by the template of its tokenizer or by ours, and reads its answers.
///
/// Records are JSON, each in one of the shapes of chat data sets; `name` and `line` are what an error calls the place.
#[wasm_bindgen]
pub struct Chat {
    tokenizer: Rc<cloche_text::Tokenizer>,
    settings: ChatSettings,
    /// Who renders a template from elsewhere.
    render: Option<Function>,
}

#[wasm_bindgen]
impl Chat {
    /// With `turns`, prompts and answers that are plain strings are turns of a conversation; otherwise the answer goes on
    /// where the prompt ends.
    #[wasm_bindgen(constructor)]
    pub fn new(tokenizer: &Tokenizer, turns: bool) -> Result<Chat> {
        let settings = ChatSettings { strings_are_turns: turns, ..ChatSettings::default() };
        let chat = Chat { tokenizer: tokenizer.0.clone(), settings, render: None };
        chat.chat()?;
        Ok(chat)
    }

    /// Whether the template is one from elsewhere: then somebody has to render it.
    #[wasm_bindgen(getter, js_name = isForeign)]
    pub fn is_foreign(&self) -> Result<bool> {
        Ok(self.chat()?.is_foreign())
    }

    /// Says who renders a template from elsewhere: a function of roles and contents, and of whether the text ends where the
    /// assistant begins.
    #[wasm_bindgen(js_name = renderBy)]
    pub fn render_by(
        &mut self,
        #[wasm_bindgen(
            unchecked_param_type = "(messages: [role: string, content: string][], isPrompt: boolean) => string"
        )]
        render: Function,
    ) {
        self.render = Some(render);
    }

    /// A record that shows how to answer.
    #[wasm_bindgen(unchecked_return_type = "Encoded")]
    pub fn demonstration(&self, json: &str, name: &str, line: usize) -> Result<Array> {
        let record = Record::parse(json, name, line, DEMONSTRATIONS).map_err(thrown)?;
        let is_text = matches!(record, Record::Text(_));
        Ok(marked(&self.chat()?.demonstration(&record).map_err(thrown)?, is_text))
    }

    /// The answers that a record compares, best first, each with the prompt before it.
    #[wasm_bindgen(unchecked_return_type = "Encoded[]")]
    pub fn comparison(&self, json: &str, name: &str, line: usize) -> Result<Array> {
        let record = Record::parse(json, name, line, COMPARISONS).map_err(thrown)?;
        let answers = self.chat()?.comparison(&record).map_err(thrown)?;
        Ok(answers.iter().map(|answer| marked(answer, false)).collect())
    }

    /// The question that a record answers; nothing where it is plain text, which asks nothing.
    #[wasm_bindgen(unchecked_return_type = "Question | undefined")]
    pub fn question(&self, json: &str, name: &str, line: usize) -> Result<Option<Array>> {
        let record = Record::parse(json, name, line, QUESTIONS).map_err(thrown)?;
        let Some((prompt, answer)) = record.question() else { return Ok(None) };
        let ids = self.prompt_ids(&prompt)?;
        Ok(Some(Array::of3(&Uint32Array::from(&ids[..]), &prompt.asked().into(), &answer.into())))
    }

    /// The ids of a conversation, JSON, up to where the assistant goes on.
    pub fn prompt(&self, messages: &str) -> Result<Vec<u32>> {
        let line = ["{\"prompt\":", messages, ",\"answer\":\"-\"}"].concat();
        let record = Record::parse(&line, "messages", 1, QUESTIONS).map_err(thrown)?;
        let prompt = record.question().map_or(Turns::Messages(Vec::new()), |(prompt, _)| prompt);
        self.prompt_ids(&prompt)
    }

    /// An answer's text, up to what ends it.
    pub fn answer(&self, ids: &[u32]) -> Result<String> {
        let chat = self.chat()?;
        let stop_ids = chat.stop_ids();
        let end = ids.iter().position(|id| stop_ids.contains(id)).unwrap_or(ids.len());
        let text = self.tokenizer.decode(&ids[..end]);
        Ok(match chat.stop_text().and_then(|stop| text.find(stop)) {
            Some(at) => text[..at].to_string(),
            None => text,
        })
    }

    /// The ids that end an answer. Where there are none, `stopText` does.
    #[wasm_bindgen(getter, js_name = stopIds)]
    pub fn stop_ids(&self) -> Result<Vec<u32>> {
        Ok(self.chat()?.stop_ids())
    }

    /// The text that ends an answer where the vocabulary has no token for that.
    #[wasm_bindgen(getter, js_name = stopText)]
    pub fn stop_text(&self) -> Result<Option<String>> {
        Ok(self.chat()?.stop_text().map(str::to_string))
    }

    /// The template as Jinja text: the `chat_template` of a Hugging Face folder.
    #[wasm_bindgen(getter, js_name = template)]
    pub fn template(&self) -> Result<String> {
        Ok(self.chat()?.jinja())
    }
}

impl Chat {
    fn chat(&self) -> Result<cloche_text::Chat<'_>> {
        let chat = cloche_text::Chat::with(&self.tokenizer, self.settings.clone()).map_err(thrown)?;
        let Some(render) = self.render.clone() else { return Ok(chat) };
        Ok(chat.rendered_by(Box::new(move |messages, is_prompt| rendered(&render, messages, is_prompt))))
    }

    fn prompt_ids(&self, prompt: &Turns) -> Result<Vec<u32>> {
        self.chat()?.prompt(prompt, usize::MAX).map_err(thrown)
    }
}

/// Has JavaScript render messages. What it throws is the template's error.
fn rendered(
    render: &Function,
    messages: &[Message],
    is_prompt: bool,
) -> std::result::Result<String, TextError> {
    let message =
        |message: &Message| Array::of2(&message.role.name().into(), &message.content.as_str().into());
    let messages: Array = messages.iter().map(message).collect();
    let text = render.call2(&JsValue::UNDEFINED, &messages, &is_prompt.into()).map_err(|thrown| {
        let found = thrown.dyn_ref::<js_sys::Error>().map_or(String::new(), |error| error.message().into());
        TextError::Template { found, expected: "a template for these messages".to_string() }
    })?;
    Ok(text.as_string().unwrap_or_default())
}

fn marked(encoded: &Encoded, is_text: bool) -> Array {
    let learn: Vec<u8> = encoded.learn.iter().map(|&learn| learn.into()).collect();
    Array::of3(&Uint32Array::from(&encoded.ids[..]), &Uint8Array::from(&learn[..]), &is_text.into())
}
