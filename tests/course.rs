//! The course, with hardly a step to each chapter: all chapters run, the report is whole, and what was cut off goes on.

mod command;

use std::fs;

use command::{cloche, lines, succeed, text};

#[test]
fn a_course_leaves_a_report_and_goes_on_where_it_was_cut_off() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("course");
    let begin = ["course", "--out", text(&out), "--device", "cpu", "--scale", "0.0001", "--json"];
    let told = lines(&succeed(&begin));
    let stages: Vec<_> = told.iter().filter_map(|line| line["stage"].as_str()).collect();
    assert_eq!(stages, ["sft", "sft", "reward", "ppo", "dpo", "grpo"]);
    let read =
        |name: &str| fs::read_to_string(out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (md, html) = (read("report.md"), read("report.html"));
    for heading in
        ["Pre-training", "Supervised", "Reward model", "PPO", "DPO", "GRPO", "The same ten questions"]
    {
        assert!(md.contains(heading) && html.contains(heading), "{heading}");
    }
    // Ten questions, and an answer of each of the six models that make words.
    assert_eq!(md.matches("\n### ").count(), 10);
    assert_eq!(md.matches("\n| 7-honest |").count(), 10);
    for name in ["1-base-1.svg", "4-judge-2.svg", "7-honest-2.svg"] {
        assert!(read(name).contains("<polyline") && md.contains(&format!("]({name})")), "{name}");
    }

    // As if it had been cut off in the fifth chapter: what is done stays, the rest is made again with the same bits.
    let weights = || fs::read(out.join("7-honest/model.safetensors")).unwrap();
    let before = weights();
    for name in ["5-ppo.jsonl", "6-dpo.jsonl", "7-honest.jsonl"] {
        let log = read(name);
        let cut = log.lines().filter(|line| !line.contains("\"done\"")).collect::<Vec<_>>().join("\n");
        fs::write(out.join(name), cut + "\n").unwrap();
    }
    let go_on = ["course", "--out", text(&out), "--device", "cpu", "--resume", "--json"];
    let told = lines(&succeed(&go_on));
    let stages: Vec<_> = told.iter().filter_map(|line| line["stage"].as_str()).collect();
    assert_eq!(stages, ["ppo", "dpo", "grpo"]);
    assert_eq!(weights(), before);
    let refused = |more: &[&str], expected: &str| {
        let output = cloche(&[&["course", "--out", text(&out)], more].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(expected), "{said}");
    };
    refused(&[], "holds a course already: --resume goes on with it");
    refused(&["--resume", "--seed", "5"], "a course goes on as it was begun");
    refused(&["--overwrite", "--scale", "0"], "scale: found 0, expected a number above 0");
}
