//! Ids with marks: how they are made from the segments of a conversation, shortened and shown.

use crate::Tokenizer;
use std::borrow::Cow;
use std::fmt;

/// A part of a conversation that is encoded by itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Segment<'a> {
    pub text: Cow<'a, str>,
    /// Whether the template wrote it: then special tokens in it count.
    pub is_template: bool,
    /// Whether the model shall learn to say it.
    pub learn: bool,
}

impl<'a> Segment<'a> {
    /// What somebody said.
    pub fn said(text: impl Into<Cow<'a, str>>, learn: bool) -> Self {
        Self { text: text.into(), is_template: false, learn }
    }

    /// What the template put around it.
    pub fn template(text: impl Into<Cow<'a, str>>, learn: bool) -> Self {
        Self { text: text.into(), is_template: true, learn }
    }
}

/// A text as ids, with a mark on each token that the model shall learn to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The ids.
    pub ids: Vec<u32>,
    /// As many marks: whether the token at this place is a target.
    pub learn: Vec<bool>,
}

/// An end of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Where it begins: cutting there loses the prompt.
    Start,
    /// Where it ends: cutting there loses the answer.
    End,
}

/// What was cut off.
#[must_use = "whoever cuts says so"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// At which end.
    pub side: Side,
    /// How many tokens.
    pub tokens: usize,
    /// How many of them were marked.
    pub learn: usize,
}

impl fmt::Display for Cut {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.side == Side::Start { "start" } else { "end" };
        write!(out, "{} tokens cut at the {side}, {} of them to learn", self.tokens, self.learn)
    }
}

impl Encoded {
    pub(super) fn of(tokenizer: &Tokenizer, segments: &[Segment<'_>]) -> Self {
        let mut encoded = Self::default();
        for segment in segments {
            let is_inside = encoded.ids.last().is_some_and(|&id| !tokenizer.is_special(id));
            encoded.ids.extend(tokenizer.encode_part(&segment.text, segment.is_template, is_inside));
            encoded.learn.resize(encoded.ids.len(), segment.learn);
        }
        encoded
    }

    pub(super) fn push(&mut self, id: Option<u32>, learn: bool) {
        self.ids.extend(id);
        self.learn.resize(self.ids.len(), learn);
    }

    /// How many tokens are marked. An example without any teaches nothing.
    pub fn n_learn(&self) -> usize {
        self.learn.iter().filter(|&&learn| learn).count()
    }

    /// Cuts a text of more than `limit` tokens at one end, and says what was lost.
    pub fn truncate(&mut self, limit: usize, side: Side) -> Option<Cut> {
        let tokens = self.ids.len().checked_sub(limit).filter(|&tokens| tokens > 0)?;
        let lost = match side {
            Side::Start => 0..tokens,
            Side::End => limit..self.ids.len(),
        };
        self.ids.drain(lost.clone());
        let learn = self.learn.drain(lost).filter(|&learn| learn).count();
        Some(Cut { side, tokens, learn })
    }

    /// Each token as it looks in a text, with its mark: what a page colours.
    pub fn show_mask(&self, tokenizer: &Tokenizer) -> Vec<(String, bool)> {
        self.ids.iter().map(|&id| tokenizer.token_text(id)).zip(self.learn.iter().copied()).collect()
    }
}

impl Tokenizer {
    /// The ids of a part of a text. `is_inside` says that there is text before it: tokenizers that put a space before a
    /// text (Llama 2, T5) shall not put one before every part, so such a part is encoded after a line break, whose ids
    /// are then taken away.
    fn encode_part(&self, text: &str, with_special: bool, is_inside: bool) -> Vec<u32> {
        let encode = |text: &str| match with_special {
            true => self.encode_with_special(text),
            false => self.encode(text),
        };
        if is_inside && self.kind().is_none() {
            let before = encode("\n");
            if let Some(ids) = encode(&format!("\n{text}")).strip_prefix(&before[..])
                && !before.is_empty()
            {
                return ids.to_vec();
            }
        }
        encode(text)
    }
}
