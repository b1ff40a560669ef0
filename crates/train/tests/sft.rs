//! Supervised fine-tuning: it teaches, it resumes, and it changes an adapter only where there is one.

mod class;

use class::{checkpoint, demonstrations, evaluations, exam, finish, losses, network};
use cloche_models::{Adapter, LoraConfig, Network};
use cloche_tensor::Device;
use cloche_train::checkpoint::open;
use cloche_train::evaluate::sum_of_examples;
use cloche_train::learner::Optimization;
use cloche_train::sft::{Data, Run, Settings};
use cloche_train::split::Split;
use pollster::block_on;

fn settings(steps: u64) -> Settings {
    let optimization = Optimization {
        steps,
        batch_size: 32,
        lr: 3e-3,
        min_lr: 3e-4,
        eval_every: 0,
        checkpoint_every: 10,
        ..Default::default()
    };
    Settings { optimization, stop_ids: vec![class::END] }
}

fn data(examined: bool) -> Data {
    Data {
        train: demonstrations("copy", Split::Train, 2000, 1),
        held_out: demonstrations("copy", Split::HeldOut, 64, 1),
        exam: examined.then(|| exam("copy", 64, 1)),
    }
}

#[test]
fn a_model_learns_to_copy_what_it_has_never_seen() {
    let device = Device::cpu();
    let run = Run::new(&device, network(&device, 1), settings(400), data(true), None).unwrap();
    let events = finish(run.stage());
    let correct = evaluations(&events, "exam_correct");
    assert!(correct[0] < 0.05, "{correct:?}");
    assert!(correct[1] >= 0.8, "{correct:?}");
    let loss = evaluations(&events, "held_out_loss");
    assert!(loss[0] > 4.0 && loss[1] < 0.5, "{loss:?}");
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let device = Device::cpu();
    let whole =
        finish(Run::new(&device, network(&device, 1), settings(20), data(false), None).unwrap().stage());
    let saved = open(checkpoint(&whole, 10)).unwrap();
    let rest = finish(
        Run::new(&device, network(&device, 2), settings(20), data(false), Some(saved)).unwrap().stage(),
    );
    assert_eq!(losses(&rest), losses(&whole)[10..]);
    assert_eq!(checkpoint(&rest, 20), checkpoint(&whole, 20));
}

#[test]
fn right_answers_are_as_likely_as_the_stage_finds_them() {
    let device = Device::cpu();
    let Data { held_out, .. } = data(false);
    let (sum, tokens) = block_on(sum_of_examples(&device, &network(&device, 1), &held_out)).unwrap();
    let events =
        finish(Run::new(&device, network(&device, 1), settings(1), data(false), None).unwrap().stage());
    let loss = evaluations(&events, "held_out_loss")[0];
    assert!((sum / tokens as f64 - loss as f64).abs() < 1e-5, "{sum} of {tokens} tokens, {loss}");
    assert_eq!(tokens, held_out.iter().map(|example| example.n_targets() as u64).sum::<u64>());
    let none = block_on(sum_of_examples(&device, &network(&device, 1), &[])).unwrap_err().to_string();
    assert_eq!(none, "no example: expected at least one");
}

#[test]
fn an_adapter_learns_and_its_base_stays() {
    let device = Device::cpu();
    let base = network(&device, 1);
    let before = block_on(base.weights.read()).unwrap();
    let lora = LoraConfig { rank: 4, dropout: 0.1, ..Default::default() };
    let adapter = Adapter::new(&device, &base.config, lora, 7).unwrap();
    let adapted: Network = base.with_adapter(adapter);
    let events = finish(Run::new(&device, adapted, settings(60), data(false), None).unwrap().stage());
    let losses = losses(&events);
    assert!(losses[59] < losses[0] - 0.5, "{losses:?}");
    assert_eq!(block_on(base.weights.read()).unwrap(), before);
}

#[test]
fn settings_and_data_are_checked_before_anything_runs() {
    let device = Device::cpu();
    let message = |settings, data| {
        Run::new(&device, network(&device, 1), settings, data, None).err().unwrap().to_string()
    };
    let mut wrong = settings(10);
    wrong.optimization.lr = -1.0;
    assert_eq!(message(wrong, data(false)), "lr: found -1, expected a number above 0, at most 1e30");
    let none = Data { train: vec![], ..data(false) };
    assert_eq!(message(settings(10), none), "no example: expected at least one");
    let mut other = data(false);
    other.train.truncate(100);
    let whole =
        finish(Run::new(&device, network(&device, 1), settings(10), data(false), None).unwrap().stage());
    let saved = Some(open(checkpoint(&whole, 10)).unwrap());
    let error = Run::new(&device, network(&device, 1), settings(10), other, saved).err().unwrap().to_string();
    assert!(error.starts_with("checkpoint of another run: the data's SHA-256 is"), "{error}");
}
