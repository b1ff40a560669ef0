//! Every stage after pre-training, as small as it can be: what holds of all of them is a loop over [`STAGES`].

use cloche_tensor::Device;
use cloche_train::events::TuneEvent;
use cloche_train::examples::Ranking;
use cloche_train::learner::Optimization;
use cloche_train::rollout::{Answer, Verdict, Verifier};
use cloche_train::split::Split;
use cloche_train::stage::Stage;
use cloche_train::{Error, distill, dpo, grpo, ppo, reward, sft};
use pollster::block_on;

use crate::class::{END, demonstrations, micro, pairs, prompts};

/// Begins a stage.
pub type Begin = fn(&Device, Optimization) -> Stage<TuneEvent, Error>;

/// All stages, by name.
pub const STAGES: [(&str, Begin); 6] = [
    ("sft", |device, optimization| {
        let settings = sft::Settings { optimization, stop_ids: vec![END], ..Default::default() };
        let data =
            sft::Data { train: shown(Split::Train), held_out: shown(Split::HeldOut), ..Default::default() };
        sft::Run::new(device, micro(device, 1), settings, data, None).unwrap().stage()
    }),
    ("reward", |device, optimization| {
        let settings = reward::Settings { optimization, ..Default::default() };
        let of = |split| pairs("copy", split, 10, 1).into_iter().map(Ranking::from).collect();
        let data = reward::Data { train: of(Split::Train), held_out: of(Split::HeldOut) };
        let network = block_on(micro(device, 1).scoring(device, 1)).unwrap();
        reward::Run::new(device, network, settings, data, None).unwrap().stage()
    }),
    ("dpo", |device, optimization| {
        let settings = dpo::Settings { optimization, stop_ids: vec![END], ..Default::default() };
        let of = |split| pairs("copy", split, 10, 1);
        let data = dpo::Data { train: of(Split::Train), held_out: of(Split::HeldOut), exam: None };
        let (network, reference) = (micro(device, 1), Some(micro(device, 1)));
        dpo::Run::new(device, network, reference, settings, data, None).unwrap().stage()
    }),
    ("ppo", |device, optimization| {
        let critic_lr = optimization.lr;
        let settings = ppo::Settings {
            optimization,
            critic_lr,
            stop_ids: vec![END],
            max_tokens: 3,
            epochs: 2,
            ..Default::default()
        };
        let critic = block_on(micro(device, 1).scoring(device, 1)).unwrap();
        let models = ppo::Models { policy: micro(device, 1), reference: micro(device, 1), critic };
        let scorer = ppo::Scorer::Verifier(rewarded());
        let prompts = prompts("copy", Split::Train, 20, 1);
        let data = ppo::Data { prompts, scorer, pretraining: Vec::new(), exam: None };
        ppo::Run::new(device, models, settings, data, None).unwrap().stage()
    }),
    ("grpo", |device, optimization| {
        let settings = grpo::Settings {
            optimization,
            stop_ids: vec![END],
            max_tokens: 3,
            group: 2,
            epochs: 2,
            beta: 0.1,
            ..Default::default()
        };
        let prompts = prompts("copy", Split::Train, 20, 1);
        let data =
            grpo::Data { prompts, verifier: rewarded(), reference: Some(micro(device, 1)), exam: None };
        grpo::Run::new(device, micro(device, 1), settings, data, None).unwrap().stage()
    }),
    ("distill", |device, optimization| {
        let settings = distill::Settings { optimization, stop_ids: vec![END], ..Default::default() };
        let data = distill::Data { train: shown(Split::Train), held_out: shown(Split::HeldOut), exam: None };
        distill::Run::new(device, micro(device, 1), micro(device, 2), settings, data, None).unwrap().stage()
    }),
];

fn shown(split: Split) -> Vec<cloche_train::examples::Example> {
    demonstrations("copy", split, 10, 1)
}

/// Rewards in which answers differ from the beginning: the token that comes first.
fn rewarded() -> Verifier {
    Box::new(|answers: &[Answer]| {
        let reward = |answer: &Answer| answer.ids[0] as f32 / 96.0;
        Ok(answers.iter().map(|answer| Verdict { reward: reward(answer), correct: false }).collect())
    })
}
