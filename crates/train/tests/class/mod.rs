//! A small class for the stages: a model that reads characters, a task, and its verifier.
#![allow(dead_code)] // Each test binary uses a part of it.

use cloche_models::config::{ModelConfig, preset};
use cloche_models::{Network, specs};
use cloche_nn::Weights;
use cloche_tensor::{Device, DeviceKind};
use cloche_train::events::TuneEvent;
use cloche_train::examples::{Example, Pair, Prompt};
use cloche_train::learner::Optimization;
use cloche_train::rollout::{Answer, Exam, Verdict, Verifier};
use cloche_train::sft;
use cloche_train::split::Split;
use cloche_train::stage::Stage;
use cloche_train::tasks::{Task, task};
use pollster::block_on;

/// The token that ends an answer; the others are the ASCII characters from blank on.
pub const END: u32 = 95;
pub const VOCAB_SIZE: usize = 96;

pub fn ids(text: &str) -> Vec<u32> {
    text.bytes().map(|byte| byte as u32 - 32).collect()
}

pub fn text(ids: &[u32]) -> String {
    ids.iter().filter(|&&id| id != END).map(|&id| (id as u8 + 32) as char).collect()
}

/// A model of 2 layers and about 50,000 numbers, before training.
pub fn network(device: &Device, seed: u64) -> Network {
    let tiny = preset("tiny").unwrap().model;
    let config = ModelConfig { vocab_size: VOCAB_SIZE, context_len: 32, ..tiny };
    Network::new(config, Weights::init(device, &specs(&config), seed).unwrap())
}

/// A model so small that a step takes a millisecond.
pub fn micro(device: &Device, seed: u64) -> Network {
    let tiny = preset("tiny").unwrap().model;
    let shape = ModelConfig { n_layer: 1, n_head: 2, n_kv_head: 2, d_model: 16, d_head: 8, d_ff: 32, ..tiny };
    let config = ModelConfig { vocab_size: VOCAB_SIZE, context_len: 24, ..shape };
    Network::new(config, Weights::init(device, &specs(&config), seed).unwrap())
}

/// A demonstration: the prompt, and what to answer.
pub fn demonstration(prompt: &str, answer: &str) -> Example {
    let mut tokens = ids(prompt);
    let n_prompt = tokens.len();
    tokens.extend(ids(answer));
    tokens.push(END);
    Example { learn: (0..tokens.len()).map(|i| i >= n_prompt).collect(), ids: tokens }
}

pub fn demonstrations(name: &str, split: Split, n: u64, difficulty: u32) -> Vec<Example> {
    let task = task(name).unwrap();
    let shown = |index| {
        let item = task.item(1, split, index, difficulty);
        demonstration(&item.prompt, &task.demonstration(&item))
    };
    (0..n).map(shown).collect()
}

pub fn prompts(name: &str, split: Split, n: u64, difficulty: u32) -> Vec<Prompt> {
    let task = task(name).unwrap();
    let prompt =
        |index| Prompt { ids: ids(&task.item(1, split, index, difficulty).prompt), index: index as usize };
    (0..n).map(prompt).collect()
}

pub fn verifier(name: &str, split: Split, difficulty: u32) -> Verifier {
    let task: &'static Task = task(name).unwrap();
    Box::new(move |answers: &[Answer]| -> Result<Vec<Verdict>, String> {
        let item = |answer: &Answer| task.item(1, split, answer.index as u64, difficulty);
        Ok(answers.iter().map(|answer| task.verify(&item(answer), &text(&answer.ids))).collect())
    })
}

pub fn exam(name: &str, n: u64, difficulty: u32) -> Exam {
    Exam {
        prompts: prompts(name, Split::HeldOut, n, difficulty),
        max_tokens: 12,
        shown: 2,
        verifier: verifier(name, Split::HeldOut, difficulty),
    }
}

/// The adapter; without one, a loud word, and in CI a failure.
pub fn gpu() -> Option<Device> {
    match block_on(Device::open(DeviceKind::Gpu)) {
        Ok(device) => Some(device),
        Err(error) => {
            assert!(std::env::var("CI").is_err(), "no adapter: {error}");
            eprintln!("SKIPPED: no adapter: {error}");
            None
        }
    }
}

/// Runs a stage to its end.
pub fn finish<E: std::fmt::Debug>(mut stage: Stage<TuneEvent, E>) -> Vec<TuneEvent> {
    let mut events = Vec::new();
    while let Some(event) = block_on(stage.next()) {
        events.push(event.unwrap());
    }
    events
}

/// The files of the checkpoint of a step.
pub fn checkpoint(events: &[TuneEvent], wanted: u64) -> Vec<(String, Vec<u8>)> {
    let found = events.iter().find_map(|event| match event {
        TuneEvent::Checkpoint { step, files } if *step == wanted => Some(files.clone()),
        _ => None,
    });
    found.unwrap()
}

/// A number of the evaluations, in order.
pub fn evaluations(events: &[TuneEvent], name: &str) -> Vec<f32> {
    let number = |event: &TuneEvent| match event {
        TuneEvent::Eval { metrics, .. } => metrics.get(name),
        _ => None,
    };
    events.iter().filter_map(number).collect()
}

/// The loss of each step.
pub fn losses(events: &[TuneEvent]) -> Vec<f32> {
    let loss = |event: &TuneEvent| match event {
        TuneEvent::Step(step) => Some(step.loss),
        _ => None,
    };
    events.iter().filter_map(loss).collect()
}

/// Comparisons of right answers with wrong ones, where the demonstration of another item is the wrong one.
pub fn pairs(name: &str, split: Split, n: u64, difficulty: u32) -> Vec<Pair> {
    let task = task(name).unwrap();
    let pair = |index| {
        let item = task.item(1, split, index, difficulty);
        let right = task.demonstration(&item);
        let other = |offset| task.demonstration(&task.item(1, split, index + offset, difficulty));
        let wrong = (n..).map(other).find(|wrong| *wrong != right).unwrap();
        Pair { chosen: demonstration(&item.prompt, &right), rejected: demonstration(&item.prompt, &wrong) }
    };
    (0..n).map(pair).collect()
}

/// A model that has learnt a task from demonstrations, for so many steps.
pub fn taught(device: &Device, name: &str, steps: u64) -> Network {
    let optimization =
        Optimization { steps, batch_size: 32, lr: 3e-3, min_lr: 3e-4, eval_every: 0, ..Default::default() };
    let data = sft::Data {
        train: demonstrations(name, Split::Train, 2000, 1),
        held_out: demonstrations(name, Split::HeldOut, 8, 1),
        ..Default::default()
    };
    let network = network(device, 1);
    let settings = sft::Settings { optimization, stop_ids: vec![END], ..Default::default() };
    finish(sft::Run::new(device, network.clone(), settings, data, None).unwrap().stage());
    network
}
