//! How the next token is chosen, as a command line says it.

use anyhow::{Result, bail};
use clap::Args;
use cloche_models::Sampling;
use cloche_models::config::GenerationConfig;

/// The options of sampling.
#[derive(Args)]
pub struct SamplingArgs {
    /// Logits are divided by it; 0 takes the likeliest token [default: the folder's, else 1].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    pub temperature: Option<f32>,
    /// Only the N likeliest tokens; 0 for all [default: the folder's, else 0].
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// Only the likeliest tokens that together reach this probability [default: the folder's, else 1].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Only tokens with this share of the likeliest one's probability [default: the folder's, else 0].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    min_p: Option<f32>,
    /// What the logits of tokens that have occurred are divided by [default: the folder's, else 1].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    repetition_penalty: Option<f32>,
    /// The same seed gives the same text.
    #[arg(long, value_name = "N", default_value_t = 1337)]
    pub seed: u64,
}

impl SamplingArgs {
    /// What the command line says, else the folder, else the plain probabilities.
    ///
    /// # Errors
    /// A number out of range.
    pub fn over(&self, folder: &GenerationConfig) -> Result<Sampling> {
        let plain = Sampling::default();
        let temperature = if folder.do_sample == Some(false) { Some(0.0) } else { folder.temperature };
        let sampling = Sampling {
            temperature: self.temperature.or(temperature).unwrap_or(plain.temperature),
            top_k: self.top_k.or(folder.top_k).unwrap_or(plain.top_k),
            top_p: self.top_p.or(folder.top_p).unwrap_or(plain.top_p),
            min_p: self.min_p.or(folder.min_p).unwrap_or(plain.min_p),
            repetition_penalty: self
                .repetition_penalty
                .or(folder.repetition_penalty)
                .unwrap_or(plain.repetition_penalty),
            seed: self.seed,
        };
        let share = 0.0..=1.0;
        let checks = [
            (
                "temperature",
                sampling.temperature,
                sampling.temperature >= 0.0,
                "a finite number, 0 for the likeliest",
            ),
            (
                "top_p",
                sampling.top_p,
                sampling.top_p > 0.0 && share.contains(&sampling.top_p),
                "above 0, at most 1",
            ),
            ("min_p", sampling.min_p, share.contains(&sampling.min_p), "0 to 1"),
            ("repetition_penalty", sampling.repetition_penalty, sampling.repetition_penalty > 0.0, "above 0"),
        ];
        for (name, found, holds, expected) in checks {
            if !holds || !found.is_finite() {
                bail!("{name}: found {found}, expected {expected}");
            }
        }
        Ok(sampling)
    }
}
