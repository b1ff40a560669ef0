//! Stages after pre-training that are killed at random moments, in a step or while they save, come to the same bits.

mod command;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cloche_tensor::rng::Rng;
use command::{command, lines, succeed, text};
use tempfile::TempDir;

/// How often each stage is killed.
const KILLS: usize = 20;

/// Steps of each run; every one of them is saved.
const STEPS: u64 = 30;

/// A place for models, and the arguments that make every stage small.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A model from nothing, after two steps.
    fn model(&self, name: &str, data: &str) -> PathBuf {
        self.taught(name, data, &[])
    }

    fn taught(&self, name: &str, data: &str, more: &[&str]) -> PathBuf {
        let out = self.path(name);
        succeed(&[&stage("sft", &["--init", "tiny"], data, &out, "2")[..], more].concat());
        out
    }

    /// Kills a stage again and again until it has come to its end, and holds what it leaves against a run that was left
    /// alone.
    fn survives(&self, name: &str, model: &Path, data: &str, more: &[&str]) {
        let begin = [&["--model", text(model)][..], more].concat();
        let steps = STEPS.to_string();
        let arguments = |out| stage(name, &begin, data, out, &steps);
        let (whole, out) = (self.path("whole"), self.path("out"));
        succeed(&arguments(&whole));
        let mut rng = Rng::new(KILLS as u64, 0);
        let (mut kills, mut finished) = (0, 0);
        while kills < KILLS {
            let resumed = [name, "--out", text(&out), "--resume", "--device", "cpu", "--json"];
            let begun = out.join("run.json").exists();
            let mut arguments = if begun { resumed.to_vec() } else { arguments(&out) };
            // What a process has left that was killed before its run began may be replaced.
            if !begun {
                arguments.push("--overwrite");
            }
            if killed(&arguments, &mut rng) {
                kills += 1;
            } else {
                // The machine is fast: another run is killed from its beginning.
                assert_alike(name, &out, &whole);
                finished += 1;
                fs::remove_dir_all(&out).unwrap();
            }
        }
        let begun = out.join("run.json").exists();
        assert!(begun || finished > 0, "{name}: no kill came after the beginning");
        if begun {
            let printed =
                lines(&succeed(&[name, "--out", text(&out), "--resume", "--device", "cpu", "--json"]));
            assert_eq!(printed.last().unwrap()["step"], STEPS, "{name}");
            assert_alike(name, &out, &whole);
            fs::remove_dir_all(&out).unwrap();
        }
        fs::remove_dir_all(&whole).unwrap();
    }
}

/// The arguments of a small stage that saves after every step.
fn stage<'a>(name: &'a str, begin: &[&'a str], data: &'a str, out: &'a Path, steps: &'a str) -> Vec<&'a str> {
    let small = ["--batch-size", "2", "--examples", "20", "--exam", "2", "--max-tokens", "4"];
    let rhythm = ["--steps", steps, "--checkpoint-every", "1", "--eval-every", "0", "--device", "cpu"];
    let place = ["--data", data, "--out", text(out), "--json"];
    [&[name][..], begin, &small, &rhythm, &place].concat()
}

/// Starts the command and kills it: some events later, and at any moment between two of them. Whether it was still
/// running.
fn killed(arguments: &[&str], rng: &mut Rng) -> bool {
    let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    // One in five is killed on its way to the first event, however long that takes here.
    if rng.below(5) > 0 {
        out.lines().take(1 + rng.below(14) as usize).for_each(|line| drop(line.unwrap()));
    }
    std::thread::sleep(Duration::from_micros(rng.below(12_000)));
    let running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(running || status.success(), "cloche {}: ended by itself with {status}", arguments.join(" "));
    running
}

/// Weights and moments of all models in the last checkpoint, and what the run leaves.
fn left(out: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let folders = [out.to_path_buf(), out.join(format!("checkpoints/step-{STEPS}"))];
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let tensors = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "safetensors" || end == "jsonl"));
    tensors.map(|path| (path.strip_prefix(out).unwrap().to_path_buf(), fs::read(&path).unwrap())).collect()
}

#[track_caller]
fn assert_alike(name: &str, out: &Path, whole: &Path) {
    let (found, expected) = (left(out), left(whole));
    assert!(expected.len() >= 3, "{name}: {:?}", expected.keys());
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{name}");
    for (file, bytes) in &expected {
        assert!(found[file] == *bytes, "{name}: {} differs", file.display());
    }
}

#[test]
fn fine_tuning_survives() {
    let place = Place::new();
    let model = place.model("model", "task:copy");
    place.survives("sft", &model, "task:copy", &[]);
    place.survives("sft", &model, "task:copy", &["--lora", "rank=2,dropout=0.1"]);
}

#[test]
fn learning_from_comparisons_survives() {
    let place = Place::new();
    let model = place.model("model", "preferences");
    place.survives("reward", &model, "preferences", &[]);
    place.survives("dpo", &model, "preferences", &[]);
}

#[test]
fn learning_from_rewards_survives() {
    let place = Place::new();
    let model = place.model("model", "task:copy");
    place.survives("ppo", &model, "task:copy", &[]);
    place.survives("grpo", &model, "task:copy", &["--group", "2", "--beta", "0.1"]);
}

#[test]
fn distillation_survives() {
    let place = Place::new();
    let model = place.model("model", "task:copy");
    let teacher = place.model("teacher", "task:copy");
    place.survives("distill", &model, "task:copy", &["--teacher", text(&teacher)]);
    // Its own answers end by themselves after some steps; right ones are not asked for.
    let more = ["--steps", "100", "--batch-size", "16", "--examples", "500", "--checkpoint-every", "0"];
    let model = place.taught("beginner", "task:copy", &more);
    place.survives("distill", &model, "task:copy", &["--samples", "2", "--least=-9", "--max-tokens", "9"]);
}
