//! The reward model: it learns what is preferred, resumes, runs beside a frozen base and on both devices.

mod class;

use class::{checkpoint, demonstration, evaluations, finish, losses, network, pairs};
use cloche_models::{Adapter, LoraConfig, Network};
use cloche_tensor::Device;
use cloche_train::checkpoint::open;
use cloche_train::events::TuneEvent;
use cloche_train::examples::Ranking;
use cloche_train::judge::Judge;
use cloche_train::learner::Optimization;
use cloche_train::reward::{Data, Run, Settings};
use cloche_train::split::Split;
use pollster::block_on;

fn settings(steps: u64) -> Settings {
    let optimization = Optimization {
        steps,
        batch_size: 16,
        lr: 3e-3,
        min_lr: 3e-4,
        eval_every: 0,
        checkpoint_every: 10,
        ..Default::default()
    };
    Settings { optimization, ..Default::default() }
}

fn rankings(split: Split, n: u64) -> Vec<Ranking> {
    pairs("copy", split, n, 1).into_iter().map(Ranking::from).collect()
}

fn data() -> Data {
    Data { train: rankings(Split::Train, 2000), held_out: rankings(Split::HeldOut, 128) }
}

/// An untrained model with a score head.
fn judging(device: &Device, seed: u64) -> Network {
    block_on(network(device, seed).scoring(device, seed)).unwrap()
}

fn run(device: &Device, network: Network, settings: Settings, data: Data) -> Vec<TuneEvent> {
    finish(Run::new(device, network, settings, data, None).unwrap().stage())
}

#[test]
fn it_tells_right_answers_from_wrong_ones() {
    let device = Device::cpu();
    let network = judging(&device, 1);
    let settings = Settings { centring: 0.01, ..settings(400) };
    let events = run(&device, network.clone(), settings, data());
    let last = |name: &str| evaluations(&events, name)[1];
    assert!((evaluations(&events, "held_out_loss")[0] - 2f32.ln()).abs() < 0.05);
    assert!(last("held_out_accuracy") >= 0.95, "{}", last("held_out_accuracy"));
    assert!(last("held_out_margin") > 2.0, "{}", last("held_out_margin"));
    assert!(last("held_out_calibration_error") < 0.1, "{}", last("held_out_calibration_error"));
    let centre = last("held_out_chosen_reward") + last("held_out_rejected_reward");
    assert!(centre.abs() < 0.5 * last("held_out_margin"), "{centre}");

    // The same judge orders texts that it is shown one by one, and in any batch.
    let held_out = rankings(Split::HeldOut, 5);
    let texts: Vec<&[u32]> = held_out.iter().flat_map(|r| &r.answers).map(|a| a.ids.as_slice()).collect();
    let mut judge = Judge::new(&device, &network, 3, 32).unwrap();
    let rewards = block_on(judge.score(&texts)).unwrap();
    assert!(rewards.chunks(2).filter(|pair| pair[0] > pair[1]).count() >= 4, "{rewards:?}");
    let alone: Vec<f32> = texts.iter().map(|text| block_on(judge.score(&[text])).unwrap()[0]).collect();
    assert_eq!(rewards, alone);
    // One that was made for more texts than a program logs judges them in several batches.
    let many: Vec<&[u32]> = texts.iter().copied().cycle().take(130).collect();
    let in_batches = block_on(Judge::new(&device, &network, 100, 32).unwrap().score(&many)).unwrap();
    assert_eq!(in_batches.len(), many.len());
    for (found, want) in in_batches.iter().zip(alone.iter().cycle()) {
        assert!((found - want).abs() < 1e-4, "{found} {want}");
    }
}

#[test]
fn rankings_of_many_answers_are_all_their_pairs() {
    let device = Device::cpu();
    let ranking = |prompt: &str, answers: &[&str]| Ranking {
        answers: answers.iter().map(|answer| demonstration(prompt, answer)).collect(),
    };
    let three = ranking("a", &["b", "c", "d"]);
    let two = ranking("e", &["f", "g"]);
    let first = |train: &[&Ranking]| {
        let train: Vec<Ranking> = train.iter().map(|&ranking| ranking.clone()).collect();
        let mut settings = settings(1);
        settings.optimization.batch_size = train.len();
        let data = Data { held_out: train.clone(), train };
        let events = run(&device, judging(&device, 1), settings, data);
        assert!((losses(&events)[0] - evaluations(&events, "held_out_loss")[0]).abs() < 1e-6);
        losses(&events)[0]
    };
    let pair =
        |i: usize, j: usize| Ranking { answers: vec![three.answers[i].clone(), three.answers[j].clone()] };
    // Each prompt counts once: three pairs of one prompt weigh as much as one of another.
    let expected = (first(&[&pair(0, 1), &pair(0, 2), &pair(1, 2)]) + first(&[&two])) / 2.0;
    assert!((first(&[&three, &two]) - expected).abs() < 1e-6);
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let device = Device::cpu();
    let whole = run(&device, judging(&device, 1), settings(20), data());
    let saved = Some(open(checkpoint(&whole, 10)).unwrap());
    let rest = finish(Run::new(&device, judging(&device, 2), settings(20), data(), saved).unwrap().stage());
    assert_eq!(losses(&rest), losses(&whole)[10..]);
    assert_eq!(checkpoint(&rest, 20), checkpoint(&whole, 20));
}

#[test]
fn an_adapter_learns_to_judge_and_its_base_stays() {
    let device = Device::cpu();
    let base = network(&device, 1);
    let before = block_on(base.weights.read()).unwrap();
    let lora = LoraConfig { rank: 4, whole: vec!["score".into()], ..Default::default() };
    let adapter = Adapter::new(&device, &base.config, lora, 7).unwrap();
    let events = run(&device, base.with_adapter(adapter), settings(60), data());
    let loss = losses(&events);
    assert!(loss[50..].iter().sum::<f32>() < 0.95 * loss[..10].iter().sum::<f32>(), "{loss:?}");
    assert_eq!(block_on(base.weights.read()).unwrap(), before);
}

#[test]
fn what_cannot_judge_or_be_judged_is_named() {
    let device = Device::cpu();
    let message =
        |network, settings, data| Run::new(&device, network, settings, data, None).err().unwrap().to_string();
    let headless = message(network(&device, 1), settings(1), data());
    assert_eq!(
        headless,
        "model: found no score head, expected one in the weights, or held whole by the adapter"
    );
    let wrong = Settings { margin: f32::NAN, ..settings(1) };
    assert_eq!(
        message(judging(&device, 1), wrong, data()),
        "margin: found NaN, expected a finite number, 0 for none"
    );
    let none = Data { held_out: vec![], ..data() };
    assert_eq!(message(judging(&device, 1), settings(1), none), "no ranking: expected at least one");
    let mut judge = Judge::new(&device, &judging(&device, 1), 2, 8).unwrap();
    let error = block_on(judge.score(&[&[1, 2], &[0; 9]])).unwrap_err().to_string();
    assert_eq!(error, "text 1: found 9 tokens, expected 1 to 8");
}

#[test]
fn both_devices_learn_the_same() {
    let Some(gpu) = class::gpu() else { return };
    let small = || {
        let mut settings = settings(3);
        settings.optimization.batch_size = 4;
        settings
    };
    let data = || Data { train: rankings(Split::Train, 12), held_out: rankings(Split::HeldOut, 4) };
    let [cpu, gpu] = [Device::cpu(), gpu].map(|device| run(&device, judging(&device, 1), small(), data()));
    for (cpu, gpu) in losses(&cpu).into_iter().zip(losses(&gpu)) {
        assert!((cpu - gpu).abs() < 1e-3, "{cpu} {gpu}");
    }
    assert_eq!(losses(&gpu).len(), 3);
}
