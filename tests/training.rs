//! Whole runs of pre-training, small ones: they learn, repeat themselves, resume, and say what goes wrong.

#[path = "../crates/train/tests/runs/mod.rs"]
mod runs;

use std::rc::Rc;

use cloche_models::config::{ModelConfig, preset};
use cloche_tensor::rng::Rng;
use cloche_tensor::{Device, DeviceKind};
use cloche_train::checkpoint::{self, Files};
use cloche_train::data::{Corpus, TokenBuffer};
use cloche_train::events::{Event, Reason};
use cloche_train::pretrain::Run;
use cloche_train::reference;
use cloche_train::settings::Settings;
use pollster::block_on;
use runs::{checkpoints, finish, losses};

fn reference() -> (Settings, Corpus) {
    reference::reference_run().unwrap()
}

fn run_on(device: &Device, settings: &Settings, corpus: &Corpus) -> Vec<Event> {
    finish(Run::new(device, settings.clone(), corpus.clone(), None).unwrap())
}

fn run(settings: &Settings, corpus: &Corpus) -> Vec<Event> {
    run_on(&Device::cpu(), settings, corpus)
}

/// The adapter; without one, a loud word, and in CI a failure.
fn gpu() -> Option<Device> {
    match block_on(Device::open(DeviceKind::Gpu)) {
        Ok(device) => Some(device),
        Err(error) => {
            assert!(std::env::var("CI").is_err(), "no adapter: {error}");
            eprintln!("SKIPPED: no adapter: {error}");
            None
        }
    }
}

#[test]
fn a_tiny_model_learns_a_trivial_text() {
    let (settings, _) = reference();
    let cycle: Vec<u32> = (0..2000).map(|i| 3 + i % 11).collect();
    let tokens = Rc::new(TokenBuffer::from_ids(&cycle, 14));
    let corpus = Corpus::new(tokens.clone(), tokens, 14, None).unwrap();
    let model = ModelConfig { vocab_size: 14, dropout: 0.0, ..settings.model };
    let settings = Settings {
        model,
        steps: 150,
        sample_at: vec![150],
        sample_prompt: vec![3, 4],
        sample_temperature: 0.0,
        sample_len: 60,
        ..settings
    };
    let events = run(&settings, &corpus);
    let first = losses(&events)[0];
    assert!((first - 14f32.ln()).abs() < 0.2, "before training all tokens are as likely: {first}");
    let Some(Event::Eval { step: 150, val_loss, .. }) =
        events.iter().rfind(|e| matches!(e, Event::Eval { .. }))
    else {
        panic!("no evaluation at the end");
    };
    assert!(*val_loss < 0.05, "{val_loss}");
    let sample = events.iter().find_map(|e| if let Event::Sample { ids, .. } = e { Some(ids) } else { None });
    let expected: Vec<u32> = (0..62).map(|i| 3 + i % 11).collect();
    assert_eq!(sample, Some(&expected));
}

#[test]
fn the_reference_run_is_what_it_was() {
    let (settings, corpus) = reference();
    let found = losses(&run(&settings, &corpus));
    println!("{found:?}");
    assert_close(&found, &reference::LOSSES, 1e-5);
}

#[test]
fn devices_agree_on_the_reference_run() {
    let (settings, corpus) = reference();
    let Some(device) = gpu() else { return };
    let first = losses(&run_on(&device, &settings, &corpus));
    assert_close(&first, &reference::LOSSES, 1e-3);
    // And the device with itself, to the last bit.
    assert_eq!(first, losses(&run_on(&device, &settings, &corpus)));
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (step, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a / b - 1.0).abs() <= tolerance, "loss {step}: {a}, expected {b}\n{found:?}");
    }
}

#[test]
fn two_runs_are_equal_bit_for_bit() {
    let (settings, corpus) = reference();
    let (a, b) = (run(&settings, &corpus), run(&settings, &corpus));
    assert_eq!(losses(&a), losses(&b));
    assert_eq!(checkpoints(&a).last(), checkpoints(&b).last());
    let other = run(&Settings { seed: 7, ..settings.clone() }, &corpus);
    assert_ne!(losses(&a)[0], losses(&other)[0]);
}

/// Stops `settings`' run after step `at`, with nothing kept but the files of its last checkpoint.
fn interrupted(device: &Device, settings: &Settings, corpus: &Corpus, at: u64) -> Files {
    let mut stage = Run::new(device, settings.clone(), corpus.clone(), None).unwrap().stage();
    let mut last = None;
    block_on(async {
        while let Some(event) = stage.next().await {
            match event.unwrap() {
                Event::Step(step) if step.step == at => stage.stop(),
                Event::Checkpoint { files, .. } => last = Some(files),
                Event::Done(done) => assert_eq!(done.reason, Reason::Stopped),
                _ => {}
            }
        }
    });
    last.unwrap()
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let (settings, corpus) = reference();
    let device = Device::cpu();
    let mut rng = Rng::new(1, 0);
    for (grad_accumulation, dropout) in [(1, 0.0), (1, 0.2), (3, 0.2)] {
        let model = ModelConfig { dropout, ..settings.model };
        let settings = Settings { model, grad_accumulation, sample_at: vec![8, 16], ..settings.clone() };
        let whole = run(&settings, &corpus);
        for _ in 0..4 {
            let at = 1 + rng.below(settings.steps - 1);
            let saved = checkpoint::open::<Settings>(interrupted(&device, &settings, &corpus, at)).unwrap();
            assert_eq!(saved.state.step, at);
            let rest = finish(Run::resume(&device, saved, corpus.clone(), None).unwrap());
            assert_eq!(losses(&rest), losses(&whole)[at as usize..], "interrupted at {at}");
            let samples = |events: &[Event]| {
                let samples = events.iter().filter(|e| matches!(e, Event::Sample { .. }));
                samples.cloned().collect::<Vec<_>>()
            };
            assert!(samples(&whole).ends_with(&samples(&rest)), "interrupted at {at}");
            // Weights, moments, settings and history.
            assert_eq!(checkpoints(&rest).last(), checkpoints(&whole).last(), "interrupted at {at}");
        }
    }
}

#[test]
fn a_gpu_resumes_bit_for_bit_too() {
    let Some(device) = gpu() else { return };
    let (settings, corpus) = reference();
    let settings = Settings { steps: 11, grad_accumulation: 2, ..settings };
    let whole = run_on(&device, &settings, &corpus);
    // Losses are read eight steps at a time, so the run stops at the end of such a group.
    let saved = checkpoint::open::<Settings>(interrupted(&device, &settings, &corpus, 3)).unwrap();
    let done = saved.state.step as usize;
    let rest = finish(Run::resume(&device, saved, corpus, None).unwrap());
    assert_eq!(losses(&rest), losses(&whole)[done..]);
    assert_eq!(checkpoints(&rest).last(), checkpoints(&whole).last());
}

#[test]
fn a_run_goes_on_for_longer_where_it_is_told_to() {
    let (settings, corpus) = reference();
    let device = Device::cpu();
    let mut saved = checkpoint::open::<Settings>(interrupted(&device, &settings, &corpus, 5)).unwrap();
    saved.state.settings.steps = 30;
    let rest = finish(Run::resume(&device, saved, corpus.clone(), None).unwrap());
    assert_eq!(losses(&rest).len(), 25);

    let mut saved = checkpoint::open::<Settings>(interrupted(&device, &settings, &corpus, 5)).unwrap();
    saved.state.settings.steps = 4;
    let error = Run::resume(&device, saved, corpus.clone(), None).err().unwrap().to_string();
    assert_eq!(error, "checkpoint of another run: step is 5, expected at most 4");

    let saved = checkpoint::open::<Settings>(interrupted(&device, &settings, &corpus, 5)).unwrap();
    let other = Corpus::new(corpus.val.clone(), corpus.train.clone(), 128, None).unwrap();
    let error = Run::resume(&device, saved, other, None).err().unwrap().to_string();
    assert!(error.starts_with("checkpoint of another run: the data's SHA-256 is "), "{error}");

    let mut saved = checkpoint::open::<Settings>(interrupted(&device, &settings, &corpus, 5)).unwrap();
    saved.state.settings.model.d_ff = 64;
    let error = Run::resume(&device, saved, corpus, None).err().unwrap().to_string();
    assert!(error.contains("expected") && error.contains("numbers"), "{error}");
}

#[test]
fn micro_batches_make_the_step_of_one_large_batch() {
    let (settings, corpus) = reference();
    let model = ModelConfig { dropout: 0.0, ..settings.model };
    let large = Settings { model, batch_size: 6, ..settings };
    let micro = Settings { batch_size: 2, grad_accumulation: 3, ..large.clone() };
    assert_close(&losses(&run(&micro, &corpus)), &losses(&run(&large, &corpus)), 1e-4);
}

#[test]
fn a_rate_beyond_reason_ends_the_run_with_finite_weights() {
    let (settings, corpus) = reference();
    let device = Device::cpu();
    let llama = ModelConfig { vocab_size: 128, ..preset("llama-tiny").unwrap().model };
    for (model, lr) in [(settings.model, 1e9), (settings.model, 1e30), (llama, 1e9)] {
        let hot = Settings { model, lr, min_lr: lr, warmup_steps: 0, steps: 100, ..settings.clone() };
        let events = run_on(&device, &hot, &corpus);
        let bad = events.iter().filter(|e| matches!(e, Event::Nonfinite { .. })).count();
        let worst = losses(&events).into_iter().fold(0.0, f32::max);
        let Some(Event::Done(done)) = events.last() else { panic!("no end") };
        println!("lr {lr}: {bad} steps without a finite gradient, worst loss {worst}, {:?}", done.reason);
        match done.reason {
            Reason::Diverged => {
                let Event::Nonfinite { in_a_row, .. } =
                    events.iter().rfind(|e| matches!(e, Event::Nonfinite { .. })).unwrap()
                else {
                    unreachable!()
                };
                assert_eq!(*in_a_row, 10);
            }
            _ => assert!(worst > 100.0),
        }
        let (_, files) = checkpoints(&events).pop().unwrap();
        let saved = checkpoint::open::<Settings>(files.clone()).unwrap();
        let resumed = Run::resume(&device, saved, corpus.clone(), None).unwrap();
        let weights = block_on(resumed.network().weights.read()).unwrap();
        assert!(weights.flat().iter().all(|w| w.is_finite()), "weights are not finite after lr {lr}");
    }
}

#[test]
fn what_cannot_begin_says_why() {
    let (settings, corpus) = reference();
    let refused = |settings: Settings, corpus: &Corpus, available| {
        Run::new(&Device::cpu(), settings, corpus.clone(), available).err().unwrap().to_string()
    };
    assert_eq!(
        refused(Settings { lr: 0.0, ..settings.clone() }, &corpus, None),
        "lr: found 0, expected a number above 0, at most 1e30"
    );
    let short = Rc::new(TokenBuffer::from_ids(&[1; 30], 128));
    let short = Corpus::new(short.clone(), short, 128, None).unwrap();
    assert_eq!(
        refused(settings.clone(), &short, None),
        "text has 30 tokens, context_len 32 needs at least 33"
    );
    let gpt2 = Settings { batch_size: 64, ..Settings::from_preset(preset("gpt2").unwrap(), 50_257) };
    let error = refused(gpt2, &corpus, Some(3_100_000_000));
    assert!(error.starts_with("model needs ") && error.ends_with(" GB, 3.1 GB are available"), "{error}");
    // So large that even planning it would not end.
    let (d_model, d_head) = (1 << 17, 256);
    let n_head = d_model / d_head;
    let model =
        ModelConfig { n_layer: 1 << 10, d_model, n_head, n_kv_head: n_head, d_head, ..settings.model };
    let error = refused(Settings { model, ..settings }, &corpus, None);
    assert!(error.starts_with("model needs "), "{error}");
}

#[test]
fn a_thousand_steps_leave_memory_as_it_was() {
    let Some(device) = gpu() else { return };
    let (settings, corpus) = reference();
    let model = ModelConfig { n_layer: 1, context_len: 8, ..settings.model };
    let settings = Settings { model, batch_size: 1, steps: 1300, eval_every: 250, ..settings };
    let settings = Settings { checkpoint_every: 250, sample_at: vec![250, 500, 1000], ..settings };
    let mut stage = Run::new(&device, settings, corpus, None).unwrap().stage();
    let memory = || device.gpu().unwrap().memory();
    let mut early = None;
    block_on(async {
        while let Some(event) = stage.next().await {
            match event.unwrap() {
                // The first sample and the first readings of each kind have made their buffers.
                Event::Step(step) if step.step == 280 => early = Some(memory()),
                Event::Step(step) if step.step == 1280 => assert_eq!(early, Some(memory())),
                _ => {}
            }
        }
    });
    assert!(early.is_some());
}
