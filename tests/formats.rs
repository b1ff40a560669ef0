//! Model folders: those that transformers wrote compute what they should, and ours hold all that others look for.

mod command;

use std::fs;
use std::path::{Path, PathBuf};

use cloche_nn::checkpoint::Checkpoint;
use command::{cloche, command, lines, prose, refuse, succeed, text, train};
use serde_json::Value;

/// Of the largest logit.
const TOLERANCE: f32 = 1e-4;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

fn logits(folder: &Path, ids: &[i64]) -> (Vec<u64>, Vec<f32>) {
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    let printed =
        succeed(&["logits", "--model", text(folder), "--ids", &ids.join(","), "--device", "cpu", "--json"]);
    let printed: Value = serde_json::from_str(&printed).unwrap();
    let list = |key: &str| printed[key].as_array().unwrap().clone();
    (
        list("shape").iter().map(|n| n.as_u64().unwrap()).collect(),
        list("logits").iter().map(|n| n.as_f64().unwrap() as f32).collect(),
    )
}

#[test]
fn folders_of_transformers_compute_the_logits_of_transformers() {
    for name in ["gpt2", "llama", "llama-tied"] {
        let folder = golden(name);
        let bytes = fs::read(folder.join("golden.safetensors")).unwrap();
        let mut golden = Checkpoint::from_bytes(vec![("golden.safetensors".into(), bytes)]).unwrap();
        let (ids, expected) = (golden.ids("ids").unwrap(), golden.tensor("logits").unwrap());
        let (t, v) = (expected.0[1], expected.0[2]);
        let largest = expected.1.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        for (ids, expected) in ids.1.chunks(t).zip(expected.1.chunks(t * v)) {
            let (shape, found) = logits(&folder, ids);
            assert_eq!(shape, [t as u64, v as u64], "{name}");
            let differences = found.iter().zip(expected).map(|(x, y)| (x - y).abs());
            let worst = differences.fold(0.0, f32::max) / largest;
            assert!(worst <= TOLERANCE, "{name}: {worst}");
        }
    }
}

#[test]
fn a_trained_folder_holds_all_that_transformers_looks_for() {
    let place = tempfile::tempdir().unwrap();
    let (data, out) = (place.path().join("prose.txt"), place.path().join("micro"));
    fs::write(&data, prose(4000)).unwrap();
    let printed =
        lines(&succeed(&train(&data, &out, &["--steps", "3", "--sample-at", "0,3", "--sample-len", "5"])));
    let kinds: Vec<&str> = printed.iter().map(|line| line["event"].as_str().unwrap()).collect();
    let expected = ["start", "sample", "step", "step", "step", "eval", "sample", "checkpoint", "done"];
    assert_eq!(kinds, expected);
    for key in ["step", "loss", "lr", "grad_norm", "tokens_per_s"] {
        assert!(printed[2][key].is_number(), "{key}");
    }
    for name in [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "README.md",
        "checkpoints/step-3/manifest.json",
    ] {
        assert!(out.join(name).is_file(), "{name}");
    }
    // The biases that Hugging Face's GPT-2 always has are there, and zero.
    let mut checkpoint = Checkpoint::open_folder(&out).unwrap();
    assert_eq!(checkpoint.tensor("transformer.ln_f.bias").unwrap(), (vec![32], vec![0.0; 32]));
    assert!(logits(&out, &[1, 2, 3]).1.iter().all(|x| x.is_finite()));
}

#[test]
fn a_trained_folder_scores_as_its_last_evaluation_did() {
    let place = tempfile::tempdir().unwrap();
    let (data, out) = (place.path().join("prose.txt"), place.path().join("micro"));
    let told = prose(4000);
    fs::write(&data, &told).unwrap();
    let steps = ["--steps", "20", "--eval-batches", "1000"];
    let printed = lines(&succeed(&train(&data, &out, &steps)));
    let trained = printed.last().unwrap()["val_loss"].as_f64().unwrap();
    // The held-out tenth of the characters, as a text of its own.
    let characters: Vec<char> = told.chars().collect();
    let held_out = characters.len() - (characters.len() as f64 * 0.1).round() as usize;
    fs::write(&data, characters[held_out..].iter().collect::<String>()).unwrap();
    let score = succeed(&["eval", "--model", text(&out), "--data", text(&data), "--device", "cpu", "--json"]);
    let score: Value = serde_json::from_str(&score).unwrap();
    let value = |key: &str| score[key].as_f64().unwrap();
    assert!((value("nats_per_token") - trained).abs() < 1e-4, "{score} {trained}");
    assert!((value("perplexity") - trained.exp()).abs() < 1e-2 * trained.exp());
    // A character of this text is a byte.
    assert!((value("bits_per_byte") - value("bits_per_token")).abs() < 1e-6);
    assert_eq!(value("tokens") as usize, characters.len() - held_out - 1);
}

#[test]
fn a_trained_folder_speaks_the_same_words_for_the_same_seed() {
    let place = tempfile::tempdir().unwrap();
    let (data, out) = (place.path().join("prose.txt"), place.path().join("micro"));
    fs::write(&data, prose(4000)).unwrap();
    succeed(&train(&data, &out, &["--steps", "200", "--tokenizer", "bpe:270"]));
    let say = |more: &[&str]| {
        let asked = ["generate", "--model", text(&out), "--prompt", "The owl", "--device", "cpu"];
        succeed(&[&asked, more].concat())
    };
    let plain = say(&["--max-tokens", "30"]);
    assert!(plain.starts_with("The owl") && plain.len() > 30, "{plain}");
    assert_eq!(plain, say(&["--max-tokens", "30"]));
    assert_ne!(plain, say(&["--max-tokens", "30", "--seed", "1"]));

    // The same with a draft, here the model itself: rounded, its guesses are sometimes wrong.
    let draft = ["--draft", text(&out), "--draft-quantize", "int4", "--ahead", "3"];
    assert_eq!(plain, say(&[&["--max-tokens", "30"][..], &draft].concat()));
    let printed = lines(&say(&[&["--max-tokens", "30", "--json"][..], &draft].concat()));
    let counts = ["guessed", "right"].map(|key| printed.last().unwrap()[key].as_u64().unwrap());
    assert!(0 < counts[1] && counts[1] <= counts[0], "{counts:?}");
    let other = place.path().join("other");
    succeed(&train(&data, &other, &["--steps", "1", "--tokenizer", "bpe:268"]));
    let mut asked = vec!["generate", "--model", text(&out), "--prompt", "x", "--device", "cpu", "--draft"];
    asked.push(text(&other));
    refuse(&asked, "other: tokenizer.json: token ");
    *asked.last_mut().unwrap() = text(&out);
    refuse(&[&asked[..], &["--n", "2"]].concat(), "draft: found 2 sequences at once, expected 1");
    refuse(&[&asked[..], &["--ahead", "7"]].concat(), "draft: found 7 guesses at once, expected 1 to 6");

    // Beyond the context of 8 tokens, several at once, each token with its log-probability.
    let printed = lines(&say(&["--max-tokens", "20", "--n", "3", "--json"]));
    let (tokens, ends): (Vec<_>, Vec<_>) = printed.iter().partition(|line| line["event"] == "token");
    assert_eq!((tokens.len(), ends.len()), (60, 3));
    assert!(tokens.iter().all(|token| token["log_prob"].as_f64().unwrap() <= 0.0));
    for (sequence, end) in ends.iter().enumerate() {
        let own = tokens.iter().filter(|token| token["sequence"] == sequence);
        let joined: String = own.map(|token| token["text"].as_str().unwrap()).collect();
        // A character whose last byte never came is shown as U+FFFD in the end only.
        assert_eq!(end["text"].as_str().unwrap().trim_end_matches('\u{fffd}'), joined);
        assert_eq!((end["finish"].as_str().unwrap(), end["tokens"].as_u64().unwrap()), ("length", 20));
    }

    // A stop string ends the text before it, wherever tokens begin and end.
    let greedy = ["--max-tokens", "60", "--temperature", "0", "--json"];
    let whole = lines(&say(&greedy)).last().unwrap()["text"].as_str().unwrap().to_string();
    let stop: String = whole.chars().skip(10).take(4).collect();
    let stopped = lines(&say(&[&greedy[..], &["--stop", &stop]].concat()));
    let end = stopped.last().unwrap();
    let before = &whole[..whole.find(&stop).unwrap()];
    assert_eq!((end["text"].as_str(), end["finish"].as_str()), (Some(before), Some("stop")));
}

#[test]
fn the_lines_of_a_file_are_continued_through_few_slots() {
    let place = tempfile::tempdir().unwrap();
    let (data, out) = (place.path().join("prose.txt"), place.path().join("micro"));
    fs::write(&data, prose(4000)).unwrap();
    succeed(&train(&data, &out, &["--steps", "150", "--context-len", "48"]));
    let file = place.path().join("prompts.txt");
    let prompts = ["The owl", "Mara counted 7", "W", "the fox", "then 12 more"];
    fs::write(&file, prompts.join("\n")).unwrap();
    let say = |more: &[&str]| {
        let asked = ["generate", "--model", text(&out), "--device", "cpu", "--max-tokens", "25"];
        succeed(&[&asked, more].concat())
    };
    let all = |more: &[&str]| say(&[&["--prompts", text(&file)], more].concat());
    let ends = |printed: &str| {
        let mut ends: Vec<Value> =
            lines(printed).into_iter().filter(|line| line["event"] == "done").collect();
        ends.sort_by_key(|end| end["sequence"].as_u64());
        ends
    };
    // 1. Slots change nothing, and the first line is a prompt like any other.
    let printed = all(&["--slots", "2", "--json"]);
    let together = ends(&printed);
    assert_eq!(together.len(), prompts.len());
    assert_eq!(together, ends(&all(&["--json"])));
    let alone = lines(&say(&["--prompt", prompts[0], "--json"]));
    assert_eq!(together[0]["text"], alone.last().unwrap()["text"]);
    let tokens = lines(&printed).iter().filter(|line| line["event"] == "token").count() as u64;
    assert_eq!(tokens, together.iter().map(|end| end["tokens"].as_u64().unwrap()).sum::<u64>());
    // 2. In words, and from standard input.
    let mut words = all(&["--slots", "3"]);
    for (i, (prompt, end)) in prompts.iter().zip(&together).enumerate() {
        let told = format!("--- {} (length) ---\n{prompt}{}\n", i + 1, end["text"].as_str().unwrap());
        let at = words.find(&told).unwrap_or_else(|| panic!("{told:?} in {words:?}"));
        words.replace_range(at..at + told.len(), "");
    }
    assert_eq!(words, "");
    let mut piped = command(&["generate", "--model", text(&out), "--device", "cpu", "--max-tokens", "25"]);
    piped.args(["--prompts", "-", "--slots", "3"]).stdin(fs::File::open(&file).unwrap());
    assert_eq!(String::from_utf8(piped.output().unwrap().stdout).unwrap(), all(&["--slots", "3"]));
    // 3. A stop string ends its own text only, and frees the slot.
    let stop: String = together[1]["text"].as_str().unwrap().chars().skip(3).take(3).collect();
    for (end, whole) in ends(&all(&["--slots", "2", "--json", "--stop", &stop])).iter().zip(&together) {
        let whole = whole["text"].as_str().unwrap();
        let expected = match whole.find(&stop) {
            Some(at) => (&whole[..at], "stop"),
            None => (whole, "length"),
        };
        assert_eq!((end["text"].as_str().unwrap(), end["finish"].as_str().unwrap()), expected);
    }
    // 4. What cannot be continued is named by its line.
    let asked = ["generate", "--model", text(&out), "--device", "cpu", "--prompts", text(&file)];
    refuse(&[&asked[..], &["--slots", "0"]].concat(), "slots: found 0, expected 1 to 1024");
    fs::write(&file, "The owl\nThe ~ owl\n").unwrap();
    refuse(&asked, "prompts.txt: line 2: the model's vocabulary lacks '~'");
    fs::write(&file, "").unwrap();
    refuse(&asked, "prompts.txt: is empty, expected a prompt on each line");
    fs::remove_file(&file).unwrap();
    refuse(&asked, "prompts.txt: ");
}

#[test]
fn costs_and_devices_are_told_without_a_model() {
    let cost: Value =
        serde_json::from_str(&succeed(&["cost", "--preset", "nano", "--device", "cpu", "--json"])).unwrap();
    assert_eq!((cost["n_params"].as_u64(), cost["tokens_per_step"].as_u64()), (Some(804_096), Some(768)));
    // Parameters, gradients and two moments at least; forward and backward are six operations a parameter and token.
    assert!(cost["peak_bytes"].as_u64().unwrap() > 16 * 804_096, "{cost}");
    let least = 6 * 768 * (804_096 - 64 * 128);
    assert!((least..2 * least).contains(&cost["flops"].as_u64().unwrap()), "{cost}");
    // Under a budget between its two extremes it computes some blocks again.
    let bytes = |cost: &Value, blocks: &str| cost[blocks]["peak_bytes"].as_u64().unwrap();
    let (most, least) = (bytes(&cost, "none_recomputed"), bytes(&cost, "all_recomputed"));
    assert_eq!((cost["peak_bytes"].as_u64(), cost["recomputed_layers"].as_u64()), (Some(most), Some(0)));
    let budget = ((most + least) / 2).to_string();
    let args = ["cost", "--preset", "nano", "--device", "cpu", "--json", "--memory-budget", &budget];
    let cost: Value = serde_json::from_str(&succeed(&args)).unwrap();
    assert!((1..4).contains(&cost["recomputed_layers"].as_u64().unwrap()), "{cost}");
    let args = ["cost", "--preset", "nano", "--device", "cpu", "--memory-budget", "1MB"];
    let error = String::from_utf8(cloche(&args).stderr).unwrap();
    assert!(
        error.contains(&format!("({least} bytes are enough; a smaller --batch-size takes less)")),
        "{error}"
    );
    let devices: Value = serde_json::from_str(&succeed(&["devices", "--json"])).unwrap();
    assert!(devices["cpu"]["threads"].as_u64().unwrap() > 0 && devices["auto"]["reason"].is_string());
    assert!(cloche(&["--version"]).status.success());
}

/// A folder with a trained model whose layers are wide enough to be quantised.
fn micro(place: &Path) -> PathBuf {
    let (data, out) = (place.join("prose.txt"), place.join("whole"));
    fs::write(&data, prose(4000)).unwrap();
    succeed(&train(&data, &out, &["--steps", "3"]));
    out
}

#[test]
fn a_quantized_folder_says_what_the_whole_one_says_quantized() {
    let place = tempfile::tempdir().unwrap();
    let whole = micro(place.path());
    for precision in ["int8", "int4"] {
        let out = place.path().join(precision);
        let quantize = ["quantize", "--model", text(&whole), "--to", precision, "--out", text(&out)];
        let said = succeed(&quantize);
        assert!(said.contains(&format!(" in {precision}, ")), "{said}");
        assert!(fs::metadata(out.join("model.safetensors")).unwrap().len() > 0);
        let speak = |model: &Path, more: &[&str]| {
            let mut arguments = vec!["generate", "--model", text(model), "--prompt", "The owl"];
            arguments.extend(["--max-tokens", "12", "--device", "cpu", "--json"]);
            arguments.extend(more);
            succeed(&arguments)
        };
        assert_eq!(speak(&out, &[]), speak(&whole, &["--quantize", precision]));
        let ids = [1, 2, 3];
        assert_eq!(logits(&out, &ids).0, logits(&whole, &ids).0);
        refuse(&quantize, "holds a run or a model already (model.safetensors): --overwrite replaces it");
        succeed(&[&quantize[..], &["--overwrite"]].concat());
    }
}

#[test]
fn what_a_quantized_folder_cannot_do_is_said() {
    let place = tempfile::tempdir().unwrap();
    let (whole, out) = (micro(place.path()), place.path().join("int4"));
    let again = place.path().join("again");
    succeed(&["quantize", "--model", text(&whole), "--to", "int4", "--out", text(&out)]);
    let expected = "the model is quantised: it can speak and be evaluated, but neither learn, teach, carry an adapter nor be quantised";
    refuse(&["quantize", "--model", text(&out), "--out", text(&again)], expected);
    refuse(
        &["generate", "--model", text(&out), "--prompt", "The", "--quantize", "int8", "--device", "cpu"],
        expected,
    );
    refuse(
        &["sft", "--model", text(&out), "--data", "task:copy", "--out", text(&again), "--device", "cpu"],
        expected,
    );
    refuse(
        &["quantize", "--model", text(&out), "--out", text(&out)],
        "expected another folder than what is read",
    );
    assert!(!again.exists(), "nothing is left behind");

    let config = fs::read_to_string(out.join("config.json")).unwrap();
    for (was, is, expected) in [
        (
            "\"group_size\": 32",
            "\"group_size\": 64",
            "config.json: quantization_config.config_groups.group_0.weights.group_size: found 64, expected 32",
        ),
        ("\"num_bits\": 4", "\"num_bits\": 8", "weight_packed\": file has"),
        (
            "compressed-tensors",
            "awq",
            "quantization_config.quant_method: found \"awq\", expected \"compressed-tensors\"",
        ),
    ] {
        fs::write(out.join("config.json"), config.replace(was, is)).unwrap();
        refuse(&["generate", "--model", text(&out), "--prompt", "The", "--device", "cpu"], expected);
    }
}
