//! What bad data, folders and options get from the stages after pre-training: a named error, and nothing is left behind.

mod command;

use std::fs;

use command::{base, cloche, refuse, stage, succeed, taught, text, train};

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
        (
            format!("{good}{{\"prompt\": \"1+1=\"}}\n"),
            "data.jsonl line 2: fields \"prompt\", expected \"prompt\" and \"completion\"",
        ),
        (
            format!("{good}{{\"messages\": [{{\"role\": \"assistant\", \"content\": \"hi\"}}]}}\n"),
            "data.jsonl line 2: field \"messages[0].role\" is \"assistant\", expected \"user\"",
        ),
        (
            format!("{good}{{\"messages\": [{{\"role\": \"user\", \"content\": \"hi\"}}]}}\n"),
            "data.jsonl line 2: field \"messages\" holds no assistant's message",
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
        "which holds what the run needs",
    );
    refuse(&stage("sft", begin, "task:copy", &out, &["--exam", "0"]), "exam: found 0, expected at least 1");
    refuse(
        &stage("sft", begin, "task:copy", &base, &[]),
        "--resume goes on with it, --overwrite replaces it",
    );
}

#[test]
fn comparisons_that_compare_nothing_are_named() {
    let place = tempfile::tempdir().unwrap();
    let (data, out) = (place.path().join("data.jsonl"), place.path().join("out"));
    let model = base(&place, "base", "1");
    let line = |chosen: &str, rejected: &str| {
        format!("{{\"prompt\": \"1+1=\", \"chosen\": \"{chosen}\", \"rejected\": \"{rejected}\"}}\n")
    };
    let good = line("2", "3");
    for (content, expected) in [
        (
            good.clone() + &line("2", "2"),
            "data.jsonl line 2: field \"rejected\" equals \"chosen\", expected two answers that differ",
        ),
        (good.clone() + &line("", "2"), "data.jsonl line 2: field \"chosen\" is empty"),
        (
            good + "{\"prompt\": \"1+1=\", \"responses\": [\"2\"]}\n",
            "data.jsonl line 2: field \"responses\" holds 1, expected 2 to 64 answers",
        ),
    ] {
        fs::write(&data, content).unwrap();
        for name in ["reward", "dpo"] {
            refuse(&stage(name, ["--model", text(&model)], text(&data), &out, &[]), expected);
            assert!(!out.exists(), "nothing is left behind: {expected}");
        }
    }
    let wrong = stage("dpo", ["--model", text(&model)], "lessons", &out, &[]);
    refuse(&wrong, "data: found no comparisons, expected preferences or a .jsonl file");
}

#[test]
fn a_template_that_fails_is_named_before_anything_is_written() {
    let place = tempfile::tempdir().unwrap();
    let (model, out) = (taught(&place, "model", "lessons", "1"), place.path().join("out"));
    let messages = "{% for m in messages %}{{ m.content }}{% endfor %}";
    for (template, expected) in [
        ("{{ raise_exception('not here') }}".to_string(), "chat template: it raises \"not here\" on line 1"),
        ("{% for m in messages %}".to_string(), "chat template: syntax error"),
        (format!("{messages}{{{{ tools.names }}}}"), "chat template: undefined value"),
        (
            format!(
                "{messages}{{% for a in range(9999) %}}{{% for b in range(9999) %}}{{% endfor %}}{{% endfor %}}"
            ),
            "chat template: it does not end within 10000000 instructions",
        ),
        ("{{ messages[-1].content }}".to_string(), "chat template: it leaves out or alters message 0"),
    ] {
        fs::write(model.join("chat_template.jinja"), template).unwrap();
        refuse(&stage("sft", ["--model", text(&model)], "lessons", &out, &[]), expected);
        assert!(!out.exists(), "nothing is left behind: {expected}");
    }
}

#[test]
fn a_tokenizer_that_is_not_the_models_is_named() {
    let place = tempfile::tempdir().unwrap();
    let (model, out) = (base(&place, "base", "1"), place.path().join("out"));
    let (data, bytes) = (place.path().join("a.txt"), place.path().join("bytes"));
    fs::write(&data, command::prose(3000)).unwrap();
    succeed(&train(&data, &bytes, &["--tokenizer", "byte", "--steps", "2"]));
    // A teacher of another vocabulary says nothing that the student's tokens could mean.
    let taught = stage("distill", ["--model", text(&model)], "task:copy", &out, &["--teacher", text(&bytes)]);
    refuse(&taught, "logits can only be learnt of a teacher with the model's vocabulary");
    fs::copy(bytes.join("tokenizer.json"), model.join("tokenizer.json")).unwrap();
    fs::remove_file(model.join("tokenizer_config.json")).unwrap();
    refuse(&stage("sft", ["--model", text(&model)], "task:copy", &out, &[]), "tokens, the model has 10");
    assert!(!out.exists(), "nothing is left behind");
}

#[test]
fn a_prompt_that_is_longer_than_the_context_is_named() {
    let place = tempfile::tempdir().unwrap();
    let (model, out) = (base(&place, "base", "1"), place.path().join("out"));
    for name in ["grpo", "ppo"] {
        refuse(
            &stage(name, ["--model", text(&model)], "lessons", &out, &[]),
            "no question leaves room for its answer",
        );
        assert!(!out.exists(), "nothing is left behind");
    }
}

/// Logits, and what leads to them, of 16 million tokens at once take more than any machine that runs this has.
#[test]
#[cfg(target_os = "linux")]
fn a_run_that_does_not_fit_in_memory_is_refused_before_it_begins() {
    let place = tempfile::tempdir().unwrap();
    let (data, out) = (place.path().join("data.jsonl"), place.path().join("out"));
    let line = format!("{{\"text\": \"{}\"}}\n", "abcd".repeat(1020));
    fs::write(&data, line.repeat(2)).unwrap();
    let large = ["--batch-size", "4096", "--context-len", "4096"];
    let arguments = stage("sft", ["--init", "tiny"], text(&data), &out, &large);
    refuse(&arguments, "memory: a program needs ");
    let said = String::from_utf8(cloche(&arguments).stderr).unwrap();
    let number = |after: &str| -> u64 {
        let rest = said.split_once(after).unwrap().1;
        rest.split_once(' ').unwrap().0.parse().unwrap()
    };
    assert!(number("needs ") > number("bytes, "), "{said}");
    assert!(!out.exists(), "nothing is left behind");
}

#[test]
fn there_must_be_somebody_to_learn_from() {
    let place = tempfile::tempdir().unwrap();
    let (model, out) = (base(&place, "base", "1"), place.path().join("out"));
    let begin = ["--model", text(&model)];
    for (begin, more, expected) in [
        (begin, &[][..], "teacher: found nothing, expected --teacher with a folder, or --samples"),
        (["--init", "tiny"], &["--samples", "2"], "a new model has no answers"),
        (begin, &["--samples", "0"], "samples: found 0, expected 1 to 1024"),
        (
            begin,
            &["--samples", "2", "--least", "99"],
            "samples: found no answer that has ended and is worth enough",
        ),
        (
            begin,
            &["--samples", "2", "--judge", text(&model)],
            "found a model that makes words, expected one that scores them",
        ),
        (
            begin,
            &["--teacher", text(&model), "--temperature", "0"],
            "temperature: found 0, expected a finite number",
        ),
        (begin, &["--teacher", "nowhere"], "nowhere: there is no such folder"),
    ] {
        refuse(&stage("distill", begin, "task:copy", &out, more), expected);
        assert!(!out.exists(), "nothing is left behind: {expected}");
    }
}
