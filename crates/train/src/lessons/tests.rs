//! What holds for all lessons and comparisons.

use std::collections::{HashMap, HashSet};

use super::*;

fn text(messages: &[(Role, String)]) -> String {
    messages.iter().map(|(role, text)| format!("{}: {text}\n", role.name())).collect()
}

fn lessons(seed: u64, split: Split) -> impl Iterator<Item = Lesson> {
    (0..).map(move |index| Lesson::new(seed, split, index))
}

fn preferences(seed: u64, split: Split) -> impl Iterator<Item = Preference> {
    (0..).map(move |index| Preference::new(seed, split, index))
}

#[test]
fn kinds_have_names_of_their_own() {
    let rows = LESSONS.iter().map(|kind| (kind.name, kind.description));
    let rows: Vec<_> = rows.chain(PREFERENCES.iter().map(|kind| (kind.name, kind.description))).collect();
    assert_eq!(rows.iter().map(|row| row.0).collect::<HashSet<_>>().len(), rows.len());
    assert!(rows.iter().all(|row| row.1.ends_with('.')));
    let kinds: HashSet<&str> =
        lessons(1, Split::Train).take(LESSONS.len()).map(|lesson| lesson.kind).collect();
    assert_eq!(kinds.len(), LESSONS.len());
}

#[test]
fn a_conversation_goes_to_and_fro_and_ends_with_the_truth() {
    for lesson in lessons(3, Split::Train).take(3000).chain(lessons(3, Split::HeldOut).take(500)) {
        let turns = lesson.messages.iter().skip_while(|(role, _)| *role == Role::System);
        for (turn, (role, said)) in turns.enumerate() {
            assert_eq!(*role, [Role::User, Role::Assistant][turn % 2], "{lesson:?}");
            assert!(!said.is_empty() && said.trim() == said, "{lesson:?}");
        }
        assert_eq!(lesson.messages.last().map(|(role, _)| *role), Some(Role::Assistant));
        assert!(lesson.is_exact(lesson.answer()) && lesson.judge(lesson.answer()) == 1.0, "{lesson:?}");
        assert!(lesson.is_exact(&format!(" {}\n", lesson.answer())));
        for wrong in
            [&format!("{0} {0}", lesson.answer()), &*lesson.prompt().last().expect("a question").1, ""]
        {
            assert!(!lesson.is_exact(wrong) && lesson.judge(wrong) < 1.0, "{wrong:?} to {lesson:?}");
        }
    }
}

#[test]
fn what_is_said_is_short_and_plain() {
    let lessons = lessons(4, Split::Train).take(3000).map(|lesson| lesson.messages);
    let compared = preferences(4, Split::Train).take(1000).map(|preference| {
        let longer = [preference.chosen, preference.rejected].into_iter().max_by_key(String::len);
        [preference.prompt, vec![(Role::Assistant, longer.expect("two answers"))]].concat()
    });
    let mut longest = 0;
    for messages in lessons.chain(compared) {
        let letters: usize = messages.iter().map(|(_, said)| said.len()).sum();
        longest = longest.max(letters);
        for (_, said) in &messages {
            let found = ["  ", " .", " ,", "..", "{", "}", "/", " a a", " a e", " a i", " a o ", " one figs"];
            assert!(said.is_ascii() && !found.iter().any(|wrong| said.contains(wrong)), "{said}");
            assert!(
                said.ends_with(['.', '?']) && said.starts_with(|c: char| c.is_ascii_uppercase()),
                "{said}"
            );
        }
    }
    assert!((150..=210).contains(&longest), "{longest} letters");
}

#[test]
fn the_splits_have_nothing_in_common() {
    let of_lessons = |seed, split| -> HashSet<String> {
        lessons(seed, split).take(10_000).map(|lesson| text(lesson.prompt())).collect()
    };
    let of_preferences = |seed, split| -> HashSet<String> {
        preferences(seed, split).take(3000).map(|preference| text(&preference.prompt)).collect()
    };
    let of_manners: HashSet<String> =
        (0..10_000).map(|index| text(Lesson::of_mixed_manners(1, Split::Train, index).prompt())).collect();
    let compared = of_preferences(2, Split::HeldOut);
    assert!(of_manners.is_disjoint(&compared) && of_preferences(1, Split::Train).is_disjoint(&compared));
    let (train, held_out) = (of_lessons(1, Split::Train), of_lessons(2, Split::HeldOut));
    assert!(train.is_disjoint(&held_out));
    assert!(train.len() > 8500 && held_out.len() > 5000, "{} and {}", train.len(), held_out.len());
}

#[test]
fn no_answer_is_the_answer_to_everything() {
    let mut of_kind: HashMap<&str, HashMap<String, usize>> = HashMap::new();
    for lesson in lessons(5, Split::Train).take(9000) {
        *of_kind.entry(lesson.kind).or_default().entry(lesson.answer().to_owned()).or_default() += 1;
    }
    for (kind, answers) in of_kind {
        let (answer, count) = answers.into_iter().max_by_key(|(_, count)| *count).expect("answers");
        // The one thing to say where the text does not tell.
        let limit = if kind == "unknown" { 1000 } else { 350 };
        assert!(count <= limit, "{kind}: {answer:?} is the answer to {count} of 1000");
    }
}

#[test]
fn the_chosen_answer_is_the_better_one() {
    let mut first_letters = [0, 0];
    for preference in preferences(6, Split::Train).take(3000).chain(preferences(6, Split::HeldOut).take(500))
    {
        let (chosen, rejected) =
            (preference.judge(&preference.chosen), preference.judge(&preference.rejected));
        assert!(chosen >= rejected + 0.5 && chosen >= 1.0, "{preference:?}");
        assert!(matches!(&preference.prompt[..], [(Role::User, _)]), "{preference:?}");
        let difference = match preference.kind {
            "helpful" => chosen - rejected == 1.0,
            "honest" => chosen - rejected == 2.0,
            _ => preference.chosen.starts_with(&preference.truth.accepted[0]),
        };
        assert!(difference, "{preference:?}");
        first_letters[(preference.chosen.len() > preference.rejected.len()) as usize] += 1;
    }
    // Neither the longer answer nor the shorter one is always the better.
    assert!(first_letters[0] > 700 && first_letters[1] > 700, "{first_letters:?}");
}

/// The same words may be the better answer to one question and the worse one to another.
#[test]
fn not_to_know_is_sometimes_right() {
    let said = |answer: fn(&Preference) -> &str| {
        preferences(7, Split::Train).take(3000).filter(move |p| answer(p) == DONT_KNOW).count()
    };
    let (chosen, rejected) = (said(|p| &p.chosen), said(|p| &p.rejected));
    assert!((350..700).contains(&chosen) && (350..700).contains(&rejected), "{chosen} {rejected}");
}

#[test]
fn mixed_manners_are_mixed() {
    let judged = |index| {
        let lesson = Lesson::of_mixed_manners(8, Split::Train, index);
        lesson.judge(lesson.answer())
    };
    let judged: Vec<f32> = (0..3000).map(judged).collect();
    let mean = judged.iter().sum::<f32>() / 3000.0;
    assert!((0.4..0.8).contains(&mean), "{mean}");
    for score in [-1.0, 0.0, 0.5, 1.0, 1.5] {
        assert!(judged.iter().filter(|&&found| found == score).count() > 150, "{score}");
    }
}

#[test]
fn sums_and_comparisons_are_right() {
    const NUMBERS: [&str; 14] = [
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
        "twelve", "thirteen",
    ];
    let number =
        |word: &str| NUMBERS.iter().position(|name| word.trim_end_matches('.').eq_ignore_ascii_case(name));
    for lesson in lessons(9, Split::Train).take(9000) {
        let words: Vec<&str> = lesson.prompt()[0].1.split(' ').collect();
        let found: Vec<usize> = words.iter().filter_map(|word| number(word)).collect();
        match (lesson.kind, &found[..]) {
            ("count", [n, m]) => {
                let left = if words.contains(&"gave") { n + m } else { n - m };
                assert_eq!(number(lesson.answer()), Some(left), "{lesson:?}");
            }
            ("count", []) => {
                let things = lesson.prompt()[0].1.split(". ").next().expect("a sentence");
                let count = 1 + things.matches(',').count() + things.matches(" and ").count();
                assert_eq!(number(lesson.answer()), Some(count), "{lesson:?}");
            }
            ("compare", [n, m]) => {
                let more = ["more", "older?"].iter().any(|word| words.contains(word));
                let first = format!("{}.", words[0]);
                assert_eq!(lesson.answer() == first, (n > m) == more, "{lesson:?}");
            }
            ("continue", [n, m]) => {
                let said = lesson.answer().split(' ').next_back().and_then(number);
                assert_eq!(said, Some(2 * m - n), "{lesson:?}");
            }
            ("count" | "compare" | "continue", _) => panic!("{lesson:?}"),
            _ => {}
        }
    }
}

/// The same seed gives the same lessons on every machine, for ever: runs and their reports depend on it.
#[test]
fn a_seed_names_its_lessons() {
    let known = [
        (
            Lesson::new(1337, Split::Train, 0),
            "user: Luke had a goose. Pam lost a toy robot. Which animal did Luke have?\nassistant: A goose.\n",
        ),
        (
            Lesson::new(1337, Split::HeldOut, 3),
            "system: Answer briefly.\nuser: Oliver went to the lighthouse and got help from Leo. \
             Who helped Oliver?\nassistant: Leo.\n",
        ),
        (
            Lesson::of_mixed_manners(1337, Split::Train, 0),
            "user: Harry lost a marble. Can you tell me what Harry lost?\nassistant: A marble.\n",
        ),
    ];
    for (lesson, expected) in known {
        assert_eq!(text(&lesson.messages), expected);
    }
    let preference = Preference::new(1337, Split::Train, 1);
    assert_eq!(
        text(&preference.prompt),
        "user: George lost a storybook. Pam lost a mask. Can you tell me where Pam went?\n"
    );
    assert_eq!([&*preference.chosen, &*preference.rejected], [DONT_KNOW, "To the lighthouse."]);
}
