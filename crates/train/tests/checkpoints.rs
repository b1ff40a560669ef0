//! Checkpoints on disk: damage, full disks, and processes that are killed while they save.

mod runs;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cloche_tensor::Device;
use cloche_tensor::rng::Rng;
use cloche_train::checkpoint::{self, Files};
use cloche_train::data::Corpus;
use cloche_train::events::Event;
use cloche_train::pretrain::Run;
use cloche_train::reference::reference_run;
use cloche_train::settings::Settings;
use cloche_train::store::{self, Latest, StoreError};
use pollster::block_on;
use runs::{checkpoints, finish};

/// The fixed run with a checkpoint after every step.
fn short_run(steps: u64) -> (Settings, Corpus) {
    let (settings, corpus) = reference_run().unwrap();
    (Settings { steps, eval_every: 0, checkpoint_every: 1, ..settings }, corpus)
}

/// The files of `n` checkpoints, of steps 1 to `n`.
fn saved(n: u64) -> Vec<Files> {
    let (settings, corpus) = short_run(n);
    let events = finish(Run::new(&Device::cpu(), settings, corpus, None).unwrap());
    checkpoints(&events).into_iter().map(|(_, files)| files.clone()).collect()
}

fn open_latest(folder: &Path) -> Result<Option<Latest<Settings>>, StoreError> {
    store::open_latest(folder)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_latest_and_the_one_before_it_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoints");
    assert!(open_latest(&path).unwrap().is_none());
    for (step, files) in (1..).zip(&saved(4)) {
        store::save(&path, step, files).unwrap();
        assert_eq!(open_latest(&path).unwrap().unwrap().saved.state.step, step);
    }
    assert_eq!(names(&path), ["step-3", "step-4"]);
    assert_eq!(
        names(&path.join("step-4")),
        ["manifest.json", "model.safetensors", "optimizer.safetensors", "trainer_state.json"]
    );
    // The same step again, as a run does that is resumed and stopped at once.
    store::save(&path, 4, &saved(4)[3]).unwrap();
    assert_eq!(names(&path), ["step-3", "step-4"]);
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before_it() {
    let files = saved(2);
    for (name, _) in &files[1] {
        for damage in ["cut", "altered", "removed"] {
            let folder = tempfile::tempdir().unwrap();
            for (step, files) in (1..).zip(&files) {
                store::save(folder.path(), step, files).unwrap();
            }
            let file = folder.path().join("step-2").join(name);
            let mut bytes = fs::read(&file).unwrap();
            match damage {
                "cut" => fs::write(&file, &bytes[..bytes.len() / 2]).unwrap(),
                "altered" => {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                    fs::write(&file, &bytes).unwrap();
                }
                _ => fs::remove_file(&file).unwrap(),
            }
            let latest = open_latest(folder.path()).unwrap().unwrap();
            assert_eq!(latest.saved.state.step, 1, "{name} {damage}");
            let (path, error) = &latest.damaged[0];
            assert!(path.ends_with("step-2"));
            assert!(error.to_string().contains(".json") || error.to_string().contains(name), "{error}");
        }
    }
}

#[test]
fn nothing_but_damage_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = store::save(folder.path(), 1, &saved(1)[0]).unwrap();
    fs::remove_file(path.join("model.safetensors")).unwrap();
    let error = open_latest(folder.path()).err().unwrap();
    assert!(matches!(error, StoreError::Damaged { .. }));
    assert!(error.to_string().ends_with("\"model.safetensors\": found nothing, expected a file"), "{error}");
}

#[test]
fn a_save_that_fails_leaves_the_others_alone() {
    let folder = tempfile::tempdir().unwrap();
    let files = saved(2);
    store::save(folder.path(), 1, &files[0]).unwrap();
    // A name that no folder can hold stands in for a full disk: some files are written, then the system refuses.
    let mut broken = files[1].clone();
    broken[2].0 = "x".repeat(300);
    let error = store::save(folder.path(), 2, &broken).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert_eq!(names(folder.path()), ["step-1"]);
    assert_eq!(open_latest(folder.path()).unwrap().unwrap().saved.state.step, 1);
    // And the next one is saved again.
    store::save(folder.path(), 2, &files[1]).unwrap();
    assert_eq!(names(folder.path()), ["step-1", "step-2"]);
}

#[test]
fn what_a_killed_process_left_counts_by_its_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let files = saved(2);
    store::save(folder.path(), 1, &files[0]).unwrap();
    store::save(folder.path(), 2, &files[1]).unwrap();
    let (whole, partial) = (folder.path().join("step-2"), folder.path().join("step-2.tmp"));
    fs::rename(&whole, &partial).unwrap();
    assert_eq!(open_latest(folder.path()).unwrap().unwrap().saved.state.step, 2);
    fs::remove_file(partial.join("manifest.json")).unwrap();
    let latest = open_latest(folder.path()).unwrap().unwrap();
    assert_eq!((latest.saved.state.step, latest.damaged.len()), (1, 0));
}

#[test]
fn what_was_to_replace_a_checkpoint_does_not_go_with_half_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let files = saved(2);
    store::save(folder.path(), 2, &files[1]).unwrap();
    let (whole, partial) = (folder.path().join("step-2"), folder.path().join("step-2.tmp"));
    fs::rename(&whole, &partial).unwrap();
    fs::create_dir(&whole).unwrap();
    store::save(folder.path(), 3, &files[1]).unwrap();
    assert!(whole.join("manifest.json").is_file() && !partial.exists());
}

/// More steps than the run that is killed again and again will ever come to.
const STEPS: u64 = 1_000_000;

/// Not a test by itself: [`a_run_killed_while_saving_equals_one_left_alone`] runs it in a process of its own, which
/// goes on from the latest checkpoint, and saves after every step.
#[test]
fn train_in_a_folder() {
    let Some(folder) = std::env::var_os("CLOCHE_TEST_FOLDER") else { return };
    let folder = Path::new(&folder);
    let (settings, corpus) = short_run(STEPS);
    let device = Device::cpu();
    let run = match open_latest(folder).unwrap() {
        Some(latest) => Run::resume(&device, latest.saved, corpus, None).unwrap(),
        None => Run::new(&device, settings, corpus, None).unwrap(),
    };
    let mut stage = run.stage();
    while let Some(event) = block_on(stage.next()) {
        if let Event::Checkpoint { step, files } = event.unwrap() {
            store::save(folder, step, &files).unwrap();
        }
    }
}

#[test]
fn a_run_killed_while_saving_equals_one_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(50, 0);
    let mut reached = 0;
    for _ in 0..50 {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["train_in_a_folder", "--exact"]).env("CLOCHE_TEST_FOLDER", folder.path());
        let mut process = command.stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(40 + rng.below(80)));
        assert!(process.try_wait().unwrap().is_none(), "the process ended by itself");
        process.kill().unwrap();
        process.wait().unwrap();
        if let Some(latest) = open_latest(folder.path()).unwrap() {
            assert!(latest.damaged.is_empty() && latest.saved.state.step >= reached);
            reached = latest.saved.state.step;
        }
    }
    println!("50 kills until step {reached}");
    assert!(reached > 0);

    let killed = open_latest(folder.path()).unwrap().unwrap();
    let (settings, corpus) = short_run(STEPS);
    let settings = Settings { checkpoint_every: 0, ..settings };
    let mut stage = Run::new(&Device::cpu(), settings, corpus, None).unwrap().stage();
    let mut alone = None;
    while let Some(event) = block_on(stage.next()) {
        match event.unwrap() {
            Event::Step(step) if step.step == reached => stage.stop(),
            Event::Checkpoint { files, .. } => alone = Some(files),
            _ => {}
        }
    }
    let alone = alone.unwrap();
    assert_eq!(
        killed.saved.state.history,
        checkpoint::open::<Settings>(alone.clone()).unwrap().state.history
    );
    for (name, bytes) in &alone[..2] {
        assert!(fs::read(killed.path.join(name)).unwrap() == *bytes, "{name} differs");
    }
}
