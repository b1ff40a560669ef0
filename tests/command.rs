//! The command `cloche`, as the tests run it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

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
