//! Stages after pre-training on a command line: what they leave, and how they go on.

mod command;

use std::fs;

use command::{base, beginner, comparisons, lines, prose, refuse, stage, succeed, taught, text, train};
use serde_json::Value;

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
        // What was changed on the way stays.
        succeed(&[&resumed[..], &["--steps", "6"]].concat());
        let again = lines(&succeed(&[&resumed[..], &["--json"]].concat()));
        assert_eq!((&again[0]["step"], &again[0]["steps"]), (&6.into(), &6.into()), "{}", again[0]);
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
fn a_small_model_learns_from_the_logits_of_a_larger_one() {
    let place = tempfile::tempdir().unwrap();
    let (teacher, out) = (base(&place, "teacher", "1"), place.path().join("out"));
    let more = ["--teacher", text(&teacher), "--temperature", "2", "--seed", "7"];
    for (number, begin) in [["--init", "tiny"], ["--model", text(&teacher)]].into_iter().enumerate() {
        let out = place.path().join(number.to_string());
        let printed = lines(&succeed(&stage("distill", begin, "task:copy", &out, &more)));
        let apart: Vec<f64> =
            printed.iter().filter_map(|line| line["held_out_divergence"].as_f64()).collect();
        // Itself has nothing to teach.
        assert!(apart.len() == 2 && (apart[0].abs() < 1e-5) == (number == 1), "{begin:?}: {apart:?}");
        assert!(out.join("model.safetensors").is_file() && !out.join("demonstrations.jsonl").exists());
        assert!(fs::read_to_string(out.join("README.md")).unwrap().contains("distill"));
    }
    succeed(&stage("distill", ["--init", "tiny"], "task:copy", &out, &more));
    refuse(&["distill", "--out", text(&out), "--resume", "--temperature", "3"], "temperature is 2, not 3");
    let other = base(&place, "other", "2");
    let another = ["distill", "--out", text(&out), "--resume", "--teacher", text(&other)];
    refuse(&another, "teacher is ");
    fs::copy(other.join("model.safetensors"), teacher.join("model.safetensors")).unwrap();
    refuse(&["distill", "--out", text(&out), "--resume"], "found a teacher with SHA-256");
}

#[test]
fn a_model_learns_from_the_best_of_its_answers() {
    let place = tempfile::tempdir().unwrap();
    let (model, pairs) = (beginner(&place), comparisons(&place));
    let (judge, one, other) =
        (place.path().join("judge"), place.path().join("one"), place.path().join("other"));
    let begin = ["--model", text(&model)];
    let more = ["--examples", "100", "--max-tokens", "9"];
    let samples = [&["--samples", "4"], &more[..]].concat();
    let printed = lines(&succeed(&stage("distill", begin, "task:copy", &one, &samples)));
    let told = printed.iter().find(|line| line["event"] == "remark").unwrap();
    assert!(told["message"].as_str().unwrap().contains("questions have an answer among 400"), "{told}");
    // What was kept is right, since the task knows.
    let shown = lines(&fs::read_to_string(one.join("demonstrations.jsonl")).unwrap());
    assert!(!shown.is_empty());
    for line in &shown {
        let [prompt, answer] = ["prompt", "completion"].map(|name| line[name].as_str().unwrap());
        assert_eq!(prompt, format!("copy: {} =", answer.trim()), "{line}");
    }
    // A reward model keeps the best, right or not.
    succeed(&stage("reward", begin, text(&pairs), &judge, &[]));
    let judged = [&["--judge", text(&judge)], &samples[..]].concat();
    succeed(&stage("distill", begin, "task:copy", &other, &judged));
    let kept = lines(&fs::read_to_string(other.join("demonstrations.jsonl")).unwrap());
    assert!(kept.len() > shown.len(), "{} {}", kept.len(), shown.len());
}
