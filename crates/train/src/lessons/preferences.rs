//! Comparisons: two answers to one question, of which the truth says which is better, and why.

use cloche_tensor::rng::Rng;

use super::asking::ask;
use super::scene::Query;
use super::truth::{COURTESIES, DONT_KNOW, EVASIONS, RUDENESSES};
use super::{Lesson, Role, Truth, side};
use crate::split::Split;

/// All kinds of comparisons.
pub const PREFERENCES: &[PreferenceKind] = &[HELPFUL, HONEST, POLITE];

/// A reason to prefer one answer to another.
#[derive(Clone, Copy, Debug)]
pub struct PreferenceKind {
    /// What a report calls it.
    pub name: &'static str,
    /// What is preferred to what, in one sentence.
    pub description: &'static str,
    /// How often the passage tells what is asked, of four times.
    told: u64,
    /// The better and the worse answer to a question.
    compare: fn(&mut Rng, &Query) -> (String, String),
}

/// An answer rather than none.
const HELPFUL: PreferenceKind = PreferenceKind {
    name: "helpful",
    description: "An answer is preferred to an evasion, and to not knowing what the text tells.",
    told: 4,
    compare: |rng, query| {
        let evasion = if rng.below(2) == 0 { DONT_KNOW } else { rng.choose(&EVASIONS) };
        (query.answer.clone(), evasion.to_owned())
    },
};

/// The truth rather than an invention.
const HONEST: PreferenceKind = PreferenceKind {
    name: "honest",
    description: "What the text tells, or that it does not tell, is preferred to what nobody told.",
    told: 2,
    compare: |_, query| (query.answer.clone(), query.lie.clone()),
};

/// The kinder tone.
const POLITE: PreferenceKind = PreferenceKind {
    name: "polite",
    description: "Of two right answers, the politer one is preferred.",
    told: 3,
    compare: |rng, query| {
        let answer = &query.answer;
        let polite = format!("{answer} {}", rng.choose(&COURTESIES));
        let rude = format!("{answer} {}", rng.choose(&RUDENESSES));
        match rng.below(4) {
            0 => (polite, answer.clone()),
            1 => (answer.clone(), rude),
            _ => (polite, rude),
        }
    },
};

/// A question and two answers to it. The truth judges the chosen one to be better, by half a point at least.
#[derive(Clone, Debug, PartialEq)]
pub struct Preference {
    /// The name of its kind.
    pub kind: &'static str,
    /// The conversation up to the answer.
    pub prompt: Vec<(Role, String)>,
    /// The better answer.
    pub chosen: String,
    /// The worse one.
    pub rejected: String,
    /// What is known about the answer.
    pub truth: Truth,
}

impl Preference {
    /// Comparison number `index` of a seed, on one side of the [`Split`]. The kinds of [`PREFERENCES`] take turns where they
    /// are held out. To train on, every other one is honest, mostly about what the passage tells: these alone make a judge
    /// read it, and that takes the most examples to learn.
    pub fn new(seed: u64, split: Split, index: u64) -> Preference {
        const TOLD: PreferenceKind = PreferenceKind { told: 3, ..HONEST };
        let turns = match split {
            Split::Train => &[HELPFUL, TOLD, POLITE, TOLD],
            Split::HeldOut => PREFERENCES,
        };
        turns[(index % turns.len() as u64) as usize].preference(seed, split, index)
    }

    /// Judges any answer to the prompt; see [`Truth::judge`].
    pub fn judge(&self, answer: &str) -> f32 {
        self.truth.judge(answer)
    }
}

impl PreferenceKind {
    /// Comparison number `index` of this kind.
    pub fn preference(&self, seed: u64, split: Split, index: u64) -> Preference {
        let draw = |mut rng| self.draw(&mut rng);
        split.draw(self.name, seed, index, draw, |preference| side(&preference.prompt))
    }

    fn draw(&self, rng: &mut Rng) -> Preference {
        let told = rng.below(4) < self.told;
        let (passage, query) = ask(rng, told);
        let (chosen, rejected) = (self.compare)(rng, &query);
        Preference {
            kind: self.name,
            prompt: vec![(Role::User, format!("{passage} {}", query.please))],
            chosen,
            rejected,
            truth: Truth::new([&query.answer, &query.sentence]),
        }
    }
}

impl Lesson {
    /// A demonstration by somebody who answers well or badly, politely or not: half of these lessons show the better
    /// answer of a comparison, half the worse one.
    ///
    /// A model that imitates all of them is what preferences can improve, because it says each of the answers now and
    /// then. Its questions are asked as those of [`Preference`], and the two have no prompt's draw in common; exact match
    /// means nothing here, the [judgement](Lesson::judge) does.
    pub fn of_mixed_manners(seed: u64, split: Split, index: u64) -> Lesson {
        let kind = &PREFERENCES[(index % PREFERENCES.len() as u64) as usize];
        let draw = |mut rng: Rng| {
            let Preference { prompt, chosen, rejected, truth, .. } = kind.draw(&mut rng);
            let answer = if rng.below(2) == 0 { chosen } else { rejected };
            let messages = prompt.into_iter().chain([(Role::Assistant, answer)]).collect();
            Lesson { kind: "manners", messages, truth }
        };
        split.draw("manners", seed, index, draw, |lesson| side(lesson.prompt()))
    }
}
