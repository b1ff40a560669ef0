//! What a run of PPO depends on.

use serde::{Deserialize, Serialize};

use crate::learner::Optimization;
use crate::policy;
use crate::settings::{SettingsError, require};

/// What a run depends on, besides the models, the prompts and who gives the rewards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Steps, rates and rhythm; a batch is one of prompts, each answered once.
    #[serde(flatten)]
    pub optimization: Optimization,
    /// Learning rate of the critic; it falls as that of the policy does.
    pub critic_lr: f32,
    /// What ends an answer.
    pub stop_ids: Vec<u32>,
    /// The most tokens of an answer.
    pub max_tokens: usize,
    /// How answers are drawn.
    pub temperature: f32,
    /// How often the answers of a step are learnt from.
    pub epochs: u64,
    /// Updates of an epoch, each from as many answers.
    pub minibatches: usize,
    /// How far from 1 the ratio may go.
    pub clip: f32,
    /// How far from what it was a value may go.
    pub value_clip: f32,
    /// What a nat of divergence from the reference costs.
    pub beta: f32,
    /// What a reward one token later is worth.
    pub gamma: f32,
    /// How far advantages trust the rewards (1), and how far the critic (0).
    pub lambda: f32,
    /// Whether the tokens' rewards are divided by their standard deviation.
    pub whiten_rewards: bool,
    /// What an answer pays that did not end by itself.
    pub missing_end_penalty: f32,
    /// How much the loss on pre-training text counts: the γ of the paper's equation 2.
    pub pretraining_weight: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            optimization: Optimization { batch_size: 64, lr: 1e-4, min_lr: 1e-5, ..Optimization::default() },
            critic_lr: 3e-4,
            stop_ids: Vec::new(),
            max_tokens: 64,
            temperature: 1.0,
            epochs: 4,
            minibatches: 1,
            clip: 0.2,
            value_clip: 0.2,
            beta: 0.05,
            gamma: 1.0,
            lambda: 0.95,
            whiten_rewards: false,
            missing_end_penalty: 1.0,
            pretraining_weight: 0.0,
        }
    }
}

impl Settings {
    /// Requires that every number can be meant.
    ///
    /// # Errors
    /// The first setting that is out of range, with what it may be.
    pub fn validate(&self) -> Result<(), SettingsError> {
        self.optimization.validate()?;
        policy::check_drawing(self.temperature, self.max_tokens, self.epochs)?;
        let rate = self.critic_lr > 0.0 && self.critic_lr <= 1e30;
        require("critic_lr", self.critic_lr, rate, "a number above 0, at most 1e30")?;
        let parts = (1..=32).contains(&self.minibatches);
        let parts = parts && self.optimization.batch_size.is_multiple_of(self.minibatches);
        require("minibatches", self.minibatches, parts, "1 to 32, and a divisor of batch_size")?;
        require("clip", self.clip, self.clip > 0.0 && self.clip < 1.0, "a number above 0 and below 1")?;
        let held = self.value_clip > 0.0 && self.value_clip.is_finite();
        require("value_clip", self.value_clip, held, "a finite number above 0")?;
        for (name, x) in [("gamma", self.gamma), ("lambda", self.lambda)] {
            require(name, x, (0.0..=1.0).contains(&x), "0 to 1")?;
        }
        policy::check_size("beta", self.beta)?;
        policy::check_size("missing_end_penalty", self.missing_end_penalty)?;
        policy::check_size("pretraining_weight", self.pretraining_weight)
    }

    /// The optimization of the critic.
    pub(super) fn critic(&self) -> Optimization {
        let o = &self.optimization;
        Optimization { lr: self.critic_lr, min_lr: self.critic_lr * (o.min_lr / o.lr), ..o.clone() }
    }
}
