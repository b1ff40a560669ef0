//! Stages after pre-training on a command line: what they leave, how they go on, and what bad input gets.

mod command;

use std::fs;
use std::path::{Path, PathBuf};

use command::{cloche, lines, prose, succeed, text, train};
use serde_json::Value;
use tempfile::TempDir;

/// What makes a stage take a second.
const SMALL: [&str; 14] = [
    "--steps",
    "4",
    "--batch-size",
    "4",
    "--examples",
    "50",
    "--exam",
    "4",
    "--max-tokens",
    "6",
    "--checkpoint-every",
    "2",
    "--device",
    "cpu",
];

/// The arguments of a small stage.
fn stage<'a>(
    name: &'a str,
    begin: [&'a str; 2],
    data: &'a str,
    out: &'a Path,
    more: &[&'a str],
) -> Vec<&'a str> {
    let mut arguments = vec![name, begin[0], begin[1], "--data", data, "--out", text(out), "--json"];
    arguments.extend(SMALL);
    arguments.extend(["--eval-every", "0"]);
    arguments.extend(more);
    arguments
}

/// A model from nothing, after a few steps of copying.
fn base(place: &TempDir, name: &str, seed: &str) -> PathBuf {
    taught(place, name, "task:copy", seed)
}

/// The same with other data, as long as which its context is.
fn taught(place: &TempDir, name: &str, data: &str, seed: &str) -> PathBuf {
    let out = place.path().join(name);
    succeed(&stage("sft", ["--init", "tiny"], data, &out, &["--seed", seed]));
    out
}

/// Runs the command, which must fail with exit code 1 and an error that contains `expected`.
#[track_caller]
fn refuse(arguments: &[&str], expected: &str) {
    let output = cloche(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    let place = format!("cloche {}: {said}", arguments.join(" "));
    assert_eq!(output.status.code(), Some(1), "{place}");
    assert!(said.contains("error: ") && said.contains(expected), "{place}, expected {expected}");
}

#[test]
fn a_new_model_learns_and_leaves_a_folder() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("copy");
    let printed = lines(&succeed(&stage("sft", ["--init", "tiny"], "task:copy", &out, &[])));
    let kinds: Vec<&str> = printed.iter().map(|line| line["event"].as_str().unwrap()).collect();
    let exam = ["eval", "sample", "sample", "sample"];
    let expected = [
        &["start"],
        &exam[..],
        &["step", "step", "checkpoint", "step", "step"],
        &exam,
        &["checkpoint", "done"],
    ];
    assert_eq!(kinds, expected.concat());
    let (eval, sample) = (&printed[1], &printed[2]);
    for key in ["held_out_loss", "held_out_accuracy", "held_out_entropy", "exam_reward", "exam_correct"] {
        assert!(eval[key].is_number(), "{key}");
    }
    assert!(
        sample["question"].as_str().unwrap().starts_with("copy:") && sample["text"].is_string(),
        "{sample}"
    );
    for name in ["config.json", "model.safetensors", "tokenizer.json", "README.md", "checkpoints/step-4"] {
        assert!(out.join(name).exists(), "{name}");
    }
    // What ends an answer ends a text of the folder's, too.
    let generation: Value =
        serde_json::from_str(&fs::read_to_string(out.join("generation_config.json")).unwrap()).unwrap();
    assert_eq!(generation["eos_token_id"].as_array().unwrap().len(), 2, "{generation}");
    succeed(&[
        "generate",
        "--model",
        text(&out),
        "--prompt",
        "copy: a b c =",
        "--max-tokens",
        "3",
        "--device",
        "cpu",
    ]);
}

#[test]
fn a_run_that_was_cut_off_goes_on_bit_for_bit() {
    let place = tempfile::tempdir().unwrap();
    let base = base(&place, "base", "1");
    let lora = ["--lora", "rank=2,dropout=0.1"];
    let grpo = ["--group", "2", "--beta", "0.1"];
    for (number, (name, more)) in [("sft", &[][..]), ("sft", &lora), ("grpo", &grpo)].into_iter().enumerate()
    {
        let out = place.path().join(number.to_string());
        succeed(&stage(name, ["--model", text(&base)], "task:copy", &out, more));
        let last = |name: &str| fs::read(out.join("checkpoints/step-4").join(name)).unwrap();
        let whole = ["model.safetensors", "optimizer.safetensors"].map(last);
        fs::remove_dir_all(out.join("checkpoints/step-4")).unwrap();
        let printed = lines(&succeed(&[name, "--out", text(&out), "--resume", "--device", "cpu", "--json"]));
        assert_eq!(printed[0]["step"], 2);
        assert_eq!(["model.safetensors", "optimizer.safetensors"].map(last), whole);
        let resumed = [name, "--out", text(&out), "--resume", "--device", "cpu"];
        refuse(&[&resumed[..], &["--lr", "0.5"]].concat(), "not 0.5");
        refuse(&[&resumed[..], &["--steps", "3"]].concat(), "step is 4, expected at most 3");
    }
}

#[test]
fn an_adapter_lies_beside_its_base_and_belongs_to_no_other() {
    let place = tempfile::tempdir().unwrap();
    let (one, other) = (base(&place, "one", "1"), base(&place, "other", "2"));
    let weights = || fs::read(one.join("model.safetensors")).unwrap();
    let (before, out) = (weights(), place.path().join("adapter"));
    let begin = ["--model", text(&one)];
    let printed = lines(&succeed(&stage(
        "sft",
        begin,
        "task:copy",
        &out,
        &["--lora", "rank=2,targets=c_attn+mlp.c_proj"],
    )));
    assert!(printed[0]["n_trained"].as_u64() < printed[0]["n_params"].as_u64(), "{}", printed[0]);
    assert_eq!(weights(), before);
    for name in ["adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "README.md"] {
        assert!(out.join(name).is_file(), "{name}");
    }
    assert!(!out.join("model.safetensors").exists() && !out.join("config.json").exists());
    // Going on from base and adapter together makes a model of its own.
    let merged = place.path().join("merged");
    succeed(&stage("sft", begin, "task:copy", &merged, &["--adapter", text(&out)]));
    assert!(merged.join("model.safetensors").is_file());
    let third = place.path().join("third");
    let wrong = stage("sft", ["--model", text(&other)], "task:copy", &third, &["--adapter", text(&out)]);
    refuse(&wrong, "the adapter belongs to");
    assert!(!third.exists(), "nothing is left behind");
}

#[test]
fn what_cannot_be_learnt_from_is_named() {
    let place = tempfile::tempdir().unwrap();
    let (data, out) = (place.path().join("data.jsonl"), place.path().join("out"));
    let good = "{\"prompt\": \"1+1=\", \"completion\": \"2\"}\n";
    for (content, expected) in [
        (format!("{good}{{\"prompt\": \"1+1=\"\n"), "data.jsonl line 2:"),
        (
            format!("{good}{good}{{\"prompt\": \"1+1=\", \"completion\": \"\"}}\n"),
            "data.jsonl line 3: field \"completion\" is empty",
        ),
        (
            format!("{good}{{\"messages\": [{{\"role\": \"robot\", \"content\": \"hi\"}}]}}\n"),
            "data.jsonl line 2: field \"messages[0].role\"",
        ),
        (good.to_string(), "found 1 record, expected at least 2, or --held-out"),
    ] {
        fs::write(&data, content).unwrap();
        refuse(&stage("sft", ["--init", "tiny"], text(&data), &out, &[]), expected);
        assert!(!out.exists(), "nothing is left behind: {expected}");
    }
    let begin = ["--init", "tiny"];
    for (more, expected) in [
        (&["--lr", "-1"][..], "lr: found -1, expected a number above 0"),
        (&["--context-len", "4"], "no question leaves room for its answer"),
        (&["--data", "task:juggle"], "task: found \"juggle\", expected one of copy"),
        (&["--data", "nowhere.jsonl"], "data: found \"nowhere.jsonl\", expected a .jsonl file"),
        (&["--init", "huge"], "preset: found \"huge\""),
        (&["--resume"], "holds no run to resume"),
    ] {
        refuse(&stage("sft", begin, "task:copy", &out, more), expected);
        assert!(!out.exists(), "nothing is left behind: {expected}");
    }
    let base = base(&place, "base", "1");
    for (lora, expected) in [
        ("targets=q_proj", "targets: \"q_proj\" matches nothing, the model has c_attn"),
        ("rank=0", "rank: found 0, expected 1 to"),
    ] {
        refuse(&stage("sft", ["--model", text(&base)], "task:copy", &out, &["--lora", lora]), expected);
    }
    refuse(
        &stage("sft", ["--model", text(&base)], "task:copy", &base, &["--overwrite"]),
        "which is what to begin with",
    );
    refuse(
        &stage("sft", begin, "task:copy", &base, &[]),
        "--resume goes on with it, --overwrite replaces it",
    );
}

#[test]
fn a_pre_trained_model_takes_lessons() {
    let place = tempfile::tempdir().unwrap();
    let (data, base, out) = (place.path().join("a.txt"), place.path().join("base"), place.path().join("out"));
    fs::write(&data, prose(20_000)).unwrap();
    // Bytes have no tokens of a chat: the marks are text, and what is too long for the model is cut.
    succeed(&train(&data, &base, &["--tokenizer", "byte", "--context-len", "128", "--steps", "2"]));
    let printed =
        lines(&succeed(&stage("sft", ["--model", text(&base)], "lessons", &out, &["--exam", "18"])));
    let warnings: Vec<&str> = printed.iter().filter_map(|line| line["message"].as_str()).collect();
    for expected in
        ["leave no room for their answers", "records are longer than the model's context of 128 tokens"]
    {
        assert!(warnings.iter().any(|message| message.contains(expected)), "{expected} in {warnings:?}");
    }
    let config = fs::read_to_string(out.join("tokenizer_config.json")).unwrap();
    assert!(config.contains("chat_template") && config.contains("Assistant:"), "{config}");
}

#[test]
fn a_reward_model_lies_as_transformers_looks_for_it() {
    let place = tempfile::tempdir().unwrap();
    // A model that has seen short texts only cannot read comparisons.
    let (small, large) = (base(&place, "small", "1"), taught(&place, "large", "lessons", "1"));
    for (more, expected) in
        [(&[][..], "model.safetensors"), (&["--lora", "rank=2"], "adapter_model.safetensors")]
    {
        let out = place.path().join(expected);
        let reward = |model| stage("reward", ["--model", text(model)], "preferences", &out, more);
        refuse(&reward(&small), "found no comparison of 50 that fits");
        let printed = lines(&succeed(&reward(&large)));
        assert!(printed[1]["held_out_accuracy"].is_number(), "{}", printed[1]);
        assert!(out.join(expected).is_file());
        let config = fs::read_to_string(out.join("config.json")).unwrap_or_default();
        assert_eq!(config.contains("GPT2ForSequenceClassification"), more.is_empty(), "{config}");
    }
}

#[test]
fn a_reward_model_or_who_knows_rewards_answers() {
    let place = tempfile::tempdir().unwrap();
    let (model, judge) = (taught(&place, "model", "preferences", "1"), place.path().join("judge"));
    succeed(&stage("reward", ["--model", text(&model)], "preferences", &judge, &[]));
    for (number, more) in [&["--judge", text(&judge)][..], &["--lora"]].into_iter().enumerate() {
        let out = place.path().join(number.to_string());
        let printed = lines(&succeed(&stage("ppo", ["--model", text(&model)], "preferences", &out, more)));
        assert!(printed.iter().any(|line| line["event"] == "step" && line["loss"].is_number()));
    }
    let out = place.path().join("out");
    let wrong = stage("ppo", ["--model", text(&model)], "preferences", &out, &["--judge", text(&model)]);
    refuse(&wrong, "found a model that makes words, expected one that scores them");
}

#[test]
fn comparisons_teach_without_a_reward_model() {
    let place = tempfile::tempdir().unwrap();
    let model = taught(&place, "model", "lessons", "1");
    for (number, more) in [&["--loss", "ipo"][..], &["--lora", "rank=2"]].into_iter().enumerate() {
        let out = place.path().join(number.to_string());
        let printed = lines(&succeed(&stage("dpo", ["--model", text(&model)], "preferences", &out, more)));
        assert!(printed.iter().any(|line| line["event"] == "eval" && line["exam_reward"].is_number()));
        refuse(&["dpo", "--out", text(&out), "--resume", "--beta", "0.5"], "beta is 0.1, not 0.5");
        refuse(&["sft", "--out", text(&out), "--resume"], "holds a run of dpo, expected one of sft");
    }
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

    let say = ["chat", "--message", "hi", "--message", "you", "--max-tokens", "4"];
    let printed = lines(&succeed(&[&say, &model[..]].concat()));
    let answers: Vec<&Value> = printed.iter().filter(|line| line["event"] == "done").collect();
    assert_eq!(answers.iter().map(|line| &line["message"]).collect::<Vec<_>>(), ["hi", "you"]);
    refuse(&["chat", "--model", text(&base), "--message", "\u{e9}"], "the model's vocabulary lacks 'é'");
}
