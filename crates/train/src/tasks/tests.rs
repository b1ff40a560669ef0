//! What holds for every task: loops over the table.

use std::collections::{HashMap, HashSet};

use cloche_tensor::rng::{Rng, stream_id};

use super::*;

/// Every task at every difficulty.
fn all() -> impl Iterator<Item = (&'static Task, u32)> {
    TASKS.iter().flat_map(|task| (1..=task.hardest).map(move |difficulty| (task, difficulty)))
}

/// The middle difficulty, for tests that take many items.
fn middle(task: &Task) -> u32 {
    task.hardest.div_ceil(2)
}

#[test]
fn a_name_is_found() {
    for task in TASKS {
        assert_eq!(super::task(task.name).map(|found| found.name), Some(task.name));
        assert!(
            task.description.ends_with('.')
                && task.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        );
    }
    assert_eq!(TASKS.iter().map(|task| task.name).collect::<HashSet<_>>().len(), TASKS.len());
    assert!(task("chess").is_none());
}

#[test]
fn right_answers_and_demonstrations_are_correct() {
    for (task, difficulty) in all() {
        for (index, split) in (0..200).flat_map(|index| [(index, Split::Train), (index, Split::HeldOut)]) {
            let item = task.item(3, split, index, difficulty);
            let best = task.verify(&item, &task.demonstration(&item));
            assert!(best.correct && (0.0..=1.0).contains(&best.reward), "{}: {item:?}", task.name);
            if task.name != "format" {
                assert!(task.verify(&item, &item.answer).correct, "{}: {item:?}", task.name);
            }
        }
    }
}

#[test]
fn nothing_but_the_answer_is_correct() {
    for (task, difficulty) in all() {
        for index in 0..50 {
            let item = task.item(4, Split::Train, index, difficulty);
            let shown = task.demonstration(&item);
            for wrong in [
                String::new(),
                item.prompt.clone(),
                format!("{}{shown}", item.prompt),
                format!("{shown} {shown}"),
                format!("{shown}\n{}", item.prompt),
                shown.replace('1', "\u{661}").replace('e', "\u{435}") + "\u{200b}",
                shown.repeat(MAX_ANSWER_BYTES / shown.len() + 1),
            ] {
                let verdict = task.verify(&item, &wrong);
                assert!(!verdict.correct, "{}: {wrong:?} to {item:?}", task.name);
            }
        }
    }
}

/// Answers made of what answers are made of, cut and mixed at random, and of any characters at all.
#[test]
fn verifiers_take_any_text() {
    const PIECES: &[&str] = &[
        "(",
        ")",
        "[",
        "}",
        "+",
        "-",
        "*",
        "/",
        "24",
        "0",
        "9",
        "99999999999999999999",
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "I think",
        "I don't know",
        ", ",
        ".",
        " ",
        "\n",
        "=",
        "a",
        "\u{0}",
        "\u{301}",
        "\u{663}",
        "\u{1f600}",
        "i\u{307}",
        "\u{fffd}",
    ];
    for (task, difficulty) in all() {
        let mut rng = Rng::new(6, stream_id(task.name) ^ difficulty as u64);
        for index in 0..300 {
            let item = task.item(6, Split::Train, index, difficulty);
            let shown = task.demonstration(&item);
            let mut said = String::new();
            for _ in 0..rng.below(12) {
                match rng.below(4) {
                    0 => said.push_str(&shown),
                    1 => said.extend(char::from_u32(rng.below(0x11_0000) as u32)),
                    _ => said += *rng.choose(PIECES),
                }
            }
            let mut bytes = said.clone().into_bytes();
            if !bytes.is_empty() {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << rng.below(8);
            }
            for said in [&*said, &*String::from_utf8_lossy(&bytes), &said.repeat(100)] {
                let verdict = task.verify(&item, said);
                assert!((-4.0..=1.0).contains(&verdict.reward), "{}: {said:?}", task.name);
            }
        }
    }
}

#[test]
fn the_splits_have_nothing_in_common() {
    for task in TASKS {
        let difficulty = middle(task);
        let prompts = |count, seed, split| -> HashSet<String> {
            (0..count).map(|index| task.item(seed, split, index, difficulty).prompt).collect()
        };
        let (train, held_out) = (prompts(10_000, 1, Split::Train), prompts(2000, 2, Split::HeldOut));
        assert!(train.is_disjoint(&held_out), "{}", task.name);
        assert!(train.len() > held_out.len() && held_out.len() > 30, "{}: {}", task.name, held_out.len());
    }
}

#[test]
fn no_answer_is_the_answer_to_everything() {
    for (task, difficulty) in all() {
        let mut counts = HashMap::new();
        for index in 0..1000 {
            *counts.entry(task.item(8, Split::Train, index, difficulty).answer).or_insert(0) += 1;
        }
        let (answer, count) = counts.into_iter().max_by_key(|(_, count)| *count).expect("some answer");
        assert!(count <= 450, "{} {difficulty}: {answer:?} is the answer to {count} of 1000", task.name);
    }
}

#[test]
fn prompts_and_answers_are_short() {
    for (task, difficulty) in all() {
        for index in 0..300 {
            let item = task.item(9, Split::HeldOut, index, difficulty);
            let letters = item.prompt.len() + task.demonstration(&item).len();
            assert!(letters < 250 && item.prompt.is_ascii(), "{}: {letters} letters in {item:?}", task.name);
        }
    }
}

#[test]
fn a_difficulty_is_taken_within_bounds() {
    for task in TASKS {
        let item = |difficulty| task.item(1, Split::Train, 7, difficulty);
        assert_eq!((item(0), item(1000)), (item(1), item(task.hardest)));
    }
}

/// The same seed gives the same items on every machine, for ever: runs and their reports depend on it.
#[test]
fn a_seed_names_its_items() {
    let known = [
        ("copy", "copy: n e c =", "n e c"),
        ("reverse", "reverse: k m j =", "j m k"),
        ("sort", "sort: 1 0 5 =", "0 1 5"),
        ("brackets", "close: ( [ ] ) [ =", "]"),
        ("letters", "count l: j e l l y l a d d e r =", "3"),
        ("addition", "42+38=", "80"),
        ("format", "think: 40+53=", "93"),
        ("game24", "24: 2 10 12 1 =", "1*2+10+12"),
        (
            "stories_qa",
            "Zara lived by the river and wanted a rowing boat. Which animal did Zara have?",
            "I don't know.",
        ),
    ];
    assert_eq!(known.len(), TASKS.len());
    for (name, prompt, answer) in known {
        let item = task(name).expect("a task").item(1337, Split::Train, 0, 2);
        assert_eq!((&*item.prompt, &*item.answer), (prompt, answer), "{name}");
    }
}
