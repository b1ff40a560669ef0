//! What bad input gets: a named error, exit code 1, and nothing lost. What bad luck gets: nothing lost either.

mod command;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cloche_train::settings::Settings;
use cloche_train::store;
use command::{cloche, command, lines, prose, refuse, succeed, text, train};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A place with a text in it: its folder, the text, and where a model may go.
fn place_with(content: &[u8]) -> (TempDir, PathBuf, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let (data, out) = (place.path().join("text.txt"), place.path().join("out"));
    fs::write(&data, content).unwrap();
    (place, data, out)
}

#[test]
fn texts_that_nothing_can_be_learned_from() {
    let short = "A short text.".as_bytes();
    let contexts = ["--context-len", "64"];
    for (content, more, expected) in [
        (&b""[..], &[][..], "is empty, expected UTF-8 text"),
        (b"ab\0cd", &[], "a NUL byte at byte 2, expected UTF-8 text"),
        (b"caf\xe9 noir", &[], "byte 0xe9, which is no UTF-8, at byte 3, expected UTF-8 text"),
        (b"aaaaaaaaaaaaaaaaaaaaaaaa", &[], "text has one distinct character, 'a'"),
        (short, &contexts, "text has 12 tokens, context_len 64 needs at least 65"),
        (short, &["--tokenizer", "bpe:5000"], "vocabulary of 5000 tokens: the text gives only"),
        (short, &["--tokenizer", "bpe:12"], "tokenizer \"bpe:12\": expected a size from 257"),
    ] {
        let (_place, data, out) = place_with(content);
        refuse(&train(&data, &out, more), expected);
        assert!(!out.exists(), "nothing is left behind: {expected}");
    }
    let (place, _, out) = place_with(b"");
    refuse(&train(&place.path().join("nowhere.txt"), &out, &[]), "nowhere.txt");
    refuse(&train(place.path(), &out, &[]), "holds no text, expected a folder with .txt or .md files");
    let records = place.path().join("records.jsonl");
    fs::write(&records, "{\"text\":\"one\"}\n{\"txet\":\"two\"}\n").unwrap();
    refuse(&train(&records, &out, &[]), "line 2: field \"text\" is missing");
}

#[test]
fn settings_with_which_no_run_can_begin() {
    let (_place, data, out) = place_with(prose(2000).as_bytes());
    for (more, expected) in [
        (&["--n-head", "3"][..], "n_head: found 3, expected a number that divides d_model (32)"),
        (&["--lr", "0"][..], "lr: found 0, expected a number above 0"),
        (&["--lr", "-0.001"][..], "lr: found -0.001, expected a number above 0"),
        (&["--lr", "NaN"][..], "lr: found NaN, expected a number above 0"),
        (&["--batch-size", "0"][..], "batch_size: found 0"),
        (&["--dropout", "1"][..], "dropout: found 1"),
        (&["--preset", "huge"][..], "preset: found \"huge\", expected one of tiny, nano"),
        (&["--n-layer", "1024", "--d-ff", "1048576"], "model needs 1.1 TB"),
    ] {
        refuse(&train(&data, &out, more), expected);
        assert!(!out.exists(), "nothing is left behind: {expected}");
    }
}

#[test]
fn a_learning_rate_of_a_billion_ends_with_the_last_good_weights() {
    let (_place, data, out) = place_with(prose(2000).as_bytes());
    let arguments = train(&data, &out, &["--steps", "300", "--lr", "1e9", "--warmup-steps", "0"]);
    let output = cloche(&arguments);
    let printed = lines(&String::from_utf8(output.stdout).unwrap());
    let done = printed.last().unwrap();
    assert_eq!((output.status.code(), done["reason"].as_str()), (Some(1), Some("diverged")), "{done}");
    let last: Vec<&Value> = printed.iter().filter(|line| line["event"] == "nonfinite").collect();
    assert_eq!(last.last().unwrap()["in_a_row"], 10);
    assert!(String::from_utf8_lossy(&output.stderr).contains("the last good weights are in"));
    let mut checkpoint = cloche_nn::checkpoint::Checkpoint::open_folder(&out).unwrap();
    let (_, weights) = checkpoint.tensor("transformer.wte.weight").unwrap();
    assert!(weights.iter().all(|w| w.is_finite()));
}

#[test]
fn a_run_is_neither_replaced_nor_mixed_with_another() {
    let (place, data, out) = place_with(prose(2000).as_bytes());
    refuse(&train(&data, &out, &["--steps", "2", "--resume"]), "holds no run to resume");
    succeed(&train(&data, &out, &["--steps", "2"]));
    refuse(&train(&data, &out, &["--steps", "2"]), "--resume goes on with it, --overwrite replaces it");
    let resumed = |more: &[&'static str]| train(&data, &out, &[&["--resume"], more].concat()).join("\n");
    let refuse_lines =
        |arguments: String, expected| refuse(&arguments.split('\n').collect::<Vec<_>>(), expected);
    refuse_lines(resumed(&["--lr", "0.5"]), "lr is 0.003, not 0.5");
    refuse_lines(resumed(&["--seed", "7"]), "seed is 1337, not 7");
    refuse_lines(resumed(&["--tokenizer", "byte"]), "tokenizer is char, not byte");
    refuse_lines(resumed(&["--steps", "1"]), "step is 2, expected at most 1");
    let other = place.path().join("other.txt");
    fs::write(&other, prose(1900)).unwrap();
    refuse(&train(&other, &out, &["--resume"]), "the data's SHA-256");
    // More steps are the same run, and nothing but the folder is needed to go on.
    let printed = lines(&succeed(&[
        "train",
        "--out",
        text(&out),
        "--resume",
        "--steps",
        "5",
        "--device",
        "cpu",
        "--json",
    ]));
    assert_eq!(printed.last().unwrap()["step"], 5);
    succeed(&train(&data, &out, &["--steps", "1", "--overwrite"]));
}

/// A copy of the golden GPT-2 folder.
fn model_folder() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/gpt2");
    for name in ["config.json", "model.safetensors"] {
        fs::copy(golden.join(name), place.path().join(name)).unwrap();
    }
    place
}

/// Changes the header of the folder's weights, and the bytes behind it.
fn change_weights(folder: &Path, change: impl Fn(&mut serde_json::Map<String, Value>, &mut Vec<u8>)) {
    let path = folder.join("model.safetensors");
    let file = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut header = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let mut data = file[8 + length..].to_vec();
    change(&mut header, &mut data);
    let header = serde_json::to_vec(&header).unwrap();
    fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()).unwrap();
}

const WPE: &str = "transformer.wpe.weight";

#[test]
fn weights_of_another_model_are_refused_tensor_by_tensor() {
    let tensor = |change: fn(&mut serde_json::Map<String, Value>)| {
        let place = model_folder();
        change_weights(place.path(), |header, _| change(header));
        place
    };
    for (place, expected) in [
        (
            tensor(|header| {
                let wpe = header.remove(WPE).unwrap();
                header.insert("transformer.pew.weight".into(), wpe);
            }),
            "tensor \"transformer.wpe.weight\": missing from the file, model needs (8, 16)\n\
             tensor \"transformer.pew.weight\": file has (8, 16), model has no such parameter",
        ),
        (
            tensor(|header| header[WPE]["shape"] = json!([16, 8])),
            "tensor \"transformer.wpe.weight\": file has (16, 8), model needs (8, 16)",
        ),
        (tensor(|header| header[WPE]["dtype"] = json!("I32")), "file has I32, needed is F32, F16 or BF16"),
        (
            tensor(|header| header[WPE]["shape"] = json!([1u64 << 40, 1u64 << 40])),
            "is not a valid safetensors file",
        ),
        (tensor(|header| header[WPE]["data_offsets"] = json!([0, 4])), "is not a valid safetensors file"),
    ] {
        refuse(&["logits", "--model", text(place.path()), "--ids", "1", "--device", "cpu"], expected);
    }
}

#[test]
fn files_that_are_no_model_are_refused() {
    let bytes = |change: fn(&mut Vec<u8>)| {
        let place = model_folder();
        let path = place.path().join("model.safetensors");
        let mut file = fs::read(&path).unwrap();
        change(&mut file);
        fs::write(&path, file).unwrap();
        place
    };
    let twice = |file: &mut Vec<u8>| {
        let header = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
        *file = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 8]].concat();
    };
    let pickle = model_folder();
    fs::remove_file(pickle.path().join("model.safetensors")).unwrap();
    fs::write(pickle.path().join("pytorch_model.bin"), b"\x80\x02}q\x00.").unwrap();
    let config = |key: &str, value: Value| {
        let place = model_folder();
        let path = place.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config[key] = value;
        fs::write(path, config.to_string()).unwrap();
        place
    };
    let huge = config("n_head", json!(1024));
    let path = huge.path().join("config.json");
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("\"n_embd\":16", "\"n_embd\":131072"))
        .unwrap();
    let bare = tempfile::tempdir().unwrap();
    for (place, expected) in [
        (bytes(|file| file.truncate(file.len() - 5)), "truncated"),
        (bytes(|file| file.truncate(100)), "truncated"),
        (bytes(|file| file.extend([0; 64])), "64 bytes after the last tensor, there must be none"),
        (
            bytes(|file| file[..8].copy_from_slice(&(1u64 << 62).to_le_bytes())),
            "a header of 4611686018427387904 bytes",
        ),
        (bytes(twice), "key \"w\" occurs twice"),
        (pickle, "\"pytorch_model.bin\" is a pickle, which can run any code when it is opened"),
        (huge, "the model does not fit in memory: needs"),
        (
            config("n_head", json!(3)),
            "config.json: n_head: found 3, expected a number that divides d_model (16)",
        ),
        (
            config("model_type", json!("bert")),
            "config.json: model_type: found \"bert\", expected \"gpt2\" or \"llama\"",
        ),
        (bare, "config.json is not there"),
    ] {
        refuse(&["logits", "--model", text(place.path()), "--ids", "1", "--device", "cpu"], expected);
    }
    let place = model_folder();
    refuse(&["logits", "--model", text(place.path()), "--ids", "1,37", "--device", "cpu"], "ids: found 37");
    refuse(&["eval", "--model", text(place.path()), "--data", "x"], "tokenizer.json is not there");
    refuse(&["generate", "--model", "nowhere", "--prompt", "x"], "nowhere: there is no such folder");
}

/// The bytes that make two runs equal: weights and moments.
fn final_bytes(out: &Path, step: u64) -> [Vec<u8>; 2] {
    let optimizer = format!("checkpoints/step-{step}/optimizer.safetensors");
    ["model.safetensors", &optimizer].map(|name| fs::read(out.join(name)).unwrap())
}

#[test]
fn fifty_kills_at_random_moments_cost_nothing() {
    const KILLS: usize = 50;
    const STEPS: u64 = 400;
    let (place, data, out) = place_with(prose(3000).as_bytes());
    let whole = place.path().join("whole");
    let steps = STEPS.to_string();
    let options = ["--steps", &steps, "--checkpoint-every", "1", "--dropout", "0.1"];
    succeed(&train(&data, &whole, &["--steps", &steps, "--dropout", "0.1"]));

    let (mut kills, mut latest, mut random) = (0, 0, 1337u64);
    while kills < KILLS {
        let resume = out.join("run.json").exists();
        let mut arguments = train(&data, &out, &options);
        // What a process has left that was killed before its run began may be replaced.
        arguments.push(if resume { "--resume" } else { "--overwrite" });
        let mut child = command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Knuth's generator: from the start of the process to some saves later.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros(20_000 + (random >> 33) % 150_000));
        let running = child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        child.wait().unwrap();
        kills += usize::from(running);

        let found = store::open_latest::<Settings>(&out.join("checkpoints")).unwrap();
        let step = found.as_ref().map_or(0, |found| found.saved.state.step);
        assert!(step >= latest, "after kill {kills}: step {step}, it was {latest}");
        assert!(found.is_none_or(|found| found.damaged.is_empty()));
        if step == STEPS {
            // The machine is fast: another run is killed from its beginning.
            assert_eq!(finish(&data, &out, &options), STEPS);
            assert!(final_bytes(&out, STEPS) == final_bytes(&whole, STEPS), "after {kills} kills");
            fs::remove_dir_all(&out).unwrap();
        }
        latest = step % STEPS;
    }
    assert!(latest > 0 || out.join("run.json").exists(), "no kill came after a checkpoint");
    assert_eq!(finish(&data, &out, &options), STEPS);
    assert!(final_bytes(&out, STEPS) == final_bytes(&whole, STEPS), "the resumed run came to other weights");
}

/// Resumes a run and lets it end; returns its steps.
fn finish(data: &Path, out: &Path, options: &[&str]) -> u64 {
    let options = [options, &["--resume"]].concat();
    let printed = lines(&succeed(&train(data, out, &options)));
    printed.last().unwrap()["step"].as_u64().unwrap()
}

#[test]
#[cfg(unix)]
fn an_interrupted_run_saves_and_goes_on_bit_for_bit() {
    let (place, data, out) = place_with(prose(3000).as_bytes());
    let whole = place.path().join("whole");
    let options = ["--steps", "600", "--dropout", "0.1"];
    succeed(&train(&data, &whole, &options));

    let mut child = command(&train(&data, &out, &options)).stdout(Stdio::piped()).spawn().unwrap();
    let mut printed = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    printed.find(|line| line.contains("\"event\":\"step\"")).unwrap();
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let done = printed.last().unwrap();
    assert!(interrupted.success() && child.wait().unwrap().success());
    assert!(done.contains("\"event\":\"done\"") && done.contains("stopped"), "{done}");
    assert_eq!(finish(&data, &out, &options), 600);
    assert!(final_bytes(&out, 600) == final_bytes(&whole, 600));
}

/// The disk is full when no file may grow beyond 16 KiB; it has room again when that limit is lifted.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_does_not_stop_the_training() {
    let (_place, data, out) = place_with(prose(3000).as_bytes());
    let options = ["--steps", "3000", "--checkpoint-every", "50"];
    let mut child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -S -f 16; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_cloche")])
        .args(train(&data, &out, &options))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut printed = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let warning = printed.find(|line| line.contains("\"event\":\"warning\"")).unwrap();
    assert!(warning.contains("could not be saved and will be tried again"), "{warning}");
    assert!(printed.any(|line| line.contains("\"event\":\"step\"")), "the training goes on");
    assert!(!out.join("checkpoints/step-50").exists());
    let lifted = Command::new("prlimit")
        .args(["--pid", &child.id().to_string(), "--fsize=unlimited"])
        .status()
        .unwrap();
    let done = printed.last().unwrap();
    assert!(lifted.success() && child.wait().unwrap().success(), "{done}");
    assert!(done.contains("finished"), "{done}");
    let latest = store::open_latest::<Settings>(&out.join("checkpoints")).unwrap().unwrap();
    assert_eq!(latest.saved.state.step, 3000);
}
