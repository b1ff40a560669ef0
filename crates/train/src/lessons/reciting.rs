//! Lessons that change a text, go on with it, or count and compare what is in it.

use cloche_tensor::rng::Rng;

use super::scene::{Scene, say_new, telling};
use super::{LessonKind, Truth};

/// The same in other words.
pub(super) const REWRITE: LessonKind = LessonKind {
    name: "rewrite",
    description: "Say the same about somebody else, in one sentence, in two, or the other way round.",
    draw: |rng| {
        let scene = Scene::tell(rng, 1, 2);
        let (name, pronoun) = scene.person(0);
        let other = say_new(&mut telling(rng), "person", &scene.passage);
        let said = scene.predicates(0);
        let (a, b) = (&said[0], &said[1]);
        let together = format!("{name} {a} and {b}.");
        let apart = format!("{name} {a}. {pronoun} {b}.");
        let (question, answer) = match rng.below(4) {
            0 => (format!("Say it of {other}: {together}"), format!("{other} {a} and {b}.")),
            1 => (format!("Make it one sentence: {apart}"), together),
            2 => (format!("Make it two sentences: {together}"), apart),
            _ => (format!("Turn it round: {together}"), format!("{name} {b} and {a}.")),
        };
        let truth = Truth::new([&answer]);
        (vec![question, answer], truth)
    },
};

/// What comes next.
pub(super) const CONTINUE: LessonKind = LessonKind {
    name: "continue",
    description: "Go on with what somebody did from day to day.",
    draw: |rng| recite(rng, "continue"),
};

/// How many.
pub(super) const COUNT: LessonKind = LessonKind {
    name: "count",
    description: "Count things, after some were given or taken as well.",
    draw: |rng| recite(rng, "count"),
};

/// Which of two.
pub(super) const COMPARE: LessonKind = LessonKind {
    name: "compare",
    description: "Say who has more or fewer, who is older or younger.",
    draw: |rng| recite(rng, "compare"),
};

/// A lesson that the grammar tells as a whole, one turn on each line.
fn recite(rng: &mut Rng, rule: &str) -> (Vec<String>, Truth) {
    let turns: Vec<String> = telling(rng).say_rule(rule).lines().map(str::to_owned).collect();
    let truth = Truth::new([&turns[turns.len() - 1]]);
    (turns, truth)
}
