//! Supervised fine-tuning: it teaches, it resumes, and it changes an adapter only where there is one.

mod class;

use class::{checkpoint, demonstrations, evaluations, exam, finish, losses, network};
use cloche_models::{Adapter, LoraConfig, Network};
use cloche_tensor::Device;
use cloche_train::checkpoint::open;
use cloche_train::evaluate::sum_of_examples;
use cloche_train::events::TuneEvent;
use cloche_train::learner::Optimization;
use cloche_train::sft::{Data, Mixed, Run, Settings};
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
    Settings { optimization, stop_ids: vec![class::END], ..Default::default() }
}

fn data(examined: bool) -> Data {
    Data {
        train: demonstrations("copy", Split::Train, 2000, 1),
        held_out: demonstrations("copy", Split::HeldOut, 64, 1),
        exam: examined.then(|| exam("copy", 64, 1)),
        ..Default::default()
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

/// Several demonstrations in a row are learnt as if each had a row of its own.
#[test]
fn packed_rows_teach_the_same() {
    let device = Device::cpu();
    let words = ["k", "fw", "copy", "a b c d", "x", "stone", "is it?", "no"];
    let texts = || words.map(|word| class::demonstration(&format!("{word}: "), word)).to_vec();
    // One step over all of them. The first numbers are those of the model before it.
    let step = |packing: bool, batch_size: usize| {
        let mut settings = Settings { packing, ..settings(1) };
        settings.optimization.batch_size = batch_size;
        let data = Data { train: texts(), held_out: texts(), ..Default::default() };
        let run = Run::new(&device, network(&device, 1), settings, data, None).unwrap();
        let filling = run.filling();
        let events = finish(run.stage());
        let TuneEvent::Step(step) = events.iter().find(|e| matches!(e, TuneEvent::Step(_))).unwrap() else {
            unreachable!()
        };
        let held_out = ["held_out_loss", "held_out_accuracy", "held_out_entropy"]
            .map(|name| evaluations(&events, name)[0]);
        ([&[step.loss, step.grad_norm][..], &held_out].concat(), filling)
    };
    let (apart, padded) = step(false, 8);
    let (_, filling) = step(true, 1);
    // 72 tokens in 3 rows of 32, and in 8 of 16.
    assert_eq!((filling.rows, filling.padding(), padded.padding()), (3, 0.25, 0.4375));
    assert_eq!((filling.examples, filling.padding_apart()), (8, padded.padding()));
    let (packed, _) = step(true, filling.rows);
    for (apart, packed) in apart.iter().zip(&packed) {
        assert!((apart - packed).abs() <= 1e-5 * apart.abs(), "{apart} and {packed}");
    }
}

#[test]
fn a_packed_run_with_a_mix_resumes_bit_for_bit() {
    let device = Device::cpu();
    let run = |saved| {
        let mix = vec![Mixed { share: 0.3, examples: demonstrations("reverse", Split::Train, 200, 1) }];
        let settings = Settings { packing: true, ..settings(20) };
        Run::new(&device, network(&device, 1), settings, Data { mix, ..data(false) }, saved).unwrap()
    };
    let whole = finish(run(None).stage());
    let rest = finish(run(Some(open(checkpoint(&whole, 10)).unwrap())).stage());
    assert_eq!(losses(&rest), losses(&whole)[10..]);
    assert_eq!(checkpoint(&rest, 20), checkpoint(&whole, 20));
    assert!(losses(&whole)[19] < losses(&whole)[0]);
}

/// What was learnt before is forgotten, but not where a share of it is learnt on.
#[test]
fn a_share_of_the_old_keeps_it_from_being_forgotten() {
    let device = Device::cpu();
    let old = class::taught(&device, "copy", 300);
    let before = block_on(old.weights.read()).unwrap();
    let loss_after = |share: f32| {
        let network = Network::new(old.config, before.upload(&device).unwrap());
        let examples = demonstrations("copy", Split::Train, 2000, 1);
        let mix = if share > 0.0 { vec![Mixed { share, examples }] } else { Vec::new() };
        let train = demonstrations("reverse", Split::Train, 2000, 1);
        let held_out = demonstrations("copy", Split::HeldOut, 64, 1);
        let data = Data { train, mix, held_out, exam: None };
        let events = finish(Run::new(&device, network, settings(100), data, None).unwrap().stage());
        let found = evaluations(&events, "held_out_loss");
        (found[0], found[1])
    };
    let ((known, forgotten), (_, kept)) = (loss_after(0.0), loss_after(0.25));
    assert!(forgotten > 2.0 * known && kept < 0.5 * forgotten, "{known} {forgotten} {kept}");
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
