//! What learns: a network, the moments of its optimizer, and programs that update it. All stages after pre-training share
//! it: each records its own loss, and the rest of a step is the same.

use cloche_models::Network;
use cloche_models::config::ModelConfig;
use cloche_nn::checkpoint::Extras;
use cloche_nn::optim::{self, Moments};
use cloche_nn::schedule::Schedule;
use cloche_nn::{Params, Weights};
use cloche_tensor::{Data, Device, Graph, LOG_RUNS, Program, State, Tensor};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Parts;
use crate::error::Error;
use crate::events::Metrics;
use crate::settings::{SettingsError, require};

/// How a stage optimizes, and its rhythm. Part of each stage's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Optimization {
    /// Steps in all.
    pub steps: u64,
    /// Examples (pairs, prompts) of a step, `B`.
    pub batch_size: usize,
    /// Learning rate after the warm-up.
    pub lr: f32,
    /// Learning rate at the end of the cosine.
    pub min_lr: f32,
    /// Steps of the linear warm-up.
    pub warmup_steps: u64,
    /// AdamW: memory of the gradient.
    pub beta1: f32,
    /// AdamW: memory of the squared gradient.
    pub beta2: f32,
    /// AdamW: added to the root of the second moment.
    pub eps: f32,
    /// AdamW: decay of matrices.
    pub weight_decay: f32,
    /// Gradients are shortened to this norm.
    pub max_grad_norm: f32,
    /// Steps between evaluations; 0 for none but the first and the last.
    pub eval_every: u64,
    /// Steps between checkpoints; 0 for none but the last.
    pub checkpoint_every: u64,
    /// The order of the examples, dropout and samples follow from it.
    pub seed: u64,
}

impl Default for Optimization {
    /// A short run of a small model.
    fn default() -> Self {
        Optimization {
            steps: 500,
            batch_size: 16,
            lr: 3e-4,
            min_lr: 3e-5,
            warmup_steps: 20,
            beta1: 0.9,
            beta2: 0.99,
            eps: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            eval_every: 100,
            checkpoint_every: 500,
            seed: 1337,
        }
    }
}

impl Optimization {
    /// A learning rate that falls to `min_lr`.
    pub(crate) fn at_rate(lr: f32, min_lr: f32) -> Optimization {
        Optimization { lr, min_lr, ..Optimization::default() }
    }

    /// Requires that every number can be meant.
    ///
    /// # Errors
    /// The first setting that is out of range, with what it may be.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let positive = |x: f32| x > 0.0 && x.is_finite();
        let share = |x: f32| (0.0..1.0).contains(&x);
        let rows = (1..=4096).contains(&self.batch_size);
        require("steps", self.steps, (1..=1 << 24).contains(&self.steps), "1 to 16777216")?;
        require("batch_size", self.batch_size, rows, "1 to 4096")?;
        require("lr", self.lr, positive(self.lr) && self.lr <= 1e30, "a number above 0, at most 1e30")?;
        let below = (0.0..=self.lr).contains(&self.min_lr);
        require("min_lr", self.min_lr, below, "a number between 0 and lr")?;
        require("beta1", self.beta1, share(self.beta1), "at least 0 and below 1")?;
        require("beta2", self.beta2, share(self.beta2), "at least 0 and below 1")?;
        require("eps", self.eps, positive(self.eps), "a finite number above 0")?;
        let decay = self.weight_decay >= 0.0 && self.weight_decay.is_finite();
        require("weight_decay", self.weight_decay, decay, "a finite number, 0 for none")?;
        require("max_grad_norm", self.max_grad_norm, positive(self.max_grad_norm), "a finite number above 0")
    }

    /// The learning rate of a step; the first one is step 1.
    pub fn lr_at(&self, step: u64) -> f32 {
        let (warmup_steps, steps) = (self.warmup_steps as usize, self.steps as usize);
        Schedule { lr: self.lr, min_lr: self.min_lr, warmup_steps, steps }.at(step as usize - 1)
    }

    fn optimizer(&self) -> optim::Settings {
        optim::Settings {
            beta1: self.beta1,
            beta2: self.beta2,
            eps: self.eps,
            weight_decay: self.weight_decay,
            decay_embeddings: false,
            max_grad_norm: self.max_grad_norm,
        }
    }

    /// The seed as programs get it.
    pub(crate) fn seed_u32(&self) -> u32 {
        (self.seed ^ self.seed >> 32) as u32
    }
}

/// A network that learns: all of it, or its adapter where it has one.
pub(crate) struct Learner {
    pub network: Network,
    pub moments: Moments,
}

/// Requires that a model that only says what it thinks, a reference or a teacher, reads the same tokens as one that learns.
pub(crate) fn expect_alike(
    name: &'static str,
    other: &Network,
    config: &ModelConfig,
) -> Result<(), SettingsError> {
    let (vocab_size, context_len) = (other.config.vocab_size, other.config.context_len);
    let found = format!("a vocabulary of {vocab_size}, a context of {context_len}");
    let alike = vocab_size == config.vocab_size && context_len >= config.context_len;
    require(name, found, alike, "the model's vocabulary, and at least its context")
}

/// What a stage records: the loss, and numbers to tell, each of shape `()`.
pub(crate) struct Recorded {
    pub loss: Tensor,
    pub metrics: Vec<(&'static str, Tensor)>,
}

/// A program that computes a loss on inputs, its gradient, and the next weights.
pub(crate) struct Update {
    pub program: Program,
    metrics: Vec<&'static str>,
}

/// As [`Update`], for steps of several micro-batches: one program adds their gradients up, another one updates.
///
/// Losses and metrics of a micro-batch are its share of the step's, so that they add up as well.
pub(crate) struct Accumulation {
    pub program: Program,
    apply: Program,
    metrics: Vec<&'static str>,
    /// Runs that have not been read.
    runs: usize,
    /// Loss and metrics of those that have been.
    sums: Vec<f32>,
}

/// What an update came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub loss: f32,
    pub grad_norm: f32,
    /// Otherwise nothing was changed.
    pub finite: bool,
    pub metrics: Metrics,
}

impl Learner {
    /// Prepares a network to learn; its weights are those it has, or those of `part` of a checkpoint.
    pub fn new(
        device: &Device,
        mut network: Network,
        saved: Option<(&mut Parts, &str)>,
    ) -> Result<Learner, Error> {
        let moments = Moments::new(device, network.trained().specs())?;
        if let Some((saved, part)) = saved {
            let specs = network.trained().specs().to_vec();
            let extras = if network.adapter.is_some() { Extras::default() } else { network.config.extras() };
            let weights = saved.restore(device, part, (&specs, &extras), &moments)?;
            match &mut network.adapter {
                Some(adapter) => adapter.weights = weights,
                None => network.weights = weights,
            }
        }
        Ok(Learner { network, moments })
    }

    /// The weights that change.
    pub fn weights(&self) -> &Weights {
        self.network.trained()
    }

    /// Compiles an update: what `record` makes of the parameters, backward, clip, AdamW.
    pub fn update(
        &self,
        device: &Device,
        settings: &Optimization,
        record: impl FnOnce(&Graph, &Params) -> Recorded,
    ) -> Result<Update, Error> {
        self.update_beside(device, settings, &[], record)
    }

    /// As [`update`](Self::update), where the loss also reads `frozen` states, such as a teacher's weights.
    pub fn update_beside(
        &self,
        device: &Device,
        settings: &Optimization,
        frozen: &[(&str, &State)],
        record: impl FnOnce(&Graph, &Params) -> Recorded,
    ) -> Result<Update, Error> {
        let graph = Graph::new();
        let p = self.network.params(&graph);
        let Recorded { loss, metrics } = record(&graph, &p);
        let stats = optim::step(&p, &loss, &settings.optimizer());
        let mut outputs = vec![("loss", &loss), ("stats", &stats)];
        outputs.extend(metrics.iter().map(|(name, y)| (*name, y)));
        let mut states = self.network.states();
        states.extend(self.moments.states());
        states.extend(frozen);
        let program = device.compile(&graph, &outputs, &states)?;
        Ok(Update { program, metrics: metrics.iter().map(|(name, _)| *name).collect() })
    }

    /// Compiles an update in two: what `record` makes of the parameters and backward; clip and AdamW.
    pub fn accumulation(
        &self,
        device: &Device,
        settings: &Optimization,
        record: impl FnOnce(&Graph, &Params) -> Recorded,
    ) -> Result<Accumulation, Error> {
        let grads = optim::zero_grads(device, self.weights().specs())?;
        let mut states = self.network.states();
        states.extend(self.moments.states());
        states.push(("grads", &grads));
        let graph = Graph::new();
        let p = self.network.params(&graph);
        let Recorded { loss, metrics } = record(&graph, &p);
        optim::accumulate(&p, &loss);
        let mut outputs = vec![("loss", &loss)];
        outputs.extend(metrics.iter().map(|(name, y)| (*name, y)));
        let program = device.compile(&graph, &outputs, &states)?;
        let graph = Graph::new();
        let stats = optim::apply(&graph, &p, &settings.optimizer());
        let apply = device.compile(&graph, &[("stats", &stats)], &states)?;
        let metrics = metrics.iter().map(|(name, _)| *name).collect();
        Ok(Accumulation { program, apply, metrics, runs: 0, sums: Vec::new() })
    }
}

impl Update {
    /// Runs update number `number`, counted from 1, on the inputs that were written, with the learning rate of `step`.
    pub async fn run(&mut self, settings: &Optimization, number: u64, step: u64) {
        self.program.set_u32("seed", settings.seed_u32());
        settings.optimizer().set(&mut self.program, number as u32, settings.lr_at(step));
        self.program.run();
        self.program.throttle().await;
    }

    /// What the runs since the last call came to, oldest first.
    pub async fn outcomes(&mut self) -> Result<Vec<Outcome>, Error> {
        let rows = self.program.drain().await?;
        Ok(rows.iter().map(|row| self.outcome(row)).collect())
    }

    fn outcome(&self, row: &[Data]) -> Outcome {
        let number = |i: usize| row[i].f32()[0];
        let stats = row[1].f32();
        let metrics = (2..).zip(&self.metrics).map(|(i, name)| (*name, number(i))).collect();
        Outcome { loss: number(0), grad_norm: stats[0], finite: stats[2] == 0.0, metrics: Metrics(metrics) }
    }
}

impl Accumulation {
    /// Adds the gradient of the inputs that were written.
    pub async fn add(&mut self) -> Result<(), Error> {
        self.program.run();
        self.program.throttle().await;
        self.runs += 1;
        // The log holds a limited number of runs.
        if self.runs == LOG_RUNS { self.read().await } else { Ok(()) }
    }

    /// Update number `number`, counted from 1, with the learning rate of `step`: what its micro-batches came to.
    pub async fn apply(&mut self, settings: &Optimization, number: u64, step: u64) -> Result<Outcome, Error> {
        settings.optimizer().set(&mut self.apply, number as u32, settings.lr_at(step));
        self.apply.run();
        self.read().await?;
        let row = self.apply.drain().await?.remove(0);
        let stats = row[0].f32();
        let sums = std::mem::take(&mut self.sums);
        let metrics = Metrics(self.metrics.iter().copied().zip(sums[1..].iter().copied()).collect());
        Ok(Outcome { loss: sums[0], grad_norm: stats[0], finite: stats[2] == 0.0, metrics })
    }

    async fn read(&mut self) -> Result<(), Error> {
        for row in self.program.drain().await? {
            self.sums.resize(row.len(), 0.0);
            self.sums.iter_mut().zip(&row).for_each(|(sum, x)| *sum += x.f32()[0]);
        }
        self.runs = 0;
        Ok(())
    }
}

impl Outcome {
    /// Means over the updates of one step; finite where all were.
    ///
    /// # Panics
    /// Where there are none.
    pub fn mean(outcomes: &[Outcome]) -> Outcome {
        let n = outcomes.len() as f32;
        let mut mean = outcomes[0].clone();
        for other in &outcomes[1..] {
            mean.loss += other.loss;
            mean.grad_norm = mean.grad_norm.max(other.grad_norm);
            mean.finite &= other.finite;
            mean.metrics.0.iter_mut().zip(&other.metrics.0).for_each(|(sum, (_, x))| sum.1 += x);
        }
        mean.loss /= n;
        mean.metrics.0.iter_mut().for_each(|(_, sum)| *sum /= n);
        mean
    }
}
