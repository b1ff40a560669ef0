//! `cloche evaluate`: answers that are checked, judged and compared, and reward models that are asked which is better.

mod command;

use command::{base, beginner, comparisons, lines, refuse, stage, succeed, taught, text};
use serde_json::Value;
use std::path::Path;

/// What the command measures.
#[track_caller]
fn evaluate(model: &Path, more: &[&str]) -> Value {
    let arguments = [&["evaluate", "--model", text(model), "--device", "cpu", "--json"], more].concat();
    lines(&succeed(&arguments)).pop().unwrap()
}

/// A number, and the interval around it.
#[track_caller]
fn number(measured: &Value, name: &str) -> (f64, [f64; 2]) {
    let found = measured[name].as_f64().unwrap_or_else(|| panic!("{name} in {measured}"));
    let interval = measured["intervals"][name].as_array().unwrap_or_else(|| panic!("{name} in {measured}"));
    let [low, high] = [0, 1].map(|i| interval[i].as_f64().unwrap());
    assert!(low <= found && found <= high, "{name}: {found} in {low} to {high}");
    (found, [low, high])
}

#[test]
fn a_model_is_asked_and_talked_to() {
    let place = tempfile::tempdir().unwrap();
    let base = base(&place, "base", "1");
    let model = ["--model", text(&base), "--device", "cpu", "--json"];
    let ask = |more: &[&str]| -> Value {
        let arguments = [&["evaluate", "--n", "5"], &model[..], more].concat();
        serde_json::from_str(lines(&succeed(&arguments)).last().unwrap().to_string().as_str()).unwrap()
    };
    let once = ask(&["--task", "copy"]);
    assert_eq!((&once["n"], &once["samples"]), (&Value::from(5), &Value::from(1)));
    assert!(
        once["pass@1"].is_number() && once["mean_reward"].is_number() && once["majority"].is_null(),
        "{once}"
    );
    let often = ask(&["--task", "copy:1", "--samples", "4"]);
    let rate = |key: &str| often[key].as_f64().unwrap();
    assert!(rate("pass@1") <= rate("pass@2") && rate("pass@2") <= rate("pass@4"), "{often}");
    assert!(often["majority"].is_number());
    refuse(&["evaluate", "--model", text(&base), "--task", "juggle"], "task: found \"juggle\"");
    refuse(
        &["evaluate", "--model", text(&base), "--task", "copy", "--difficulty", "99"],
        "found \"99\", expected 1 to",
    );

    // A question of a file is asked by itself, whatever else the file holds.
    let file = |name: &str, records: &[&str]| {
        let path = place.path().join(name);
        std::fs::write(&path, records.join("\n")).unwrap();
        path
    };
    let [first, second] =
        [r#"{"prompt": "1+2=", "completion": "3"}"#, r#"{"prompt": "2+2=", "completion": "4"}"#];
    let (alone, beside) = (file("alone.jsonl", &[first]), file("beside.jsonl", &[first, second]));
    let perplexity =
        |path: &Path| evaluate(&base, &["--task", text(path), "--n", "1"])["answer_perplexity"].clone();
    assert!(perplexity(&alone).is_number());
    assert_eq!(perplexity(&alone), perplexity(&beside));

    let say = ["chat", "--message", "hi", "--message", "you", "--max-tokens", "4"];
    let printed = lines(&succeed(&[&say, &model[..]].concat()));
    let answers: Vec<&Value> = printed.iter().filter(|line| line["event"] == "done").collect();
    assert_eq!(answers.iter().map(|line| &line["message"]).collect::<Vec<_>>(), ["hi", "you"]);
    refuse(&["chat", "--model", text(&base), "--message", "\u{e9}"], "the model's vocabulary lacks 'é'");
}

#[test]
fn one_model_is_held_against_another() {
    let place = tempfile::tempdir().unwrap();
    let (novice, pupil, pairs) = (base(&place, "novice", "1"), beginner(&place), comparisons(&place));
    let task = ["--task", "copy", "--n", "40", "--max-tokens", "9"];
    let ask = |model: &Path, more: &[&str]| evaluate(model, &[&task, more].concat());
    // Whoever answers the same wins half, and every answer is a tie.
    let same = ask(&pupil, &["--against", text(&pupil)]);
    assert_eq!((number(&same, "win_rate").0, number(&same, "ties").0), (0.5, 1.0), "{same}");
    // The one that has learnt wins, by as much as it is right where the other is not.
    let better = ask(&pupil, &["--against", text(&novice)]);
    let (right, [low, high]) = number(&better, "pass@1");
    assert!(right > 0.0 && low > 0.0 && high < 1.0, "{better}");
    assert_eq!(number(&better, "win_rate").0, 0.5 + right / 2.0, "{better}");
    assert_eq!(number(&better, "judged_reward_against").0, 0.0, "{better}");
    // It expects the right answers, too.
    let perplexity = |measured: &Value| measured["answer_perplexity"].as_f64().unwrap();
    assert!(perplexity(&better) < 0.5 * perplexity(&ask(&novice, &[])), "{better}");
    // An adapter, and tries that are drawn.
    let adapter = place.path().join("adapter");
    succeed(&stage("sft", ["--model", text(&novice)], "task:copy", &adapter, &["--lora", "rank=2"]));
    let against = ["--against", text(&novice), "--against-adapter", text(&adapter), "--samples", "2"];
    assert!(number(&ask(&pupil, &against), "win_rate").0 > 0.5);

    // A reward model judges in place of the truth, and is judged itself.
    let judge = place.path().join("judge");
    let longer = ["--steps", "60", "--batch-size", "16"];
    succeed(&stage("reward", ["--model", text(&pupil)], text(&pairs), &judge, &longer));
    let judged = ask(&pupil, &["--against", text(&novice), "--judge", text(&judge)]);
    let ((ours, _), (theirs, _)) =
        (number(&judged, "judged_reward"), number(&judged, "judged_reward_against"));
    assert!(ours != theirs && number(&judged, "win_rate").0 >= 0.0, "{judged}");
    let ranked = evaluate(&judge, &["--task", text(&pairs)]);
    assert_eq!(ranked["comparisons"], 60);
    assert!(number(&ranked, "accuracy").0 > 0.8 && number(&ranked, "margin").0 > 0.0, "{ranked}");
    let error = ranked["calibration_error"].as_f64().unwrap();
    let bins = ranked["reliability"].as_array().unwrap();
    assert!((0.0..0.5).contains(&error) && bins.len() == 10, "{ranked}");
    assert_eq!(bins.iter().map(|bin| bin["pairs"].as_u64().unwrap()).sum::<u64>(), 60);

    fn copying<'a>(model: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
        [&["evaluate", "--model", text(model), "--task", "copy", "--device", "cpu"][..], more].concat()
    }
    refuse(
        &copying(&pupil, &["--against", text(&novice), "--judge", text(&novice)]),
        "found a model that makes words, expected one that scores them",
    );
    refuse(&copying(&judge, &["--samples", "2"]), "found a model that scores answers");
    refuse(&copying(&judge, &[]), "data: found no comparisons");
    let shots = ["evaluate", "--model", text(&pupil), "--task", text(&pairs), "--shots", "1"];
    refuse(&shots, "shots: found 1, expected 0 with a file");
}

#[test]
fn honesty_is_measured_where_a_text_may_not_tell() {
    let place = tempfile::tempdir().unwrap();
    let model = taught(&place, "model", "task:stories_qa", "1");
    let asked = evaluate(&model, &["--task", "stories_qa", "--n", "20"]);
    // Who babbles is always wrong and never says that it does not know.
    assert_eq!(number(&asked, "wrong").0, 1.0, "{asked}");
    assert_eq!(number(&asked, "dont_know_told").0, 0.0, "{asked}");
    assert_eq!(number(&asked, "dont_know_untold").0, 0.0, "{asked}");
    assert!(evaluate(&base(&place, "base", "1"), &["--task", "copy", "--n", "5"])["wrong"].is_null());
}
