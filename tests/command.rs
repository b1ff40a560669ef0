//! The command `cloche`, as the tests run it.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A model so small that a step takes a millisecond.
pub const MICRO: [&str; 14] = [
    "--preset",
    "tiny",
    "--n-layer",
    "1",
    "--n-head",
    "2",
    "--d-model",
    "32",
    "--batch-size",
    "1",
    "--context-len",
    "8",
    "--device",
    "cpu",
];

/// The command with these arguments, not yet started.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloche"));
    command.args(arguments);
    command
}

/// Runs the command to its end.
pub fn cloche(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the command starts")
}

/// Runs the command, which must succeed, and returns what it prints.
#[track_caller]
pub fn succeed(arguments: &[&str]) -> String {
    let output = cloche(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cloche {}: {said}", arguments.join(" "));
    String::from_utf8(output.stdout).expect("output is UTF-8")
}

/// The arguments that train a micro model; nothing is evaluated or sampled before the end.
pub fn train<'a>(data: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["train", "--data", text(data), "--out", text(out), "--json"];
    arguments.extend(MICRO);
    arguments.extend(["--eval-every", "0", "--sample-at", "1000000"]);
    arguments.extend(more);
    arguments
}

/// The objects of JSON lines.
pub fn lines(output: &str) -> Vec<Value> {
    output.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

/// A text of about `bytes` bytes and a few dozen different characters.
pub fn prose(bytes: usize) -> String {
    let sentences = [
        "The owl sat in the old elm. ",
        "Mara counted 7 pears, then 12 more! ",
        "\"Why not?\" asked the fox.\n",
    ];
    let mut told = String::new();
    for i in 0.. {
        if told.len() >= bytes {
            break;
        }
        told.push_str(sentences[(i * i + i / 3) % 3]);
    }
    told
}

/// What makes a stage take a second.
pub const SMALL: [&str; 14] = [
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
pub fn stage<'a>(
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
pub fn base(place: &TempDir, name: &str, seed: &str) -> PathBuf {
    taught(place, name, "task:copy", seed)
}

/// The same with other data, as long as which its context is.
pub fn taught(place: &TempDir, name: &str, data: &str, seed: &str) -> PathBuf {
    let out = place.path().join(name);
    succeed(&stage("sft", ["--init", "tiny"], data, &out, &["--seed", seed]));
    out
}

/// A model that has copied long enough to end its answers, and to be right now and then.
pub fn beginner(place: &TempDir) -> PathBuf {
    let out = place.path().join("beginner");
    let longer = ["--steps", "150", "--batch-size", "32", "--examples", "2000", "--lr", "3e-3"];
    succeed(&stage("sft", ["--init", "tiny"], "task:copy", &out, &longer));
    out
}

/// A file of comparisons: letters that are copied rather than letters that are not.
pub fn comparisons(place: &TempDir) -> PathBuf {
    let path = place.path().join("pairs.jsonl");
    let letters = |n: usize| ["a", "b", "c", "d", "e"].iter().cycle().skip(n).step_by(n % 3 + 1);
    let said = |n: usize| letters(n).take(3).copied().collect::<Vec<_>>().join(" ");
    let line = |n: usize| {
        let (right, wrong) = (said(n), said(n + 1));
        format!("{{\"prompt\": \"copy: {right} =\", \"chosen\": \"{right}\", \"rejected\": \"{wrong}\"}}\n")
    };
    std::fs::write(&path, (0..60).map(line).collect::<String>()).expect("the file is written");
    path
}

/// Runs the command, which must fail with exit code 1 and an error that contains `expected`.
#[track_caller]
pub fn refuse(arguments: &[&str], expected: &str) {
    let output = cloche(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    let place = format!("cloche {}: {said}", arguments.join(" "));
    assert_eq!(output.status.code(), Some(1), "{place}");
    assert!(said.contains("error: ") && said.contains(expected), "{place}, expected {expected}");
}
