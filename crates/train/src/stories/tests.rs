//! Tests of the stories: each text has one derivation, reads as English, and is not told twice.

use std::collections::{BTreeSet, HashSet};

use super::*;
use crate::stories::grammar::Body;

fn audited(index: u64) -> Telling<'static> {
    Telling::tell(&GRAMMAR, Guide::Audit(Rng::new(7, index))).expect("chance always finds a way")
}

/// The property on which `log_prob` rests: at each choice the alternatives differ within their opening words, and no
/// letter follows a chosen word that ends in one.
#[test]
fn each_choice_can_be_read_off_the_text() {
    for index in 0..3000 {
        let told = audited(index);
        for &(at, end) in &told.choices {
            assert!(at < end, "a choice without a text at {at} of: {}", told.text);
            let (before, after) = (told.text.as_bytes()[end - 1], told.text.as_bytes().get(end));
            let glued = before.is_ascii_alphanumeric()
                && after.is_some_and(|&b| b.is_ascii_alphanumeric() || b == b'-');
            assert!(!glued, "a letter follows the choice that ends at {end} of: {}", told.text);
        }
    }
}

#[test]
fn reading_a_text_back_gives_its_log_prob() {
    let stories = Stories::new(3);
    for story in stories.documents(0).take(500) {
        let read = stories.log_prob(&story.text).expect("a story can be read back");
        assert_eq!(read, story.log_prob, "{}", story.text);
        assert!(story.log_prob.is_finite() && story.log_prob < 0.0);
        // No story is the beginning of another, nor is a changed text a story.
        assert_eq!(stories.log_prob(&story.text[..story.text.len() - 1]), None);
        assert_eq!(stories.log_prob(&format!("{} The end.", story.text)), None);
        assert_eq!(stories.log_prob(&story.text.replacen("the", "teh", 1)), None);
    }
    assert_eq!(stories.log_prob(""), None);
    assert_eq!(stories.log_prob("\u{e9}"), None);
}

/// On a grammar that is small enough to tell in every way, the probabilities of all texts add up to one.
#[test]
fn probabilities_add_up_to_one() {
    let small = Grammar::read(&["\
words pets it
    cat, dog, mouse/mice
rule story
    So {pet=pets:a} ran. {=end}
    3* Once {n=2..3} {pet=pets:s} met {other=pets:a}. {=end}
rule end
    {pet:C} slept.
    2* It saw {=pets:a}.
"]);
    let (mut texts, mut total) = (HashSet::new(), 0.0);
    for index in 0..20_000 {
        let told = Telling::tell(&small, Guide::Audit(Rng::new(1, index))).expect("told");
        if texts.insert(told.text.clone()) {
            total += told.log_prob.exp();
            let read = Telling::tell(&small, Guide::Text(&told.text)).expect("read");
            assert_eq!(read.log_prob, told.log_prob);
        }
    }
    // 3 × (1 + 2) + 2 × 3 × 2 × (1 + 1) texts.
    assert_eq!(texts.len(), 33);
    assert!((total - 1.0).abs() < 1e-12, "{total}");
}

#[test]
fn stories_are_plain_readable_english() {
    let mut lengths = (usize::MAX, 0);
    for index in 0..3000 {
        let text = Stories::new(11).document(index).text;
        assert!(text.is_ascii() && !text.contains(['{', '}', '/', '*']), "{text}");
        let found = ["  ", " .", " ,", "..", ",.", "\n\n", " \n", "\n ", "!.", " a a ", " an an "];
        assert!(!found.iter().any(|wrong| text.contains(wrong)), "{text}");
        assert!(text.ends_with(['.', '!', '?', '"']), "{text}");
        assert_eq!(text.matches('"').count() % 2, 0, "{text}");
        // Sentences begin with a capital letter or a number, and `an` stands before vowels.
        for sentence in text.replace('"', "").split(['\n']).flat_map(|line| line.split(". ")) {
            let first = sentence.chars().next();
            assert!(
                first.is_some_and(|c| c.is_ascii_uppercase() || c.is_ascii_digit()),
                "{sentence:?} in {text}"
            );
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        for pair in words.windows(2) {
            let vowel = pair[1].starts_with(['a', 'e', 'i', 'o', 'u']);
            let exception =
                ["uni", "use", "one", "hour", "honest", "eu"].iter().any(|e| pair[1].starts_with(e));
            let article = pair[0].trim_start_matches('"');
            assert!(article != "a" && article != "A" || !vowel || exception, "{pair:?} in {text}");
            assert!(article != "an" && article != "An" || vowel || exception, "{pair:?} in {text}");
            assert!(pair[0] != pair[1] || pair[0] == "had" || pair[0] == "very", "{pair:?} twice in {text}");
        }
        lengths = (lengths.0.min(words.len()), lengths.1.max(words.len()));
    }
    assert!(lengths.0 >= 60 && lengths.1 <= 250, "words per story: {lengths:?}");
}

#[test]
fn a_seed_and_an_index_name_one_story() {
    let stories = Stories::new(5);
    let listed: Vec<Story> = stories.documents(40).take(20).collect();
    for (story, index) in listed.iter().zip(40..) {
        assert_eq!(*story, Stories::new(5).document(index));
    }
    assert_ne!(stories.document(0), Stories::new(6).document(0));
    assert_eq!(stories.validation().next(), Some(stories.document(VALIDATION_START)));
}

#[test]
fn documents_do_not_repeat() {
    let mut seen = HashSet::new();
    let stories = Stories::new(1337);
    for story in stories.train().take(5000).chain(stories.validation().take(1000)) {
        assert!(seen.insert(story.text.clone()), "told twice: {}", story.text);
    }
}

#[test]
fn the_vocabulary_is_a_childs() {
    let mut words = BTreeSet::new();
    for story in Stories::new(1).train().take(5000) {
        let letters = |c: char| !c.is_ascii_alphabetic() && c != '\'';
        words.extend(story.text.split(letters).map(str::to_ascii_lowercase));
    }
    assert!((1500..=3200).contains(&words.len()), "{} distinct words", words.len());
}

/// Every rule is reachable and every alternative is taken by some story.
#[test]
fn no_rule_is_forgotten() {
    let named = GRAMMAR.rules.iter().map(|rule| match &rule.body {
        Body::Sentences(alternatives) => alternatives.len(),
        Body::Words(words) => words.len(),
    });
    assert!(named.min() > Some(0), "a rule has no alternatives");
    for rule in 0..GRAMMAR.rules.len() {
        let named = GRAMMAR.rules.iter().any(|other| match &other.body {
            Body::Sentences(alternatives) => alternatives.iter().any(|(_, template)| {
                template.iter().any(|p| matches!(p, grammar::Piece::Choose { rule: r, .. } if *r == rule))
            }),
            Body::Words(_) => false,
        });
        let listed = ["girls", "boys", "women", "men"].contains(&GRAMMAR.rules[rule].name);
        assert!(
            named || listed || rule == GRAMMAR.rule("story"),
            "rule {} is never used",
            GRAMMAR.rules[rule].name
        );
    }
}
