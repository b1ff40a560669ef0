//! Direct preference optimisation: it begins at its reference, leaves it for what is preferred, resumes, and runs beside a
//! frozen base and on both devices.

mod class;

use class::{
    checkpoint, demonstrations, evaluations, exam, finish, losses, network, pairs, prompts, verifier,
};
use cloche_models::{Adapter, LoraConfig, Network, Sampling};
use cloche_tensor::Device;
use cloche_train::checkpoint::open;
use cloche_train::dpo::{Data, Loss, Run, Settings};
use cloche_train::events::TuneEvent;
use cloche_train::examples::{Pair, Prompt};
use cloche_train::learner::Optimization;
use cloche_train::rollout::{Rollouts, verify};
use cloche_train::split::Split;
use pollster::block_on;

fn settings(steps: u64) -> Settings {
    let optimization = Optimization {
        steps,
        batch_size: 8,
        lr: 1e-3,
        min_lr: 1e-4,
        eval_every: 0,
        checkpoint_every: 10,
        ..Default::default()
    };
    Settings { optimization, stop_ids: vec![class::END], ..Default::default() }
}

fn data() -> Data {
    Data {
        train: pairs("copy", Split::Train, 100, 1),
        held_out: pairs("copy", Split::HeldOut, 20, 1),
        exam: None,
    }
}

fn copy(device: &Device, network: &Network) -> Option<Network> {
    Some(block_on(network.merged(device)).unwrap())
}

/// All weights learn; the reference is a copy of them.
fn run(device: &Device, settings: Settings) -> Vec<TuneEvent> {
    let network = network(device, 1);
    let reference = copy(device, &network);
    finish(Run::new(device, network, reference, settings, data(), None).unwrap().stage())
}

fn adapted(device: &Device, base: &Network) -> Network {
    let lora = LoraConfig { rank: 4, ..Default::default() };
    base.with_adapter(Adapter::new(device, &base.config, lora, 7).unwrap())
}

#[test]
fn it_begins_at_its_reference() {
    let device = Device::cpu();
    for (loss, expected) in [(Loss::Sigmoid, 2f32.ln()), (Loss::Ipo, 25.0), (Loss::Hinge, 1.0)] {
        let network = network(&device, 1);
        let reference = copy(&device, &network);
        // The same eight pairs in every step.
        let data = Data { train: pairs("copy", Split::Train, 8, 1), ..data() };
        let settings = Settings { loss, ..settings(8) };
        let events = finish(Run::new(&device, network, reference, settings, data, None).unwrap().stage());
        let first = losses(&events)[0];
        assert!((first / expected - 1.0).abs() < 1e-5, "{loss:?}: {first}, not {expected}");
        assert!((evaluations(&events, "held_out_loss")[0] / expected - 1.0).abs() < 1e-5);
        for name in ["held_out_chosen_reward", "held_out_rejected_reward", "held_out_margin"] {
            assert!(evaluations(&events, name)[0].abs() < 1e-5, "{loss:?}: {name}");
        }
        for name in ["held_out_chosen_log_prob", "held_out_rejected_log_prob"] {
            assert!(evaluations(&events, name)[0] < -1.0, "{loss:?}: an untrained model is sure of nothing");
        }
        assert!(losses(&events)[7] < first, "{loss:?}: {:?}", losses(&events));
    }
}

#[test]
fn the_tokens_of_the_chosen_answers_count_besides() {
    let device = Device::cpu();
    let begun = |sft_weight| {
        let network = network(&device, 1);
        let reference = copy(&device, &network);
        // The log-probabilities that this loss tells are means over tokens.
        let settings = Settings { loss: Loss::Ipo, sft_weight, ..settings(1) };
        finish(Run::new(&device, network, reference, settings, data(), None).unwrap().stage())
    };
    let (without, with) = (begun(0.0), begun(0.5));
    let told = |name| evaluations(&without, name)[0];
    let expected = told("held_out_loss") - 0.5 * told("held_out_chosen_log_prob");
    assert!((evaluations(&with, "held_out_loss")[0] / expected - 1.0).abs() < 1e-5);
    assert!(expected > told("held_out_loss") + 1.0);
}

/// What a model answers wrongly, beside what it should have answered.
fn mistakes(device: &Device, network: &Network, split: Split, n: u64) -> Vec<Pair> {
    let questions = prompts("copy", split, n, 1);
    let mut rollouts = Rollouts::new(device, network, 64, 12, &[class::END]).unwrap();
    let sampling = Sampling { temperature: 1.0, seed: 100, ..Default::default() };
    let answers = block_on(rollouts.answer(&questions.iter().collect::<Vec<&Prompt>>(), sampling)).unwrap();
    let verdicts = verify(&mut verifier("copy", split, 1), &answers).unwrap();
    let right = demonstrations("copy", split, n, 1);
    let wrong = answers.iter().zip(right).zip(verdicts).filter(|(_, verdict)| !verdict.correct);
    wrong.map(|((answer, chosen), _)| Pair { chosen, rejected: answer.example() }).collect()
}

#[test]
fn a_model_learns_from_its_own_mistakes() {
    let device = Device::cpu();
    let network = class::taught(&device, "copy", 170);
    let data = Data {
        train: mistakes(&device, &network, Split::Train, 1024),
        held_out: mistakes(&device, &network, Split::HeldOut, 128),
        exam: Some(exam("copy", 128, 1)),
    };
    let mut settings = Settings { beta: 1.0, precompute: true, ..settings(60) };
    settings.optimization.batch_size = 16;
    let reference = copy(&device, &network);
    let events = finish(Run::new(&device, network, reference, settings, data, None).unwrap().stage());
    let [accuracy, margin, loss, chosen, correct] =
        ["held_out_accuracy", "held_out_margin", "held_out_loss", "held_out_chosen_reward", "exam_correct"]
            .map(|name| evaluations(&events, name));
    assert!(accuracy[1] >= 0.9, "{accuracy:?}");
    assert!(margin[0].abs() < 1e-3 && margin[1] > 1.0, "{margin:?}");
    assert!(loss[1] < 0.4, "{loss:?}");
    // What is preferred has become likelier, and not only less unlikely than the other.
    assert!(chosen[1] > 0.0, "{chosen:?}");
    assert!(correct[1] > correct[0] + 0.15, "{correct:?}");
}

#[test]
fn a_batch_may_be_larger_than_what_a_program_logs() {
    let device = Device::cpu();
    let begun = |batch_size| {
        let (network, mut settings) = (network(&device, 1), settings(1));
        settings.optimization.batch_size = batch_size;
        let data = Data { held_out: pairs("copy", Split::HeldOut, 70, 1), ..data() };
        let reference = copy(&device, &network);
        finish(Run::new(&device, network, reference, settings, data, None).unwrap().stage())
    };
    let [few, many] =
        [8, 80].map(|batch_size| evaluations(&begun(batch_size), "held_out_chosen_log_prob")[0]);
    assert!((many / few - 1.0).abs() < 1e-6, "{many}, not {few}");
}

#[test]
fn references_known_beforehand_are_the_same() {
    let device = Device::cpu();
    let each_time = run(&device, settings(6));
    let beforehand = run(&device, Settings { precompute: true, ..settings(6) });
    assert_eq!(losses(&each_time), losses(&beforehand));
}

#[test]
fn a_base_without_its_adapter_is_a_reference_and_stays() {
    let device = Device::cpu();
    let base = network(&device, 1);
    let before = block_on(base.weights.read()).unwrap();
    let learn = |reference| {
        let network = adapted(&device, &base);
        finish(Run::new(&device, network, reference, settings(12), data(), None).unwrap().stage())
    };
    let switched_off = learn(None);
    assert_eq!(losses(&switched_off), losses(&learn(copy(&device, &base))));
    assert!((losses(&switched_off)[0] - 2f32.ln()).abs() < 1e-5);
    assert!(evaluations(&switched_off, "held_out_loss")[1] < evaluations(&switched_off, "held_out_loss")[0]);
    assert_eq!(block_on(base.weights.read()).unwrap(), before);
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let device = Device::cpu();
    let whole = run(&device, settings(20));
    let saved = Some(open(checkpoint(&whole, 10)).unwrap());
    let reference = copy(&device, &network(&device, 1));
    let other = network(&device, 2);
    let rest = finish(Run::new(&device, other, reference, settings(20), data(), saved).unwrap().stage());
    assert_eq!(losses(&rest), losses(&whole)[10..]);
    assert_eq!(checkpoint(&rest, 20), checkpoint(&whole, 20));
}

#[test]
fn what_cannot_be_learnt_from_is_named() {
    let device = Device::cpu();
    let message = |settings, reference, data| {
        Run::new(&device, network(&device, 1), reference, settings, data, None).err().unwrap().to_string()
    };
    let copy = || copy(&device, &network(&device, 1));
    assert_eq!(
        message(settings(1), None, data()),
        "reference: found none, expected a copy of the model, which has no adapter to switch off"
    );
    let smooth = Settings { loss: Loss::Hinge, label_smoothing: 0.1, ..settings(1) };
    assert_eq!(
        message(smooth, copy(), data()),
        "label_smoothing: found 0.1, expected 0, as the loss is not sigmoid"
    );
    assert!(message(Settings { beta: 0.0, ..settings(1) }, copy(), data()).starts_with("beta: found 0"));
    let equal = |pair: Pair| Pair { rejected: pair.chosen.clone(), ..pair };
    let same = Data { train: data().train.into_iter().map(equal).collect(), ..data() };
    assert_eq!(
        message(settings(1), copy(), same),
        "pair 0: found a chosen answer equal to the rejected one, expected two answers"
    );
    let mut short = copy().unwrap();
    short.config.context_len = 16;
    assert_eq!(
        message(settings(1), Some(short), data()),
        "reference: found a vocabulary of 96, a context of 16, expected the model's vocabulary, and at least its context"
    );
}

#[test]
fn both_devices_learn_the_same() {
    let Some(gpu) = class::gpu() else { return };
    let [cpu, gpu] = [Device::cpu(), gpu].map(|device| {
        let mut settings = settings(3);
        settings.optimization.batch_size = 2;
        let data = Data { held_out: pairs("copy", Split::HeldOut, 3, 1), ..data() };
        let network = adapted(&device, &network(&device, 1));
        finish(Run::new(&device, network, None, settings, data, None).unwrap().stage())
    });
    for (cpu, gpu) in losses(&cpu).into_iter().zip(losses(&gpu)) {
        assert!((cpu - gpu).abs() < 1e-3, "{cpu} {gpu}");
    }
    assert_eq!(losses(&gpu).len(), 3);
}
