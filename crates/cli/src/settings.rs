//! The hyper-parameters of a run: a preset's, and what the command line says instead.

use anyhow::{Result, bail};
use clap::Args;
use cloche_models::config::{Arch, ModelConfig, Preset};
use cloche_train::settings::{Activations, Settings};
use serde::Serialize;
use serde_json::Value;

/// Each hyper-parameter. What is left out is the preset's; when a run is resumed, the run's.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Hyper-parameters (defaults are the preset's)")]
pub struct HyperParameters {
    /// Rows of a micro-batch.
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Tokens that the model sees at once.
    #[arg(long, value_name = "N")]
    context_len: Option<usize>,
    /// Micro-batches whose gradients make one step.
    #[arg(long, value_name = "N")]
    grad_accumulation: Option<usize>,
    /// Bytes that the run may take, such as 2GB or 800MB: where it needs more, it computes activations again instead of keeping
    /// them, which takes longer and, in f32, changes nothing else [default: whatever there is].
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    memory_budget: Option<u64>,
    /// How activations are kept for the backward pass: f32, or f16 in half the memory, which rounds what gradients are computed
    /// from to 11 bits [default: f32].
    #[arg(long, value_name = "f32|f16", value_parser = activations)]
    activations: Option<Activations>,
    /// Learning rate after the warm-up.
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    lr: Option<f32>,
    /// Learning rate at the end of the cosine [default: a tenth of --lr].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    min_lr: Option<f32>,
    /// Steps of the linear warm-up [default: the preset's, at most a tenth of all steps].
    #[arg(long, value_name = "N")]
    warmup_steps: Option<u64>,
    /// AdamW's memory of the gradient.
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    beta1: Option<f32>,
    /// AdamW's memory of the squared gradient.
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    beta2: Option<f32>,
    /// What AdamW adds to the root of the second moment.
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    eps: Option<f32>,
    /// AdamW's decay of matrices and embeddings.
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    weight_decay: Option<f32>,
    /// Gradients are shortened to this norm.
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    max_grad_norm: Option<f32>,
    /// The share of activations dropped in training.
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    dropout: Option<f32>,
    /// Layers.
    #[arg(long, value_name = "N")]
    n_layer: Option<usize>,
    /// Query heads.
    #[arg(long, value_name = "N")]
    n_head: Option<usize>,
    /// Key/value heads; they divide the query heads (Llama).
    #[arg(long, value_name = "N")]
    n_kv_head: Option<usize>,
    /// Width of the model.
    #[arg(long, value_name = "N")]
    d_model: Option<usize>,
    /// Width of the feed-forward network.
    #[arg(long, value_name = "N")]
    d_ff: Option<usize>,
    /// Whether the output matrix is the embedding.
    #[arg(long, value_name = "BOOL")]
    tied: Option<bool>,
    /// Whether linear layers and norms have biases (GPT-2).
    #[arg(long, value_name = "BOOL")]
    bias: Option<bool>,
}

impl HyperParameters {
    /// The settings of a new run.
    pub fn of_preset(&self, preset: &Preset, vocab_size: usize, steps: Option<u64>) -> Settings {
        let mut settings = Settings::from_preset(preset, vocab_size);
        settings.steps = steps.unwrap_or(settings.steps);
        settings.warmup_steps = settings.warmup_steps.min(settings.steps / 10);
        self.apply(&mut settings);
        settings
    }

    /// Puts what was given in place of what was there.
    pub fn apply(&self, settings: &mut Settings) {
        fn set<T: Copy>(place: &mut T, given: Option<T>) {
            if let Some(value) = given {
                *place = value;
            }
        }
        set(&mut settings.batch_size, self.batch_size);
        set(&mut settings.grad_accumulation, self.grad_accumulation);
        settings.memory_budget = self.memory_budget.or(settings.memory_budget);
        set(&mut settings.activations, self.activations);
        if let Some(lr) = self.lr.filter(|lr| *lr != settings.lr) {
            (settings.lr, settings.min_lr) = (lr, tenth(lr));
        }
        set(&mut settings.min_lr, self.min_lr);
        set(&mut settings.warmup_steps, self.warmup_steps);
        set(&mut settings.beta1, self.beta1);
        set(&mut settings.beta2, self.beta2);
        set(&mut settings.eps, self.eps);
        set(&mut settings.weight_decay, self.weight_decay);
        set(&mut settings.max_grad_norm, self.max_grad_norm);
        self.apply_model(&mut settings.model);
    }

    /// Sizes that follow from others follow them, unless they are given too.
    fn apply_model(&self, model: &mut ModelConfig) {
        let before = *model;
        model.context_len = self.context_len.unwrap_or(model.context_len);
        model.dropout = self.dropout.unwrap_or(model.dropout);
        model.n_layer = self.n_layer.unwrap_or(model.n_layer);
        model.tied = self.tied.unwrap_or(model.tied);
        model.bias = self.bias.unwrap_or(model.bias);
        model.n_head = self.n_head.unwrap_or(model.n_head);
        model.d_model = self.d_model.unwrap_or(model.d_model);
        if (model.n_head, model.d_model) != (before.n_head, before.d_model) {
            model.n_kv_head = model.n_head;
            model.d_head = model.d_model / model.n_head.max(1);
        }
        if model.d_model != before.d_model {
            model.d_ff = match model.arch {
                Arch::Gpt2 => model.d_model.saturating_mul(4),
                // SwiGLU has three matrices for GPT-2's two.
                Arch::Llama => model.d_model.saturating_mul(8).div_ceil(3).next_multiple_of(32),
            };
        }
        model.n_kv_head = self.n_kv_head.unwrap_or(model.n_kv_head);
        model.d_ff = self.d_ff.unwrap_or(model.d_ff);
    }
}

/// A number of bytes as a person would write it: `2GB`, `1.5 GiB`, `800000000`.
///
/// # Errors
/// Anything else, with what it may be.
fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 8] = [
        ("kib", 1024.0),
        ("mib", 1048576.0),
        ("gib", 1073741824.0),
        ("kb", 1e3),
        ("mb", 1e6),
        ("gb", 1e9),
        ("tb", 1e12),
        ("b", 1.0),
    ];
    let lower = text.to_ascii_lowercase();
    let unit = UNITS.iter().find(|(name, _)| lower.ends_with(name));
    let (number, scale) =
        unit.map_or((&lower[..], 1.0), |(name, scale)| (&lower[..lower.len() - name.len()], *scale));
    match number.trim().parse::<f64>() {
        Ok(number) if number >= 0.0 && number.is_finite() => Ok((number * scale) as u64),
        _ => Err("expected bytes, such as 2GB, 1.5GiB or 800000000".into()),
    }
}

fn activations(name: &str) -> Result<Activations, String> {
    Activations::named(name).ok_or_else(|| format!("expected {}", Activations::NAMES))
}

/// A tenth, as a person would write it: in binary, 0.01 / 10 is not quite 0.001.
pub fn tenth(x: f32) -> f32 {
    format!("{x}e-1").parse().unwrap_or(x)
}

/// What may change when a run is resumed: how long it lasts, and how often it looks, speaks and saves.
const FREE: [&str; 7] = [
    "steps",
    "eval_every",
    "eval_batches",
    "sample_at",
    "sample_len",
    "sample_temperature",
    "checkpoint_every",
];

/// Requires that a resumed run is still the same run.
///
/// # Errors
/// Every setting that differs, with both values.
pub fn require_same<T: Serialize>(run: &T, asked: &T) -> Result<()> {
    let object = |settings: &T| serde_json::to_value(settings).expect("settings are numbers and names");
    let mut differences = Vec::new();
    compare("", &object(run), &object(asked), &mut differences);
    match differences.is_empty() {
        true => Ok(()),
        false => bail!("the run to resume has other settings: {}", differences.join("; ")),
    }
}

fn compare(name: &str, run: &Value, asked: &Value, differences: &mut Vec<String>) {
    match (run, asked) {
        (Value::Object(run), Value::Object(asked)) => {
            for (key, value) in run.iter().filter(|(key, _)| !FREE.contains(&key.as_str())) {
                compare(key, value, asked.get(key).unwrap_or(&Value::Null), differences);
            }
        }
        (run, asked) if run != asked => {
            differences.push(format!("{name} is {}, not {}", shown(run), shown(asked)))
        }
        _ => {}
    }
}

/// A value as a person would write it: an f32 widened to f64 has digits that nobody gave.
fn shown(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if value.is_f64() => (number as f32).to_string(),
        _ => value.to_string(),
    }
}

/// When a learner speaks: early and often, then at every doubling, and at the end.
pub fn default_samples(steps: u64) -> Vec<u64> {
    let doubling = std::iter::successors(Some(250u64), |step| step.checked_mul(2));
    let mut at: Vec<u64> = std::iter::once(0).chain(doubling.take_while(|&step| step < steps)).collect();
    at.push(steps);
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloche_models::config::preset;

    #[test]
    fn sizes_follow_each_other() {
        let settings = |given: HyperParameters, name| given.of_preset(preset(name).unwrap(), 65, Some(50));
        let wide = settings(HyperParameters { d_model: Some(256), ..Default::default() }, "nano");
        assert_eq!((wide.model.d_head, wide.model.d_ff, wide.warmup_steps), (64, 1024, 5));
        wide.validate().unwrap();
        let llama = settings(HyperParameters { n_head: Some(12), ..Default::default() }, "llama-mini");
        assert_eq!((llama.model.d_head, llama.model.n_kv_head, llama.model.d_ff), (32, 12, 1024));
        let odd = settings(HyperParameters { n_head: Some(3), ..Default::default() }, "nano");
        let error = odd.validate().unwrap_err().to_string();
        assert_eq!(error, "n_head: found 3, expected a number that divides d_model (128)");
        let slow = settings(HyperParameters { lr: Some(1e-2), ..Default::default() }, "nano");
        assert_eq!((slow.lr, slow.min_lr), (1e-2, 1e-3));
    }

    #[test]
    fn bytes_are_read_as_people_write_them() {
        let read = ["2GB", "1.5 GiB", "800000000", "64kb", "3MiB", "7B", "1e9"].map(bytes);
        let expected =
            [2_000_000_000, 1_610_612_736, 800_000_000, 64_000, 3_145_728, 7, 1_000_000_000].map(Ok);
        assert_eq!(read, expected);
        for bad in ["", "GB", "-1GB", "2 gigs", "infGB"] {
            let expected = "expected bytes, such as 2GB, 1.5GiB or 800000000";
            assert_eq!(bytes(bad), Err(expected.into()), "{bad}");
        }
    }

    #[test]
    fn what_differs_is_named() {
        let run = Settings::from_preset(preset("nano").unwrap(), 65);
        let mut asked = run.clone();
        asked.steps += 1000;
        asked.eval_every = 1;
        asked.memory_budget = Some(1 << 30);
        require_same(&run, &asked).unwrap();
        asked.seed = 7;
        asked.model.n_layer = 2;
        let error = require_same(&run, &asked).unwrap_err().to_string();
        assert_eq!(error, "the run to resume has other settings: n_layer is 4, not 2; seed is 1337, not 7");
    }

    #[test]
    fn a_learner_speaks_at_the_start_and_at_the_end() {
        assert_eq!(default_samples(2000), [0, 250, 500, 1000, 2000]);
        assert_eq!(default_samples(100), [0, 100]);
    }
}
