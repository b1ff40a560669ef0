//! Tasks whose answers a program can check: what models learn from verifiable rewards, and are measured with.
//!
//! A task is a file of this folder and a row of [`TASKS`]. It draws questions without end, knows the right answer of
//! each, shows how one answers, and judges whatever a model says. Prompts are short and regular, and letters and digits
//! that matter stand apart, so that models of a few hundred thousand parameters can learn them, on characters as well
//! as on the tokens of a small vocabulary.
//!
//! ```
//! use cloche_train::split::Split;
//! use cloche_train::tasks::task;
//! let addition = task("addition").unwrap();
//! let item = addition.item(1337, Split::Train, 0, 2);
//! assert_eq!(item.prompt.len(), 6); // such as "12+39="
//! let verdict = addition.verify(&item, &item.answer);
//! assert!(verdict.correct && verdict.reward == 1.0);
//! assert_eq!(addition.verify(&item, "I have no idea").reward, 0.0);
//! ```

use cloche_tensor::rng::Rng;

use crate::split::Split;

mod addition;
mod brackets;
mod copy;
mod format;
mod game24;
mod letters;
mod reverse;
mod sort;
mod stories_qa;
#[cfg(test)]
mod tests;

/// All tasks, the easiest first.
pub const TASKS: &[Task] = &[
    copy::TASK,
    reverse::TASK,
    sort::TASK,
    brackets::TASK,
    letters::TASK,
    addition::TASK,
    format::TASK,
    stories_qa::TASK,
    game24::TASK,
];

/// A kind of question, and who checks the answers.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// What a command line calls it.
    pub name: &'static str,
    /// What is to be done, in one sentence.
    pub description: &'static str,
    /// The highest difficulty; the lowest is 1.
    pub hardest: u32,
    draw: fn(&mut Rng, u32) -> Item,
    demonstrate: fn(&Item) -> String,
    grade: fn(&Item, &str) -> Verdict,
}

/// A question and its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// What the model reads.
    pub prompt: String,
    /// The right answer, or one of them.
    pub answer: String,
}

/// What a verifier says about an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// 1 for the best possible answer; the task says what other rewards there are.
    pub reward: f32,
    /// Whether it counts as solved.
    pub correct: bool,
}

/// Longer answers are not read: to the verifier they are empty ones.
pub const MAX_ANSWER_BYTES: usize = 1024;

/// The task of a name.
pub fn task(name: &str) -> Option<&'static Task> {
    TASKS.iter().find(|task| task.name == name)
}

impl Task {
    /// Item number `index` of a seed, on one side of the [`Split`]. A difficulty outside 1 to `hardest` is taken for
    /// the nearest within.
    pub fn item(&self, seed: u64, split: Split, index: u64, difficulty: u32) -> Item {
        let difficulty = difficulty.clamp(1, self.hardest);
        let draw = |mut rng| (self.draw)(&mut rng, difficulty);
        split.draw(self.name, seed, index, draw, |item| Split::of(&item.prompt))
    }

    /// An answer as one should give it, to warm a model up with before it is rewarded.
    pub fn demonstration(&self, item: &Item) -> String {
        (self.demonstrate)(item)
    }

    /// Judges an answer: any text, which may come from anywhere. White space around it does not count.
    pub fn verify(&self, item: &Item, answer: &str) -> Verdict {
        let answer = if answer.len() > MAX_ANSWER_BYTES { "" } else { answer };
        (self.grade)(item, answer.trim_ascii())
    }
}

impl Verdict {
    /// Reward 1 for a solved item, 0 for any other.
    fn solved(correct: bool) -> Verdict {
        Verdict { reward: correct as u8 as f32, correct }
    }
}

/// The grade of tasks with a single right answer.
fn exact(item: &Item, answer: &str) -> Verdict {
    Verdict::solved(answer == item.answer)
}

/// The demonstration of tasks whose answer needs no more words.
fn plainly(item: &Item) -> String {
    item.answer.clone()
}

/// Between 3 and `difficulty + 2` symbols of `alphabet`.
fn symbols(rng: &mut Rng, difficulty: u32, alphabet: &[u8]) -> Vec<char> {
    let count = 3 + rng.below(difficulty as u64);
    (0..count).map(|_| *rng.choose(alphabet) as char).collect()
}

/// The symbols with a space between any two, so that no tokenizer joins them.
fn apart(symbols: &[char]) -> String {
    let mut text = String::with_capacity(2 * symbols.len());
    for (i, symbol) in symbols.iter().enumerate() {
        if i > 0 {
            text.push(' ');
        }
        text.push(*symbol);
    }
    text
}

/// The letters that copy and reverse deal in.
const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
