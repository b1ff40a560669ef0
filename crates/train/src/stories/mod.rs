//! The embedded default corpus: small English stories, told by a grammar of our own, without end.
//!
//! The stories are about people who lose, want, count, build, learn and find things. Whoever is named stays named and
//! keeps the pronoun, sums are right, an owl hoots: there is something to learn at each scale, from spelling to
//! arithmetic. And because the grammar knows how likely each of its choices is, it knows the entropy of its own
//! language: the loss under which no model can go, which the loss chart draws as a floor.
//!
//! ```
//! use cloche_train::stories::{Stories, floor};
//! let stories = Stories::new(1337);
//! let story = stories.document(0);
//! assert_eq!(stories.document(0), story);
//! assert!(stories.log_prob(&story.text).is_some());
//! // With a tokenizer of one token per byte and one that ends the text:
//! let nats_per_token = floor([(&story, story.text.len() + 1)]);
//! assert!(nats_per_token > 0.05 && nats_per_token < 0.5);
//! ```

use std::sync::LazyLock;

use cloche_tensor::rng::{Rng, stream_id};

pub(crate) use grammar::Grammar;
pub(crate) use telling::{Guide, Telling};

mod grammar;
mod telling;
#[cfg(test)]
mod tests;
mod words;

/// Documents from this index on are for validation; training never gets here.
pub const VALIDATION_START: u64 = 1 << 40;

/// All stories of one seed. A story is reached by its index, in any order, and costs some tens of microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Stories {
    seed: u64,
}

/// A text and how likely it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Story {
    /// Plain ASCII; paragraphs end in one newline, the last one in none.
    pub text: String,
    /// The natural logarithm of the probability that the grammar gives to exactly this text.
    ///
    /// # Units
    ///
    /// Nats; negative.
    pub log_prob: f64,
}

impl Stories {
    /// The stories of a seed.
    pub fn new(seed: u64) -> Stories {
        Stories { seed }
    }

    /// Story number `index`.
    pub fn document(&self, index: u64) -> Story {
        let rng = Rng::new(self.seed ^ stream_id("stories"), index);
        let told = Telling::tell(&GRAMMAR, Guide::Dice(rng)).expect("chance always finds a way");
        Story { text: told.text, log_prob: told.log_prob }
    }

    /// The stories from number `first` on, without end.
    pub fn documents(&self, first: u64) -> impl Iterator<Item = Story> + use<> {
        let stories = *self;
        (first..).map(move |index| stories.document(index))
    }

    /// The stories to train on.
    pub fn train(&self) -> impl Iterator<Item = Story> + use<> {
        self.documents(0)
    }

    /// The stories to validate with: none of their indices occurs in training.
    pub fn validation(&self) -> impl Iterator<Item = Story> + use<> {
        self.documents(VALIDATION_START)
    }

    /// The log-probability of any text under the grammar, in nats; `None` where the grammar cannot tell it.
    ///
    /// It reads the text along the grammar and draws nothing, so it does not depend on the seed. A lab can ask it
    /// whether a sample of a model has become a correct story.
    pub fn log_prob(&self, text: &str) -> Option<f64> {
        Some(Telling::tell(&GRAMMAR, Guide::Text(text))?.log_prob)
    }
}

/// The entropy floor of documents in nats per token: `−Σ log_prob / Σ tokens`.
///
/// It is the mean loss of a reader who knows the grammar itself, so no model comes below it on enough documents. Each
/// document is given with its number of tokens, the end-of-text token included: no story is the beginning of another,
/// so whoever knows the grammar sees that a story is complete, and that token costs nothing. Two things keep a real
/// model above the floor: a window that begins in the middle of a story hides what came before, and a text may be
/// split into tokens in more than one way, of which the tokenizer only ever takes one.
///
/// # Units
///
/// Nats per token. 0 for no documents.
///
/// # Example
///
/// ```
/// use cloche_train::stories::{Story, floor};
/// let story = |log_prob| Story { text: String::new(), log_prob };
/// assert_eq!(floor([(&story(-120.0), 400), (&story(-80.0), 600)]), 0.2);
/// ```
pub fn floor<'a>(documents: impl IntoIterator<Item = (&'a Story, usize)>) -> f64 {
    let (mut nats, mut tokens) = (0.0, 0);
    for (story, count) in documents {
        nats -= story.log_prob;
        tokens += count;
    }
    if tokens == 0 { 0.0 } else { nats / tokens as f64 }
}

/// The grammar, read once, when the first story is asked for.
static GRAMMAR: LazyLock<Grammar> = LazyLock::new(|| Grammar::read(&FILES));

/// The words of the stories' world, in the grammar's notation.
pub(crate) const WORDS: &str = include_str!("grammar/words.txt");

/// The grammar's text: the words, what all stories share, then one file for each shape of story.
const FILES: [&str; 12] = [
    WORDS,
    include_str!("grammar/frame.txt"),
    include_str!("grammar/lost.txt"),
    include_str!("grammar/wish.txt"),
    include_str!("grammar/help.txt"),
    include_str!("grammar/contest.txt"),
    include_str!("grammar/market.txt"),
    include_str!("grammar/mystery.txt"),
    include_str!("grammar/journey.txt"),
    include_str!("grammar/skill.txt"),
    include_str!("grammar/animal.txt"),
    include_str!("grammar/gift.txt"),
];
