//! What is done with data before anything is learnt from it, on a command line: packed, mixed, filtered, masked; and what is
//! told of it.

mod command;

use std::fs;
use std::path::Path;

use command::{cloche, lines, stage, succeed, text};
use serde_json::Value;

/// What the notes among these lines say, one after the other.
fn notes(printed: &[Value]) -> Vec<&str> {
    let notes = printed.iter().filter(|line| line["event"] == "note");
    notes.map(|line| line["message"].as_str().unwrap()).collect()
}

/// Runs the command, which must fail: here also where an option is refused before anything begins, whose exit code is 2.
#[track_caller]
fn refuse(arguments: &[&str], expected: &str) {
    let output = cloche(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(expected), "{said}, expected {expected}");
}

/// Records of sums in a file.
fn sums(path: &Path, numbers: impl IntoIterator<Item = u32>) {
    let line = |n: u32| format!("{{\"prompt\": \"{n} + 1 = \", \"completion\": \"{}\"}}\n", n + 1);
    fs::write(path, numbers.into_iter().map(line).collect::<String>()).unwrap();
}

#[test]
fn packed_and_mixed_runs_go_on_bit_for_bit() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out");
    let more = ["--packing", "--mix", "stories=0.25", "--mix", "task:reverse=0.2", "--context-len", "64"];
    let printed = lines(&succeed(&stage("sft", ["--init", "tiny"], "task:copy", &out, &more)));
    let notes = notes(&printed);
    assert!(notes[0].starts_with("25 % of every step are of stories: "), "{notes:?}");
    assert_eq!(notes[1], "20 % of every step are of task:reverse: 50 examples");
    assert!(notes[2].contains(" share ") && notes[2].contains(" rows of 64 tokens, "), "{notes:?}");
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    assert!(card.contains("25 % Cloche's built-in stories, 20 % Cloche's task reverse"), "{card}");
    // As if it had been cut off after two of four steps.
    let last = |name: &str| fs::read(out.join("checkpoints/step-4").join(name)).unwrap();
    let files = ["model.safetensors", "optimizer.safetensors"];
    let before = files.map(last);
    fs::remove_dir_all(out.join("checkpoints/step-4")).unwrap();
    succeed(&["sft", "--resume", "--out", text(&out), "--device", "cpu", "--json"]);
    assert_eq!(files.map(last), before);
    let other = ["sft", "--resume", "--out", text(&out), "--mix", "stories=0.5", "--device", "cpu"];
    refuse(&other, "the run to resume has other settings: mix is");
    let record = fs::read_to_string(out.join("run.json")).unwrap();
    assert!(record.contains("\"packing\": true"), "{record}");
    refuse(&stage("sft", ["--init", "tiny"], "task:copy", &out, &["--mix", "stories"]), "SOURCE=SHARE");
    let two = ["--mix", "stories=0.5", "--mix", "lessons=0.5", "--overwrite"];
    let arguments = stage("sft", ["--init", "tiny"], "task:copy", &out, &two);
    refuse(&arguments, "mix: found 1, expected shares that are below 1 together");
}

#[test]
fn duplicates_and_what_is_too_long_are_left_out_and_told() {
    let place = tempfile::tempdir().unwrap();
    let (data, out) = (place.path().join("sums.jsonl"), place.path().join("out"));
    // Records 0, 20 and 40 are held out. Of the others 10 to 19 come twice, and 0 is held out as well.
    sums(&data, (0..40).chain([0]).chain(10..20).chain([0, 1000]));
    let run = |more: &[&str]| {
        let more = [more, &["--overwrite"]].concat();
        lines(&succeed(&stage("sft", ["--init", "tiny"], text(&data), &out, &more)))
    };
    let printed = run(&["--dedup", "exact"]);
    let expected = "of 50 records 11 are left out as duplicates, and 0 as near duplicates, of one before or of one that \
                    is held out";
    assert_eq!(notes(&printed), [expected]);
    // "1 + 1 = 2" and its end are 10 tokens, "1000 + 1 = 1001" has 16.
    let printed = run(&["--max-length", "12", "--min-length", "11"]);
    assert_eq!(
        notes(&printed),
        ["of 50 records 9 are left out as shorter than 11 tokens, 1 as longer than 12"]
    );
    let none = stage("sft", ["--init", "tiny"], text(&data), &out, &["--min-length", "99", "--overwrite"]);
    refuse(&none, "data: found none of 50 records left, expected bounds that some of them keep");
}

#[test]
fn documents_that_were_there_before_are_left_out_of_pre_training() {
    let place = tempfile::tempdir().unwrap();
    let (data, out) = (place.path().join("texts.jsonl"), place.path().join("out"));
    let document = |n: usize| {
        format!("{{\"text\": \"Number {n}. {}\"}}\n", command::prose(40 + 30 * n).escape_default())
    };
    let again = [3, 5, 3];
    fs::write(&data, (0..40).chain(again).map(document).collect::<String>()).unwrap();
    let more = ["--steps", "2", "--tokenizer", "byte", "--checkpoint-every", "1", "--dedup", "exact"];
    let printed = lines(&succeed(&command::train(&data, &out, &more)));
    let expected = "40 texts kept; left out: 0 too short, 0 too long, 3 duplicates, 0 near duplicates";
    assert_eq!(notes(&printed), [expected]);
    let resumed = ["train", "--resume", "--out", text(&out), "--device", "cpu", "--json"];
    assert_eq!(notes(&lines(&succeed(&resumed))), [expected]);
    refuse(&[&resumed[..], &["--dedup", "near"]].concat(), "the run to resume has other settings: dedup is");
    let single = place.path().join("text.txt");
    fs::write(&single, command::prose(500)).unwrap();
    let other = place.path().join("other");
    refuse(&command::train(&single, &other, &["--dedup"]), "dedup: found a single text, expected a folder");
}

#[test]
fn a_model_says_which_records_and_tokens_are_learnt() {
    let place = tempfile::tempdir().unwrap();
    let [model, reference, out] = ["model", "reference", "out"].map(|name| place.path().join(name));
    succeed(&stage("sft", ["--init", "tiny"], "task:copy", &model, &[]));
    succeed(&stage("sft", ["--init", "tiny"], "task:copy", &reference, &["--seed", "2", "--steps", "30"]));
    let begin = ["--model", text(&model)];
    let run = |more: &[&str]| {
        let more = [more, &["--overwrite"]].concat();
        lines(&succeed(&stage("sft", begin, "task:copy", &out, &more)))
    };
    // A new model finds all of some 100 tokens about as likely.
    let printed = run(&["--max-perplexity", "1000"]);
    assert_eq!(
        notes(&printed),
        ["of 50 records 0 are left out with a perplexity below 0, 0 with one above 1000"]
    );
    let learn = ["--select-tokens", "0.5", "--reference", text(&reference)];
    let printed = run(&learn);
    let notes = notes(&printed);
    assert!(notes[0].contains(" tokens are learnt, with an excess loss of "), "{notes:?}");
    let numbers: Vec<f32> = notes[0].split(' ').filter_map(|word| word.parse().ok()).collect();
    assert_eq!((numbers[1] / 2.0).round(), numbers[0], "{notes:?}");
    assert!(numbers[2] > 0.0, "{notes:?}");
    let files = ["model.safetensors", "optimizer.safetensors"];
    let last = |name: &str| fs::read(out.join("checkpoints/step-4").join(name)).unwrap();
    let before = files.map(last);
    fs::remove_dir_all(out.join("checkpoints/step-4")).unwrap();
    succeed(&["sft", "--resume", "--out", text(&out), "--device", "cpu", "--json"]);
    assert_eq!(files.map(last), before);
    let none = ["--max-perplexity", "1", "--overwrite"];
    refuse(&stage("sft", begin, "task:copy", &out, &none), "data: found none of 50 records left");
    let nowhere = ["--select-tokens", "0.5", "--reference", "nowhere", "--overwrite"];
    refuse(&stage("sft", begin, "task:copy", &out, &nowhere), "nowhere");
    let wrong = ["--select-tokens", "2", "--reference", text(&reference), "--overwrite"];
    refuse(
        &stage("sft", begin, "task:copy", &out, &wrong),
        "select_tokens: found 2, expected a share above 0",
    );
    refuse(&stage("sft", begin, "task:copy", &out, &["--select-tokens", "0.5"]), "--reference");
}

#[test]
fn masks_are_shown_token_by_token() {
    let place = tempfile::tempdir().unwrap();
    let (model, data) = (place.path().join("model"), place.path().join("talk.jsonl"));
    succeed(&stage("sft", ["--init", "tiny"], "task:copy", &model, &[]));
    let said =
        r#"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho!"}]}"#;
    fs::write(&data, said).unwrap();
    let show = |more: &[&str]| {
        let arguments = ["tokenize", "--model", text(&model), "--data", text(&data)];
        succeed(&[&arguments, more].concat())
    };
    let learnt = |more: &[&str]| -> String {
        let printed = lines(&show(&[&["--json"], more].concat()));
        let tokens = printed[0]["tokens"].as_array().unwrap().iter().filter(|token| token["learn"] == true);
        tokens.map(|token| token["text"].as_str().unwrap()).collect()
    };
    assert_eq!(learnt(&[]), "Ho!<|end|>");
    assert_eq!(learnt(&["--learn", "all"]), "Hi<|end|><|assistant|>Ho!<|end|>");
    let prose = show(&[]);
    assert!(prose.starts_with("record 0: 9 tokens, 4 of them to learn\n"), "{prose}");
    assert_eq!(prose.lines().filter(|line| line.starts_with("  learn ")).count(), 4, "{prose}");
    // What is shown is what is learnt.
    let out = place.path().join("out");
    let all =
        lines(&succeed(&stage("sft", ["--model", text(&model)], "task:copy", &out, &["--learn", "all"])));
    assert!(all.iter().any(|line| line["event"] == "eval" && line["held_out_loss"].is_number()));
}

#[test]
fn ppo_does_not_forget_its_text() {
    let place = tempfile::tempdir().unwrap();
    let (model, out) = (place.path().join("model"), place.path().join("out"));
    succeed(&stage("sft", ["--init", "tiny"], "task:copy", &model, &[]));
    let more = ["--pretraining", "stories", "--pretraining-weight", "0.5"];
    let printed = lines(&succeed(&stage("ppo", ["--model", text(&model)], "task:copy", &out, &more)));
    let steps: Vec<&Value> = printed.iter().filter(|line| line["event"] == "step").collect();
    assert_eq!(steps.len(), 4);
    // A model that has seen no story finds some 100 characters about as likely.
    assert!(steps.iter().all(|step| (2.0..6.0).contains(&step["pretraining_loss"].as_f64().unwrap())));
    let arguments =
        stage("ppo", ["--model", text(&model)], "task:copy", &out, &["--pretraining", "nowhere.jsonl"]);
    refuse(
        &[&arguments[..], &["--overwrite"]].concat(),
        "pretraining: data: found \"nowhere.jsonl\", expected",
    );
}
