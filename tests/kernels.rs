//! Kernels that were measured on a graphics device are remembered, and what goes wrong with that ends no run.

mod command;

use command::{cloche, command, lines, prose, succeed, text, train};
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

/// Trains two steps on a device, with a cache of its own; the lines of the run.
fn run(place: &Path, device: &str, more: &[&str]) -> Vec<Value> {
    let (data, out) = (place.join("text.txt"), place.join("out"));
    std::fs::write(&data, prose(4000)).unwrap();
    let mut arguments = train(&data, &out, &["--steps", "2", "--overwrite", "--device", device]);
    arguments.extend(more);
    let output = command(&arguments).env("XDG_CACHE_HOME", place.join("cache")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    lines(&String::from_utf8(output.stdout).unwrap())
}

fn told(lines: &[Value], event: &str, field: &str) -> Vec<Value> {
    lines.iter().filter(|line| line["event"] == event).map(|line| line[field].clone()).collect()
}

fn losses(lines: &[Value]) -> Vec<f64> {
    told(lines, "step", "loss").iter().map(|loss| loss.as_f64().unwrap()).collect()
}

#[test]
fn tuned_kernels_are_remembered_and_a_damaged_memory_is_none() {
    let place = TempDir::new().unwrap();
    let place = place.path();
    let file = place.join("cache/cloche/kernels.json");
    // 1. The CPU has no choice, and says so.
    let on_cpu = run(place, "cpu", &["--tune-kernels"]);
    assert_eq!(told(&on_cpu, "note", "message"), ["kernels: on the CPU there is nothing to choose"]);
    assert!(!file.exists());
    // 2. A graphics device has: results stay those of the CPU.
    let devices: Value = serde_json::from_str(&succeed(&["devices", "--json"])).unwrap();
    if devices["adapters"].as_array().unwrap().is_empty() {
        assert!(std::env::var("CI").is_err(), "no adapter");
        eprintln!("SKIPPED: no adapter");
        return;
    }
    let tuned = run(place, "gpu", &["--tune-kernels"]);
    let notes = told(&tuned, "note", "message");
    assert!(notes[0].as_str().unwrap().contains("pieces of work, of which"), "{notes:?}");
    assert_eq!(told(&tuned, "warning", "message"), [] as [Value; 0], "every kernel is right here");
    for (cpu, gpu) in losses(&on_cpu).iter().zip(losses(&tuned)) {
        assert!((cpu - gpu).abs() < 1e-4 * cpu, "{cpu} on the CPU, {gpu} by tuned kernels");
    }
    // 3. They are kept by adapter and version, and the next command uses them without being asked: the same bits.
    let known: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let keys: Vec<&String> = known.as_object().unwrap().keys().collect();
    assert!(keys.len() == 1 && keys[0].starts_with(env!("CARGO_PKG_VERSION")), "{keys:?}");
    assert_eq!(losses(&run(place, "gpu", &[])), losses(&tuned));
    // 4. A damaged file is as none, and a place where nothing can be kept ends no run.
    std::fs::write(&file, "{ damaged").unwrap();
    assert_eq!(losses(&run(place, "gpu", &[])).len(), 2);
    std::fs::remove_dir_all(place.join("cache")).unwrap();
    std::fs::write(place.join("cache"), "a file where a folder should be").unwrap();
    let kept_nowhere = run(place, "gpu", &["--tune-kernels"]);
    let warning = told(&kept_nowhere, "warning", "message").pop().unwrap();
    assert!(warning.as_str().unwrap().starts_with("what was measured cannot be kept for later"), "{warning}");
}

#[test]
fn the_help_names_the_option() {
    let help = String::from_utf8(cloche(&["train", "--help"]).stdout).unwrap();
    assert!(help.contains("--tune-kernels"), "{help}");
    let place = TempDir::new().unwrap();
    let refused = cloche(&["sft", "--tune-kernels", "--out", text(place.path())]);
    assert!(!refused.status.success());
}
