//! Filters: what is left out and why, near duplicates against similarities counted by hand, and the same every time.

use cloche_text::{FilterCounts, FilterSettings, NearSettings, TextFilter, Verdict};
use std::collections::HashSet;

/// A filter for near duplicates.
fn near(settings: NearSettings) -> TextFilter {
    TextFilter::new(FilterSettings { near: Some(settings), ..Default::default() })
}

/// A text of `n_words` words of a vocabulary of a thousand; words `changed` are others.
fn text(n_words: usize, seed: u64, changed: &[usize]) -> Vec<String> {
    let mut state = seed;
    let word = |at| {
        // Knuth's MMIX generator; its high bits are good enough to choose words.
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let word = (state >> 33) % 1000;
        if changed.contains(&at) { format!("other{word}") } else { format!("word{word}") }
    };
    (0..n_words).map(word).collect()
}

/// The Jaccard index of the sets of runs of three words.
fn jaccard(a: &[String], b: &[String]) -> f64 {
    let [a, b] = [a, b].map(|words| words.windows(3).collect::<HashSet<_>>());
    a.intersection(&b).count() as f64 / a.union(&b).count() as f64
}

#[test]
fn each_verdict_is_counted() {
    let settings = FilterSettings {
        min_bytes: 5,
        max_bytes: 60,
        exact: true,
        near: Some(NearSettings { threshold: 0.5, ..Default::default() }),
    };
    let mut filter = TextFilter::new(settings);
    let glass = "the gardener puts a bell of glass over the seedling";
    assert_eq!(filter.judge(glass), Verdict::Kept);
    assert_eq!(filter.judge("glass"), Verdict::Kept);
    assert_eq!(filter.judge("  bell  "), Verdict::TooShort);
    assert_eq!(filter.judge(&"bell ".repeat(20)), Verdict::TooLong);
    assert_eq!(filter.judge("glass\n"), Verdict::Duplicate { of: 1 });
    // Case and signs are no difference.
    let shout = "The gardener puts a BELL of glass, over the seedling!";
    assert_eq!(filter.judge(shout), Verdict::NearDuplicate { of: 0, similarity: 1.0 });
    // What equals a text that was left out is left out for the same reason.
    assert_eq!(filter.judge(shout), Verdict::NearDuplicate { of: 0, similarity: 1.0 });
    assert_eq!(filter.judge("the wind goes over the glass by and by"), Verdict::Kept);
    let counts = FilterCounts { kept: 3, too_short: 1, too_long: 1, duplicates: 1, near_duplicates: 2 };
    assert_eq!(filter.counts(), counts);
    let said = "3 texts kept; left out: 1 too short, 1 too long, 1 duplicates, 2 near duplicates";
    assert_eq!(counts.to_string(), said);
}

#[test]
fn nothing_is_left_out_unless_asked_for() {
    let settings = FilterSettings { min_bytes: 0, exact: false, ..Default::default() };
    let mut filter = TextFilter::new(settings);
    for text in ["", "a", "a", " a"] {
        assert_eq!(filter.judge(text), Verdict::Kept);
    }
}

#[test]
fn the_estimate_is_the_jaccard_index() {
    // 1,200 orders: a standard deviation of at most 0.015.
    let settings = NearSettings { threshold: 0.2, bands: 400, rows: 3, ..Default::default() };
    for (seed, n_changed) in [(1, 1), (2, 3), (3, 6), (4, 10), (5, 15)] {
        let changed: Vec<usize> = (0..n_changed).map(|at| at * 7 + 3).collect();
        let (a, b) = (text(120, seed, &[]), text(120, seed, &changed));
        let mut filter = near(settings.clone());
        assert_eq!(filter.judge(&a.join(" ")), Verdict::Kept);
        let Verdict::NearDuplicate { of: 0, similarity } = filter.judge(&b.join(" ")) else {
            panic!("{n_changed} words changed, similarity {}", jaccard(&a, &b))
        };
        let expected = jaccard(&a, &b);
        assert!((similarity - expected).abs() < 0.06, "{similarity} for {expected}");
    }
}

#[test]
fn near_duplicates_are_found_among_many() {
    let mut filter = near(NearSettings::default());
    let n_texts = 400;
    for seed in 0..n_texts {
        assert_eq!(filter.judge(&text(100, seed, &[]).join(" ")), Verdict::Kept, "text {seed}");
    }
    // One word of a hundred: a similarity of 95 / 101. The most similar text is the one it came from.
    for seed in 0..n_texts {
        let verdict = filter.judge(&text(100, seed, &[50]).join(" "));
        assert!(
            matches!(verdict, Verdict::NearDuplicate { of, similarity } if of == seed as usize && similarity > 0.8),
            "{verdict:?} for text {seed}"
        );
    }
    // Ten of a hundred: about 70 / 130, below the threshold.
    let changed: Vec<usize> = (0..10).map(|at| at * 10 + 5).collect();
    for seed in 0..n_texts {
        assert_eq!(filter.judge(&text(100, seed, &changed).join(" ")), Verdict::Kept, "text {seed}");
    }
    assert_eq!(filter.counts().near_duplicates, n_texts as usize);
}

#[test]
fn verdicts_depend_on_the_seed_alone() {
    let verdicts = |seed: u64| -> Vec<Verdict> {
        let mut filter = near(NearSettings { seed, threshold: 0.6, ..Default::default() });
        let texts = (0..60).map(|at| text(40, at / 3, &[(at % 3) as usize * 9]).join(" "));
        texts.map(|text| filter.judge(&text)).collect()
    };
    assert_eq!(verdicts(1), verdicts(1));
    assert_ne!(verdicts(1), verdicts(2)); // the estimates differ
}

#[test]
fn texts_without_words_and_short_texts_are_told_apart() {
    let mut filter = near(NearSettings::default());
    for text in ["?", "!", "yes", "no", "我", "能", "yes no", "no yes"] {
        assert_eq!(filter.judge(text), Verdict::Kept, "{text}");
    }
    assert_eq!(filter.judge("Yes!"), Verdict::NearDuplicate { of: 2, similarity: 1.0 });
}
