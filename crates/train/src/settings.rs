//! Every number that a pre-training run depends on.

use cloche_models::config::{ConfigError, ModelConfig, Preset};
use cloche_nn::schedule::Schedule;
use cloche_nn::{Found, optim};
use serde::{Deserialize, Serialize};

/// What a run depends on, besides its data. A checkpoint carries it, so that resuming needs nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The model.
    pub model: ModelConfig,
    /// Rows of a micro-batch, `B`. Each has `model.context_len` tokens.
    pub batch_size: usize,
    /// Micro-batches whose gradients make one step.
    pub grad_accumulation: usize,
    /// Bytes that the run may take; `None` for whatever there is. What does not fit otherwise computes activations again
    /// instead of keeping them, which takes longer and changes nothing else, as long as they are f32. A checkpoint does not carry it: who goes on with a
    /// run may have another machine.
    #[serde(skip)]
    pub memory_budget: Option<u64>,
    /// How what the backward pass reads of the forward pass is kept. A checkpoint that does not say was made in f32.
    #[serde(default)]
    pub activations: Activations,
    /// Steps in all.
    pub steps: u64,
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
    /// Steps between evaluations; 0 for none but the last.
    pub eval_every: u64,
    /// Batches of each split that an evaluation takes.
    pub eval_batches: usize,
    /// Steps after which the model speaks.
    pub sample_at: Vec<u64>,
    /// Tokens of a sample.
    pub sample_len: usize,
    /// Temperature of samples.
    pub sample_temperature: f32,
    /// What samples begin with: the end-of-text token, or a line break.
    pub sample_prompt: Vec<u32>,
    /// The token that ends a text, where the vocabulary has one.
    pub eot: Option<u32>,
    /// Steps between checkpoints; 0 for none but the last.
    pub checkpoint_every: u64,
    /// Weights, batches, dropout and samples follow from it.
    pub seed: u64,
}

/// How activations are kept from the forward pass to the backward pass. Whatever is computed, the weights and their gradients
/// are in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activations {
    /// As they were computed.
    #[default]
    F32,
    /// Rounded to half precision, in half the memory. Gradients are never rounded to it, so no loss needs to be scaled. Another
    /// number of blocks that are computed again gives other bits, since those blocks begin from rounded numbers.
    F16,
}

impl Activations {
    /// What [`named`](Self::named) knows.
    pub const NAMES: &str = "\"f32\" or \"f16\"";

    /// The choice of this name.
    pub fn named(name: &str) -> Option<Activations> {
        match name {
            "f32" => Some(Activations::F32),
            "f16" => Some(Activations::F16),
            _ => None,
        }
    }
}

/// The most rows of a batch, and the most batches of a step: far above any use, far below an overflow.
const MAX_ROWS: usize = 1 << 20;

/// A setting with which no run can begin.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A number out of its range.
    #[error("{name}: found {found}, expected {expected}")]
    Value {
        /// The setting's name.
        name: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A model that cannot be.
    #[error(transparent)]
    Model(#[from] ConfigError),
}

impl Settings {
    /// A preset's settings, for a vocabulary of `vocab_size` tokens.
    pub fn from_preset(preset: &Preset, vocab_size: usize) -> Settings {
        let training = &preset.training;
        let steps = training.steps as u64;
        Settings {
            model: ModelConfig { vocab_size, ..preset.model },
            batch_size: training.batch_size,
            grad_accumulation: 1,
            memory_budget: None,
            activations: Activations::F32,
            steps,
            lr: training.lr,
            min_lr: training.min_lr,
            warmup_steps: training.warmup_steps as u64,
            beta1: training.beta1,
            beta2: training.beta2,
            eps: 1e-8,
            weight_decay: training.weight_decay,
            max_grad_norm: training.max_grad_norm,
            eval_every: 250,
            eval_batches: 20,
            sample_at: vec![],
            sample_len: 200,
            sample_temperature: 0.8,
            sample_prompt: vec![0],
            eot: None,
            checkpoint_every: 500,
            seed: 1337,
        }
    }

    /// Requires that every number can be meant.
    ///
    /// A learning rate that is far too high is allowed: the run then reports what comes of it.
    ///
    /// # Errors
    /// The first setting that is out of range, with what it may be.
    pub fn validate(&self) -> Result<(), SettingsError> {
        self.model.validate()?;
        let positive = |x: f32| x > 0.0 && x.is_finite();
        let share = |x: f32| (0.0..1.0).contains(&x);
        let rows = 1..=MAX_ROWS;
        require("batch_size", self.batch_size, rows.contains(&self.batch_size), "1 to 1048576")?;
        require(
            "grad_accumulation",
            self.grad_accumulation,
            rows.contains(&self.grad_accumulation),
            "1 to 1048576",
        )?;
        // Steps are counted in 32 bits on the device.
        require("steps", self.steps, (1..=u32::MAX as u64).contains(&self.steps), "1 to 4294967295")?;
        require("lr", self.lr, positive(self.lr) && self.lr <= 1e30, "a number above 0, at most 1e30")?;
        let below = (0.0..=self.lr).contains(&self.min_lr);
        require("min_lr", self.min_lr, below, "a number between 0 and lr")?;
        require("beta1", self.beta1, share(self.beta1), "at least 0 and below 1")?;
        require("beta2", self.beta2, share(self.beta2), "at least 0 and below 1")?;
        require("eps", self.eps, positive(self.eps), "a finite number above 0")?;
        let decay = self.weight_decay >= 0.0 && self.weight_decay.is_finite();
        require("weight_decay", self.weight_decay, decay, "a finite number, 0 for none")?;
        require(
            "max_grad_norm",
            self.max_grad_norm,
            positive(self.max_grad_norm),
            "a finite number above 0",
        )?;
        require("dropout", self.model.dropout, share(self.model.dropout), "at least 0 and below 1")?;
        let temperature = self.sample_temperature >= 0.0 && self.sample_temperature.is_finite();
        require(
            "sample_temperature",
            self.sample_temperature,
            temperature,
            "a finite number, 0 for the likeliest",
        )?;
        let known = self.sample_prompt.iter().all(|&id| (id as usize) < self.model.vocab_size);
        let prompt =
            known && !self.sample_prompt.is_empty() && self.sample_prompt.len() < self.model.context_len;
        require(
            "eot",
            format!("{:?}", self.eot),
            self.eot.is_none_or(|id| (id as usize) < self.model.vocab_size),
            "an id of the vocabulary",
        )?;
        require(
            "sample_prompt",
            format!("{:?}", self.sample_prompt),
            prompt,
            "ids of the vocabulary, fewer than the context",
        )
    }

    /// The learning rate of a step; the first one is step 1.
    pub fn lr_at(&self, step: u64) -> f32 {
        let schedule = Schedule {
            lr: self.lr,
            min_lr: self.min_lr,
            warmup_steps: self.warmup_steps as usize,
            steps: self.steps as usize,
        };
        schedule.at(step as usize - 1)
    }

    /// What the optimizer needs.
    pub fn optimizer(&self) -> optim::Settings {
        optim::Settings {
            beta1: self.beta1,
            beta2: self.beta2,
            eps: self.eps,
            weight_decay: self.weight_decay,
            decay_embeddings: true,
            max_grad_norm: self.max_grad_norm,
        }
    }

    /// The seed as programs get it.
    pub(crate) fn seed_u32(&self) -> u32 {
        (self.seed ^ self.seed >> 32) as u32
    }

    /// Tokens that a step learns from.
    pub fn tokens_per_step(&self) -> usize {
        self.batch_size * self.model.context_len * self.grad_accumulation
    }
}

pub(crate) fn require(
    name: &'static str,
    found: impl Found,
    holds: bool,
    expected: &'static str,
) -> Result<(), SettingsError> {
    if holds { Ok(()) } else { Err(SettingsError::Value { name, found: found.shown(), expected }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloche_models::config::preset;

    #[test]
    fn numbers_out_of_range_are_named() {
        let good = Settings::from_preset(preset("tiny").unwrap(), 65);
        good.validate().unwrap();
        let refused = |change: fn(&mut Settings)| {
            let mut settings = good.clone();
            change(&mut settings);
            settings.validate().unwrap_err().to_string()
        };
        assert_eq!(refused(|s| s.lr = 0.0), "lr: found 0, expected a number above 0, at most 1e30");
        assert_eq!(refused(|s| s.lr = -1e-3), "lr: found -0.001, expected a number above 0, at most 1e30");
        assert_eq!(refused(|s| s.lr = f32::NAN), "lr: found NaN, expected a number above 0, at most 1e30");
        assert_eq!(refused(|s| s.beta2 = 1.0), "beta2: found 1, expected at least 0 and below 1");
        assert_eq!(refused(|s| s.batch_size = 0), "batch_size: found 0, expected 1 to 1048576");
        assert!(refused(|s| s.model.n_head = 3).contains("n_head"));
        let mut hot = good.clone();
        hot.lr = 1e9;
        hot.validate().unwrap();
    }
}
