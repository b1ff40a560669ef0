//! A few steps of each stage after pre-training, by a model of some thousand numbers that copies letters.
//!
//! Stages that learn from rewards draw their answers. Every device draws with the same random bits, so all devices draw the
//! same answers, unless rounding tips a token that was on the edge: the rewards of the record would show it.

use std::f32::consts::LN_2;

use cloche_models::config::{ModelConfig, preset};
use cloche_models::{Network, specs};
use cloche_nn::Weights;
use cloche_tensor::Device;

use crate::error::Error;
use crate::events::{TuneEvent, TuneStep};
use crate::examples::{Example, Pair, Prompt, Ranking};
use crate::learner::Optimization;
use crate::rollout::{Answer, Verdict, Verifier};
use crate::split::Split;
use crate::stage::Stage;
use crate::tasks::{Item, Task, task};
use crate::{distill, dpo, grpo, ppo, reward, sft};

/// What the run of a stage came to on the CPU, natively.
pub struct Record {
    /// The stage.
    pub stage: &'static str,
    /// The loss of each step.
    pub losses: [f32; STEPS],
    /// The norm of the gradient of each step, before it was clipped.
    pub grad_norms: [f32; STEPS],
    /// The mean reward of each step's answers, where they are drawn; exact, as long as the answers are the same.
    pub rewards: Option<[f32; STEPS]>,
}

/// Steps of each run.
const STEPS: usize = 3;

/// The records of all stages. Other devices add numbers up in another order, and agree within 1e-3.
pub const RECORDS: [Record; 6] = [
    Record {
        stage: "sft",
        losses: [3.5873325, 3.425914, 3.473215],
        grad_norms: [2.2966738, 2.1139967, 2.1115544],
        rewards: None,
    },
    Record {
        stage: "reward",
        losses: [0.6965189, 0.6903258, 0.69162965],
        grad_norms: [0.12831645, 0.10742465, 0.08051669],
        rewards: None,
    },
    Record {
        stage: "dpo",
        // Where it begins, the policy is its reference.
        losses: [LN_2, 0.69450355, 0.682003],
        grad_norms: [0.46086684, 0.47879735, 0.4885975],
        rewards: None,
    },
    Record {
        stage: "ppo",
        losses: [-0.025973186, -0.013096236, -0.0030675158],
        grad_norms: [1.7962836, 2.0549567, 1.9252356],
        rewards: Some([0.4375, 0.3125, 0.3125]),
    },
    Record {
        stage: "grpo",
        losses: [-0.010837317, -0.14978497, -0.0017674296],
        grad_norms: [0.79060507, 1.2941265, 1.3306361],
        rewards: Some([0.45833334, 0.29166666, 0.33333334]),
    },
    Record {
        stage: "distill",
        losses: [0.5389286, 0.5160186, 0.5002927],
        grad_norms: [0.5317422, 0.5017818, 0.50341994],
        rewards: None,
    },
];

impl Record {
    /// The largest difference of a run's steps from this record. It is relative, but for the losses of policies: these are
    /// means of advantages of both signs and of size 1, near 0 by nature.
    ///
    /// # Errors
    /// Another number of steps; rewards of other answers.
    pub fn difference(&self, steps: &[TuneStep]) -> Result<f32, String> {
        if steps.len() != STEPS {
            return Err(format!("{} steps, expected {STEPS}", steps.len()));
        }
        let mut worst = 0.0f32;
        for (i, step) in steps.iter().enumerate() {
            if let Some(rewards) = self.rewards
                && step.metrics.get("reward") != Some(rewards[i])
            {
                let found = step.metrics.get("reward");
                return Err(format!("step {}: reward {found:?}, expected {}", step.step, rewards[i]));
            }
            let size = if self.rewards.is_some() { 1.0 } else { self.losses[i] };
            let loss = (step.loss - self.losses[i]).abs() / size;
            let grad_norm = (step.grad_norm - self.grad_norms[i]).abs() / self.grad_norms[i];
            worst = worst.max(loss).max(grad_norm);
        }
        Ok(worst)
    }
}

/// Tokens: the letters, what else stands in a prompt, and what ends an answer.
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz :=";
const END: u32 = LETTERS.len() as u32;
const VOCAB_SIZE: usize = 32;

/// The run of a stage, before its first event.
///
/// # Errors
/// Of the device.
///
/// # Panics
/// For a stage that has no record.
pub async fn reference_stage(device: &Device, name: &str) -> Result<Stage<TuneEvent, Error>, Error> {
    let optimization = Optimization {
        steps: STEPS as u64,
        batch_size: 4,
        lr: 1e-3,
        min_lr: 1e-4,
        warmup_steps: 0,
        eval_every: 0,
        checkpoint_every: 0,
        ..Optimization::default()
    };
    let network = network(device, 0.1, 1)?;
    let stop_ids = vec![END];
    Ok(match name {
        "sft" => {
            let settings = sft::Settings { optimization, stop_ids, ..Default::default() };
            let (train, held_out) = (demonstrations(Split::Train, 8), demonstrations(Split::HeldOut, 4));
            let data = sft::Data { train, held_out, ..Default::default() };
            sft::Run::new(device, network, settings, data, None)?.stage()
        }
        "reward" => {
            let network = network.scoring(device, 1).await?;
            let settings = reward::Settings { optimization, centring: 0.01, ..Default::default() };
            let rankings = |split, n| pairs(split, n).into_iter().map(Ranking::from).collect();
            let data =
                reward::Data { train: rankings(Split::Train, 8), held_out: rankings(Split::HeldOut, 4) };
            reward::Run::new(device, network, settings, data, None)?.stage()
        }
        "dpo" => {
            let reference = network.merged(device).await?;
            let settings = dpo::Settings { optimization, stop_ids, ..Default::default() };
            let data =
                dpo::Data { train: pairs(Split::Train, 8), held_out: pairs(Split::HeldOut, 4), exam: None };
            dpo::Run::new(device, network, Some(reference), settings, data, None)?.stage()
        }
        "ppo" => {
            let (reference, critic) = (network.merged(device).await?, network.scoring(device, 1).await?);
            let models = ppo::Models { policy: network, reference, critic };
            let settings =
                ppo::Settings { optimization, stop_ids, max_tokens: 4, epochs: 2, ..Default::default() };
            let scorer = ppo::Scorer::Verifier(early_letters());
            let data = ppo::Data { prompts: prompts(8), scorer, pretraining: Vec::new(), exam: None };
            ppo::Run::new(device, models, settings, data, None)?.stage()
        }
        "grpo" => {
            let reference = Some(network.merged(device).await?);
            let optimization = Optimization { batch_size: 2, ..optimization };
            let settings = grpo::Settings {
                optimization,
                stop_ids,
                max_tokens: 4,
                group: 3,
                epochs: 2,
                beta: 0.1,
                ..Default::default()
            };
            let data = grpo::Data { prompts: prompts(8), verifier: early_letters(), reference, exam: None };
            grpo::Run::new(device, network, settings, data, None)?.stage()
        }
        "distill" => {
            // A teacher that is surer of what it says.
            let teacher = self::network(device, 0.3, 2)?;
            let settings = distill::Settings { optimization, stop_ids, ..Default::default() };
            let (train, held_out) = (demonstrations(Split::Train, 8), demonstrations(Split::HeldOut, 4));
            let data = distill::Data { train, held_out, exam: None };
            distill::Run::new(device, network, teacher, settings, data, None)?.stage()
        }
        _ => panic!("there is no stage {name:?}"),
    })
}

/// A model of one layer, before training.
fn network(device: &Device, init_std: f32, seed: u64) -> Result<Network, Error> {
    let tiny = preset("tiny").expect("tiny is a preset").model;
    let model = ModelConfig { n_layer: 1, n_head: 2, n_kv_head: 2, d_model: 16, d_head: 8, d_ff: 32, ..tiny };
    let config = ModelConfig { vocab_size: VOCAB_SIZE, context_len: 24, init_std, ..model };
    Ok(Network::new(config, Weights::init(device, &specs(&config), seed)?))
}

fn copying() -> &'static Task {
    task("copy").expect("copy is a task")
}

fn item(split: Split, index: u64) -> Item {
    copying().item(1, split, index, 1)
}

fn ids(text: &str) -> Vec<u32> {
    let id = |byte| LETTERS.iter().position(|&letter| letter == byte).expect("a letter of the task") as u32;
    text.bytes().map(id).collect()
}

/// A prompt, and what to answer.
fn demonstration(prompt: &str, answer: &str) -> Example {
    let (mut tokens, answer) = (ids(prompt), ids(answer));
    let n_prompt = tokens.len();
    tokens.extend(answer);
    tokens.push(END);
    Example { learn: (0..tokens.len()).map(|t| t >= n_prompt).collect(), ids: tokens }
}

fn demonstrations(split: Split, n: u64) -> Vec<Example> {
    let items = (0..n).map(|index| item(split, index));
    items.map(|item| demonstration(&item.prompt, &item.answer)).collect()
}

/// The right answer, and that to another question.
fn pairs(split: Split, n: u64) -> Vec<Pair> {
    let pair = |index| {
        let (right, wrong) = (item(split, index), item(split, index + n));
        let [chosen, rejected] =
            [&right.answer, &wrong.answer].map(|answer| demonstration(&right.prompt, answer));
        Pair { chosen, rejected }
    };
    (0..n).map(pair).collect()
}

fn prompts(n: usize) -> Vec<Prompt> {
    (0..n).map(|index| Prompt { ids: ids(&item(Split::Train, index as u64).prompt), index }).collect()
}

/// A reward that a model before training can already raise: the share of letters in the first half of the alphabet.
fn early_letters() -> Verifier {
    let share = |answer: &Answer| {
        let early = answer.ids.iter().filter(|&&id| id < 13).count();
        Verdict { reward: early as f32 / answer.ids.len() as f32, correct: false }
    };
    Box::new(move |answers| Ok(answers.iter().map(share).collect()))
}
