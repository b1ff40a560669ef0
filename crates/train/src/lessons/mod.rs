//! Embedded demonstrations and comparisons: short conversations about the people of the stories' world, whose right
//! answers are known.
//!
//! A [`Lesson`] shows what to answer, so that a model can be fine-tuned on it; a [`Preference`] compares two answers, for
//! reward models and DPO. Both know the [`Truth`] and judge any other answer, so exact match, the accuracy of a reward
//! model and the win rate of one model over another are computed and not estimated. A conversation has at most some
//! 200 letters: it fits into a context of 256 characters.
//!
//! ```
//! use cloche_train::lessons::{Lesson, Role};
//! use cloche_train::split::Split;
//! let lesson = Lesson::new(1337, Split::Train, 0);
//! assert_eq!(lesson.messages.last().unwrap().0, Role::Assistant);
//! assert!(lesson.is_exact(lesson.answer()));
//! assert_eq!(lesson.judge(lesson.answer()), 1.0);
//! assert_eq!(lesson.judge("No idea, and stop asking!"), -1.0);
//! ```

use cloche_tensor::rng::Rng;

use crate::split::Split;

pub use preferences::{PREFERENCES, Preference, PreferenceKind};
pub use truth::{COURTESIES, DONT_KNOW, EVASIONS, RUDENESSES, Truth};

mod asking;
mod preferences;
mod reciting;
pub(crate) mod scene;
#[cfg(test)]
mod tests;
mod truth;

/// All kinds of lessons.
pub const LESSONS: &[LessonKind] = &[
    asking::FACTS,
    asking::WHO,
    asking::UNKNOWN,
    asking::STYLE,
    asking::CHAT,
    reciting::REWRITE,
    reciting::CONTINUE,
    reciting::COUNT,
    reciting::COMPARE,
];

/// Something that lessons teach.
#[derive(Clone, Copy, Debug)]
pub struct LessonKind {
    /// What a report calls it.
    pub name: &'static str,
    /// What is taught, in one sentence.
    pub description: &'static str,
    /// Draws the turns of a conversation, from the user's first to the assistant's last, with the truth about the
    /// last. Where their number is odd, the first one is the system's.
    draw: fn(&mut Rng) -> (Vec<String>, Truth),
}

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Whoever set up the assistant.
    System,
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The name that chat templates and data sets use.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// A demonstration: a conversation that ends with what to answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesson {
    /// The name of its kind.
    pub kind: &'static str,
    /// The conversation; the last message is the assistant's, as are those before it that answer the user.
    pub messages: Vec<(Role, String)>,
    /// What is known about the last answer.
    pub truth: Truth,
}

impl Lesson {
    /// Lesson number `index` of a seed, on one side of the [`Split`]. The kinds of [`LESSONS`] take turns.
    pub fn new(seed: u64, split: Split, index: u64) -> Lesson {
        LESSONS[(index % LESSONS.len() as u64) as usize].lesson(seed, split, index / LESSONS.len() as u64)
    }

    /// The conversation up to the answer.
    pub fn prompt(&self) -> &[(Role, String)] {
        &self.messages[..self.messages.len() - 1]
    }

    /// The answer that the lesson shows.
    pub fn answer(&self) -> &str {
        &self.messages[self.messages.len() - 1].1
    }

    /// Judges any answer to the same prompt; see [`Truth::judge`].
    pub fn judge(&self, answer: &str) -> f32 {
        self.truth.judge(answer)
    }

    /// Whether an answer is the one that the lesson shows.
    pub fn is_exact(&self, answer: &str) -> bool {
        self.truth.is_exact(answer)
    }
}

impl LessonKind {
    /// Lesson number `index` of this kind.
    pub fn lesson(&self, seed: u64, split: Split, index: u64) -> Lesson {
        let draw = |mut rng| {
            let (turns, truth) = (self.draw)(&mut rng);
            Lesson { kind: self.name, messages: conversation(turns), truth }
        };
        split.draw(self.name, seed, index, draw, |lesson| side(lesson.prompt()))
    }
}

/// The side on which a conversation lies, by everything before the answer.
fn side(prompt: &[(Role, String)]) -> Split {
    let texts: Vec<&str> = prompt.iter().map(|(_, text)| &**text).collect();
    Split::of(&texts.join("\n"))
}

/// Gives the turns to those who say them.
fn conversation(turns: Vec<String>) -> Vec<(Role, String)> {
    let roles = [Role::User, Role::Assistant].into_iter().cycle();
    let system = (turns.len() % 2 == 1).then_some(Role::System);
    system.into_iter().chain(roles).zip(turns).collect()
}
