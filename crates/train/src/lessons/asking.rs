//! Lessons that ask about a scene: what is told, who did it, what is not told, and conversations about it.

use cloche_tensor::rng::Rng;

use super::scene::{FACTS as FACT_NAMES, Query, Scene, say_new, telling};
use super::{LessonKind, Truth};

/// Where, what, which, and by whom.
pub(super) const FACTS: LessonKind = LessonKind {
    name: "facts",
    description: "Say where somebody lived, what somebody wanted, who helped.",
    draw: |rng| {
        let (passage, query) = ask(rng, true);
        ask_plainly(&passage, query)
    },
};

/// Who it was.
pub(super) const WHO: LessonKind = LessonKind {
    name: "who",
    description: "Say of whom something is told.",
    draw: |rng| {
        let (passage, query) = ask(rng, true);
        ask_who(&passage, query)
    },
};

/// The passage does not tell.
pub(super) const UNKNOWN: LessonKind = LessonKind {
    name: "unknown",
    description: "Say that you do not know where the text does not tell.",
    draw: |rng| {
        let (passage, query) = ask(rng, false);
        if rng.below(2) == 0 { ask_plainly(&passage, query) } else { ask_who(&passage, query) }
    },
};

/// The system's message says how to answer.
pub(super) const STYLE: LessonKind = LessonKind {
    name: "style",
    description: "Answer briefly or in a sentence, as the system's message says.",
    draw: |rng| {
        let told = rng.below(4) > 0;
        let (passage, query) = ask(rng, told);
        let (system, answer, other) = match rng.below(2) {
            0 => ("Answer briefly.", query.answer, query.sentence),
            _ => ("Answer in a sentence.", query.sentence, query.answer),
        };
        let truth = Truth::new([&answer, &other]);
        (vec![system.to_owned(), format!("{passage} {}", query.ask), answer], truth)
    },
};

/// Several turns: who greets is remembered, a pronoun stands for whom the question before named.
pub(super) const CHAT: LessonKind = LessonKind {
    name: "chat",
    description: "Greet, answer a question and the one that follows from it, and take thanks.",
    draw: |rng| {
        let scene = Scene::tell(rng, 1, 2);
        let (person, fact) = scene.choose(rng, true);
        let first = scene.query(person, fact);
        let next = (fact + 1 + rng.below(FACT_NAMES.len() as u64 - 1) as usize) % FACT_NAMES.len();
        // One time in two the other fact that is told, else any other fact, which mostly is not.
        let next = match rng.below(2) {
            0 => *scene.told(person).iter().find(|&&told| told != fact).expect("two facts are told"),
            _ => next,
        };
        let next = scene.query(person, next);
        let visitor = say_new(&mut telling(rng), "person", &scene.passage);

        let greeting = [format!("Hello, I am {visitor}."), format!("Hello, {visitor}.")];
        let question = [format!("{} {}", scene.passage, first.ask), first.answer];
        let following = [next.more, next.answer];
        let also = next.sentence;
        let thanks = |answer: String| ["Thank you.".to_owned(), answer];
        let turns = match rng.below(3) {
            0 => [greeting, question, following].concat(),
            1 => [greeting, question, thanks(format!("You are welcome, {visitor}."))].concat(),
            _ => [question, following, thanks("You are welcome.".to_owned())].concat(),
        };
        let answer = turns[turns.len() - 1].clone();
        // The whole sentence is right as well, where it is what the last turn asks for.
        let sentence_fits = turns[turns.len() - 2].starts_with("And");
        let truth = Truth::new([&answer, if sentence_fits { &also } else { &answer }]);
        (turns, truth)
    },
};

/// A scene of one fact or two, about one person or two, and a question that it answers, or does not.
pub(super) fn ask(rng: &mut Rng, told: bool) -> (String, Query) {
    let (people, facts) = *rng.choose(&[(1, 1), (1, 2), (2, 1)]);
    let scene = Scene::tell(rng, people, facts);
    let (person, fact) = scene.choose(rng, told);
    let query = scene.query(person, fact);
    (scene.passage, query)
}

fn ask_plainly(passage: &str, query: Query) -> (Vec<String>, Truth) {
    let truth = Truth::new([&query.answer, &query.sentence]);
    (vec![format!("{passage} {}", query.ask), query.answer], truth)
}

fn ask_who(passage: &str, query: Query) -> (Vec<String>, Truth) {
    let (question, name) = query.who;
    let truth = Truth::new([&name, &query.sentence]);
    (vec![format!("{passage} {question}"), name], truth)
}
