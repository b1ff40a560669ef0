//! What stages after pre-training learn from: texts as tokens, with a mark on those that the model shall learn to say.
//!
//! Whoever has a tokenizer makes them, and rendering a conversation decides about the marks: usually the assistant's
//! tokens, and the one that ends its turn.

use cloche_nn::loss::IGNORE_INDEX;
use cloche_tensor::rng::{Rng, stream_id};
use sha2::{Digest, Sha256};

use crate::checkpoint::hex;

/// A text and what to learn of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The tokens.
    pub ids: Vec<u32>,
    /// Of each token: whether it is to be learnt. The first one never can be, for nothing comes before it.
    pub learn: Vec<bool>,
}

/// Two answers to one prompt, of which the first is preferred. The prompt is in both, unmarked.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The better one.
    pub chosen: Example,
    /// The other one.
    pub rejected: Example,
}

/// Answers to one prompt, best first. The prompt is in all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    /// Two or more, which imply a comparison of each with each that follows it.
    pub answers: Vec<Example>,
}

/// Something to be answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// The tokens.
    pub ids: Vec<u32>,
    /// Which question it is, for whoever verifies the answer.
    pub index: usize,
}

/// Examples that no model can learn from.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ExampleError {
    /// There are none.
    #[error("no {0}: expected at least one")]
    None(&'static str),
    /// One of them cannot be read by the model.
    #[error("{kind} {index}: found {found}, expected {expected}")]
    Unfit {
        /// What it is: an example, a pair, a prompt.
        kind: &'static str,
        /// Which one, counted from 0.
        index: usize,
        /// What is wrong with it.
        found: String,
        /// What it should be.
        expected: String,
    },
}

impl From<Pair> for Ranking {
    fn from(pair: Pair) -> Ranking {
        Ranking { answers: vec![pair.chosen, pair.rejected] }
    }
}

impl Example {
    /// How many of its tokens are learnt.
    pub fn n_targets(&self) -> usize {
        self.learn.iter().skip(1).filter(|&&learn| learn).count()
    }

    /// What keeps a model from learning it: what was found, and what was expected.
    fn fault(&self, vocab_size: usize, context_len: usize) -> Option<(String, String)> {
        let tokens = self.ids.len();
        if let Some(fault) = unknown(&self.ids, vocab_size) {
            return Some(fault);
        }
        // The last token is only predicted, never read.
        if tokens > context_len + 1 {
            return Some((format!("{tokens} tokens"), format!("at most {}", context_len + 1)));
        }
        (self.n_targets() == 0).then(|| ("no token to learn".into(), "at least one".into()))
    }
}

/// Requires that a model can learn from all examples.
///
/// # Errors
/// No example; the first one that is too long, has an unknown token, or nothing to learn.
pub fn check_examples(
    examples: &[Example],
    vocab_size: usize,
    context_len: usize,
) -> Result<(), ExampleError> {
    check("example", examples, |example| example.fault(vocab_size, context_len))
}

/// Requires that a model can learn from all pairs.
///
/// # Errors
/// As [`check_examples`], and answers that do not differ.
pub fn check_pairs(pairs: &[Pair], vocab_size: usize, context_len: usize) -> Result<(), ExampleError> {
    check("pair", pairs, |pair| {
        let equal = || ("a chosen answer equal to the rejected one".into(), "two answers".into());
        let faults = [&pair.chosen, &pair.rejected].map(|example| example.fault(vocab_size, context_len));
        faults.into_iter().flatten().next().or_else(|| (pair.chosen == pair.rejected).then(equal))
    })
}

/// Requires that a model can judge all rankings. What is marked does not matter.
///
/// # Errors
/// No ranking; the first one with fewer than two answers, with equal ones, or with one that is empty, too long or has an
/// unknown token.
pub fn check_rankings(
    rankings: &[Ranking],
    vocab_size: usize,
    context_len: usize,
) -> Result<(), ExampleError> {
    check("ranking", rankings, |Ranking { answers }| {
        if answers.len() < 2 {
            return Some((format!("{} answers", answers.len()), "at least 2".into()));
        }
        let same = |i: usize| answers[..i].iter().any(|other| other.ids == answers[i].ids);
        if let Some(i) = (1..answers.len()).find(|&i| same(i)) {
            return Some((format!("answer {i} equal to a better one"), "answers that differ".into()));
        }
        answers.iter().find_map(|answer| text_fault(&answer.ids, vocab_size, context_len))
    })
}

/// Requires that a model can read all texts.
///
/// # Errors
/// The first one that is empty, longer than `most` tokens or has an unknown token.
pub fn check_texts(texts: &[&[u32]], vocab_size: usize, most: usize) -> Result<(), ExampleError> {
    check("text", texts, |ids| text_fault(ids, vocab_size, most))
}

/// Requires that a model can answer all prompts with at least one token.
///
/// # Errors
/// No prompt; the first one that is empty, too long or has an unknown token.
pub fn check_prompts(prompts: &[Prompt], vocab_size: usize, context_len: usize) -> Result<(), ExampleError> {
    check("prompt", prompts, |prompt| text_fault(&prompt.ids, vocab_size, context_len - 1))
}

/// What keeps a model from reading a text of at most so many tokens.
fn text_fault(ids: &[u32], vocab_size: usize, most: usize) -> Option<(String, String)> {
    let fits = (1..=most).contains(&ids.len());
    unknown(ids, vocab_size)
        .or_else(|| (!fits).then(|| (format!("{} tokens", ids.len()), format!("1 to {most}"))))
}

fn unknown(ids: &[u32], vocab_size: usize) -> Option<(String, String)> {
    let id = ids.iter().find(|&&id| id as usize >= vocab_size)?;
    Some((format!("token {id}"), format!("ids below {vocab_size}, the model's vocabulary")))
}

fn check<T>(
    kind: &'static str,
    items: &[T],
    fault: impl Fn(&T) -> Option<(String, String)>,
) -> Result<(), ExampleError> {
    if items.is_empty() {
        return Err(ExampleError::None(kind));
    }
    match items.iter().enumerate().find_map(|(index, item)| Some((index, fault(item)?))) {
        Some((index, (found, expected))) => Err(ExampleError::Unfit { kind, index, found, expected }),
        None => Ok(()),
    }
}

/// Rows of equal width, as programs read them: what is right of an example is hidden from it by causality, and does not
/// count.
pub(crate) struct Rows {
    /// Tokens that are read, `(B, T)`.
    pub x: Vec<u32>,
    /// The token after each, [`IGNORE_INDEX`] where it is not learnt, `(B, T)`.
    pub y: Vec<u32>,
    /// `T`.
    pub width: usize,
}

impl Rows {
    pub fn new(rows: usize, width: usize) -> Rows {
        Rows { x: vec![0; rows * width], y: vec![IGNORE_INDEX; rows * width], width }
    }

    /// The least width that every example fits into: a multiple of 8, or `context_len`.
    pub fn width_of<'a>(examples: impl Iterator<Item = &'a Example>, context_len: usize) -> usize {
        let longest = examples.map(|example| example.ids.len().saturating_sub(1)).max().unwrap_or(1);
        longest.max(1).next_multiple_of(8).min(context_len)
    }

    /// Fills row after row, and empties those that are left. Returns how many targets there are.
    pub fn fill<'a>(&mut self, examples: impl Iterator<Item = &'a Example>) -> usize {
        self.clear();
        let rows = self.x.len() / self.width;
        examples.take(rows).enumerate().map(|(row, example)| self.put(row, 0, example)).sum()
    }

    /// Empties all rows.
    pub fn clear(&mut self) {
        self.x.fill(0);
        self.y.fill(IGNORE_INDEX);
    }

    /// Puts an example into a row, from a column on. Returns how many targets it has.
    pub fn put(&mut self, row: usize, column: usize, example: &Example) -> usize {
        let places = row * self.width + column..(row + 1) * self.width;
        let (x, y) = (&mut self.x[places.clone()], &mut self.y[places]);
        let pairs = example.ids.windows(2).zip(&example.learn[1..]);
        for ((ids, &learn), (x, y)) in pairs.zip(x.iter_mut().zip(y)) {
            *x = ids[0];
            *y = if learn { ids[1] } else { IGNORE_INDEX };
        }
        example.n_targets()
    }
}

/// The order in which a stage takes its examples: a shuffled deck, shuffled anew each time it is through.
///
/// Which card comes as number `n` is a function of the seed and of `n`, so there is no cursor to save.
pub(crate) struct Deck {
    seed: u64,
    epoch: u64,
    order: Vec<u32>,
}

impl Deck {
    pub fn new(cards: usize, seed: u64) -> Deck {
        let mut deck = Deck { seed, epoch: 0, order: vec![0; cards] };
        deck.shuffle(0);
        deck
    }

    /// Card number `n`.
    pub fn card(&mut self, n: u64) -> usize {
        let cards = self.order.len() as u64;
        if n / cards != self.epoch {
            self.shuffle(n / cards);
        }
        self.order[(n % cards) as usize] as usize
    }

    /// Cards `step·size` to `(step + 1)·size`, where the first step is 0.
    pub fn hand(&mut self, step: u64, size: usize) -> Vec<usize> {
        (step * size as u64..(step + 1) * size as u64).map(|n| self.card(n)).collect()
    }

    /// Fisher and Yates 1938, in the form of Durstenfeld 1964, <https://doi.org/10.1145/364520.364540>.
    fn shuffle(&mut self, epoch: u64) {
        self.epoch = epoch;
        (0..).zip(&mut self.order).for_each(|(i, card)| *card = i);
        let mut rng = Rng::new(self.seed ^ stream_id("deck"), epoch);
        for i in (1..self.order.len()).rev() {
            self.order.swap(i, rng.below(i as u64 + 1) as usize);
        }
    }
}

/// What tells one set of examples from another, for checkpoints: the SHA-256 of all tokens and marks.
pub(crate) fn fingerprint<'a>(examples: impl Iterator<Item = &'a Example>) -> String {
    let mut hash = Sha256::new();
    for example in examples {
        hash.update((example.ids.len() as u64).to_le_bytes());
        for (id, &learn) in example.ids.iter().zip(&example.learn) {
            hash.update(((*id as u64) << 1 | learn as u64).to_le_bytes());
        }
    }
    hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(ids: &[u32], from: usize) -> Example {
        Example { ids: ids.to_vec(), learn: (0..ids.len()).map(|t| t >= from).collect() }
    }

    #[test]
    fn rows_predict_marked_tokens_only() {
        let mut rows = Rows::new(3, 4);
        let n = rows.fill([example(&[5, 6, 7, 8], 2), example(&[1, 2], 0)].iter());
        assert_eq!(n, 3);
        assert_eq!(rows.x, [5, 6, 7, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        let i = IGNORE_INDEX;
        assert_eq!(rows.y, [i, 7, 8, i, 2, i, i, i, i, i, i, i]);
        assert_eq!(Rows::width_of([example(&[0; 12], 1)].iter(), 64), 16);
        assert_eq!(Rows::width_of([example(&[0; 65], 1)].iter(), 64), 64);
    }

    #[test]
    fn a_deck_deals_each_card_once_an_epoch() {
        let mut deck = Deck::new(10, 7);
        let epochs: Vec<Vec<usize>> = (0..3).map(|epoch| deck.hand(epoch, 10)).collect();
        for epoch in &epochs {
            let mut sorted = epoch.clone();
            sorted.sort();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(epochs[0], epochs[1]);
        // Out of order, as after resuming.
        assert_eq!(Deck::new(10, 7).hand(2, 10), epochs[2]);
    }

    #[test]
    fn what_cannot_be_learnt_is_named() {
        let message = |e: Result<(), ExampleError>| e.unwrap_err().to_string();
        assert_eq!(message(check_examples(&[], 9, 4)), "no example: expected at least one");
        let good = example(&[1, 2, 3, 4, 5], 1);
        check_examples(std::slice::from_ref(&good), 9, 4).unwrap();
        let long = message(check_examples(&[good.clone(), example(&[1; 6], 1)], 9, 4));
        assert_eq!(long, "example 1: found 6 tokens, expected at most 5");
        let unknown = message(check_examples(&[example(&[1, 9], 1)], 9, 4));
        assert_eq!(unknown, "example 0: found token 9, expected ids below 9, the model's vocabulary");
        let unmarked = message(check_examples(&[example(&[1, 2], 2)], 9, 4));
        assert_eq!(unmarked, "example 0: found no token to learn, expected at least one");
        let same = Pair { chosen: good.clone(), rejected: good };
        assert!(message(check_pairs(&[same], 9, 4)).contains("equal to the rejected one"));
        let ranking =
            |sizes: &[usize]| Ranking { answers: sizes.iter().map(|&n| example(&vec![1; n], n)).collect() };
        let refused = |sizes: &[usize]| message(check_rankings(&[ranking(&[4, 3, 2]), ranking(sizes)], 9, 4));
        assert_eq!(refused(&[3]), "ranking 1: found 1 answers, expected at least 2");
        assert_eq!(
            refused(&[2, 3, 2]),
            "ranking 1: found answer 2 equal to a better one, expected answers that differ"
        );
        assert_eq!(refused(&[2, 5]), "ranking 1: found 5 tokens, expected 1 to 4");
        let prompt = Prompt { ids: vec![1; 4], index: 0 };
        assert_eq!(message(check_prompts(&[prompt], 9, 4)), "prompt 0: found 4 tokens, expected 1 to 3");
    }
}
