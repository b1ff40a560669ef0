//! PPO: it raises the reward within a bounded distance, its critic learns what to expect, and it resumes.

mod class;

use class::{checkpoint, demonstrations, finish, losses, network, prompts};
use cloche_models::Network;
use cloche_tensor::{Data as Numbers, Device};
use cloche_train::checkpoint::open;
use cloche_train::events::TuneEvent;
use cloche_train::judge::Judge;
use cloche_train::learner::Optimization;
use cloche_train::ppo::{Data, Models, Run, Scorer, Settings};
use cloche_train::rollout::{Answer, Verdict};
use cloche_train::split::Split;
use pollster::block_on;

fn settings(steps: u64) -> Settings {
    let optimization = Optimization {
        steps,
        batch_size: 24,
        lr: 1e-3,
        min_lr: 1e-3,
        warmup_steps: 0,
        eval_every: 0,
        checkpoint_every: 3,
        ..Default::default()
    };
    let (stop_ids, missing_end_penalty) = (vec![class::END], 0.1);
    Settings { optimization, stop_ids, max_tokens: 8, epochs: 2, missing_end_penalty, ..Default::default() }
}

/// A policy, a reference that is a copy of it, and a critic.
fn models(device: &Device, seed: u64) -> Models {
    let critic = block_on(network(device, seed).scoring(device, seed)).unwrap();
    Models { policy: network(device, seed), reference: network(device, 1), critic }
}

/// The share of blanks, which a model without training can already raise.
fn data() -> Data {
    let scorer = Scorer::Verifier(Box::new(|answers: &[Answer]| {
        let share = |answer: &Answer| {
            let n = answer.ids.iter().filter(|&&id| id == 0).count();
            Verdict { reward: n as f32 / answer.ids.len() as f32, correct: false }
        };
        Ok(answers.iter().map(share).collect())
    }));
    Data { prompts: prompts("copy", Split::Train, 200, 1), scorer, pretraining: Vec::new(), exam: None }
}

fn run(device: &Device, settings: Settings) -> Vec<TuneEvent> {
    finish(Run::new(device, models(device, 1), settings, data(), None).unwrap().stage())
}

fn metric(events: &[TuneEvent], name: &str) -> Vec<f32> {
    let number = |event: &TuneEvent| match event {
        TuneEvent::Step(step) => step.metrics.get(name),
        _ => None,
    };
    events.iter().filter_map(number).collect()
}

#[test]
fn the_reward_rises_by_more_than_its_deviation_and_the_policy_stays_near() {
    let events = run(&Device::cpu(), settings(60));
    let (reward, deviation) = (metric(&events, "reward"), metric(&events, "reward_std"));
    let last = reward[50..].iter().sum::<f32>() / 10.0;
    assert!(last > reward[0] + deviation[0], "{reward:?}, deviation {}", deviation[0]);
    let kl = metric(&events, "kl");
    assert!(kl[0].abs() < 1e-3 && kl.iter().all(|kl| *kl < 10.0) && kl[59] > 0.1, "{kl:?}");
    let (expected, error) = (metric(&events, "explained_variance"), metric(&events, "value_loss"));
    assert!(expected[59] > expected[0] && error.iter().all(|x| x.is_finite()), "{expected:?}");
}

#[test]
fn before_the_first_update_the_ratio_is_1_and_whitened_advantages_add_up_to_0() {
    let events = run(&Device::cpu(), Settings { epochs: 1, ..settings(1) });
    assert!(losses(&events)[0].abs() < 1e-5, "{:?}", losses(&events));
    assert_eq!(metric(&events, "clip_fraction"), [0.0]);
    assert!(metric(&events, "approx_kl")[0].abs() < 1e-6);
}

#[test]
fn a_dear_divergence_keeps_the_policy_where_it_was() {
    let far = |beta| {
        let kl = metric(&run(&Device::cpu(), Settings { beta, ..settings(25) }), "kl");
        kl[20..].iter().sum::<f32>() / 5.0
    };
    let (loose, tight) = (far(0.0), far(2.0));
    assert!(loose > 2.0 * tight, "{loose} {tight}");
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one_with_a_share_of_old_text() {
    let device = Device::cpu();
    let run = |seed, saved| {
        let settings = Settings { minibatches: 3, pretraining_weight: 0.5, ..settings(6) };
        let data = Data { pretraining: demonstrations("reverse", Split::Train, 50, 1), ..data() };
        finish(Run::new(&device, models(&device, seed), settings, data, saved).unwrap().stage())
    };
    let whole = run(1, None);
    let rest = run(2, Some(open(checkpoint(&whole, 3)).unwrap()));
    assert_eq!(losses(&rest), losses(&whole)[3..]);
    assert_eq!(checkpoint(&rest, 6), checkpoint(&whole, 6));
    assert!(checkpoint(&rest, 6).iter().any(|(name, _)| name == "critic_optimizer.safetensors"));
    let old_text = metric(&whole, "pretraining_loss");
    assert!(old_text[5] < old_text[0] - 0.1, "{old_text:?}");
}

#[test]
fn a_reward_model_can_be_the_judge() {
    let device = Device::cpu();
    let rewards: Network = block_on(network(&device, 5).scoring(&device, 5)).unwrap();
    let judge = Judge::new(&device, &rewards, 24, 32).unwrap();
    let with = |judge| Data { scorer: Scorer::Judge(Box::new(judge)), ..data() };
    let run = |judge| Run::new(&device, models(&device, 1), settings(2), with(judge), None).unwrap();
    let events = finish(run(judge).stage());
    assert!(metric(&events, "reward_std")[1] > 0.0);
    // An answer that fills the context has a token that nobody reads, and of one that goes on the beginning is heard.
    let mut judge = Judge::new(&device, &rewards, 24, 32).unwrap();
    let answer = |n: u32, ended| Answer {
        index: 0,
        prompt: vec![1; 20],
        ids: (0..n).map(|i| i % 5).collect(),
        log_probs: vec![0.0; n as usize],
        ended,
    };
    let rated =
        block_on(judge.rate(&[answer(12, true), answer(13, true), answer(13, false), answer(40, false)]));
    let rated = rated.unwrap();
    assert!(rated.iter().all(|reward| *reward == rated[0]), "{rated:?}");
    assert!(block_on(judge.rate(&[answer(14, true)])).is_err(), "that one is too long for the judge");
    // One that has no numbers to give is named, with the first question.
    rewards.weights.state().write(&Numbers::F32(vec![f32::NAN; rewards.weights.state().numel()]));
    let judge = Judge::new(&device, &rewards, 24, 32).unwrap();
    let mut stage = run(judge).stage();
    let error = loop {
        if let Err(error) = block_on(stage.next()).expect("the stage does not go on") {
            break error.to_string();
        }
    };
    assert!(error.starts_with("verifier: answer 0 to question ") && error.contains("reward NaN"), "{error}");
}

#[test]
fn a_gpu_agrees_with_the_cpu() {
    let Some(gpu) = class::gpu() else { return };
    let run = |device: &Device| {
        let mut settings = Settings { max_tokens: 4, epochs: 1, pretraining_weight: 1.0, ..settings(2) };
        settings.optimization.batch_size = 4;
        let data = Data { pretraining: demonstrations("reverse", Split::Train, 8, 1), ..data() };
        let events = finish(Run::new(device, models(device, 1), settings, data, None).unwrap().stage());
        (losses(&events), metric(&events, "value_loss"))
    };
    let (found, expected) = (run(&gpu), run(&Device::cpu()));
    assert!((found.0[0] - expected.0[0]).abs() < 1e-3, "{found:?}, expected {expected:?}");
    assert!((found.1[0] - expected.1[0]).abs() < 1e-3, "{found:?}, expected {expected:?}");
    assert!(found.0.iter().all(|loss| loss.is_finite()));
}

#[test]
fn bad_settings_are_named() {
    let device = Device::cpu();
    let message =
        |settings, models| Run::new(&device, models, settings, data(), None).err().unwrap().to_string();
    let odd = Settings { minibatches: 5, ..settings(1) };
    let expected = "minibatches: found 5, expected 1 to 32, and a divisor of batch_size";
    assert_eq!(message(odd, models(&device, 1)), expected);
    let eager = Settings { gamma: 1.5, ..settings(1) };
    assert_eq!(message(eager, models(&device, 1)), "gamma: found 1.5, expected 0 to 1");
    let headless = Models { critic: network(&device, 1), ..models(&device, 1) };
    assert!(message(settings(1), headless).contains("score head"));
    let critic = block_on(class::micro(&device, 1).scoring(&device, 1)).unwrap();
    let short = message(settings(1), Models { critic, ..models(&device, 1) });
    assert!(short.starts_with("critic: found ") && short.contains("a context of 24"), "{short}");
}
