//! Continuing a prompt, pulled a few tokens at a time.

use crate::{error, thrown};
use cloche_models::{GenerateSettings, Network, Sampling, Token};
use cloche_tensor::Device;
use serde::Deserialize;
use std::cell::RefCell;
use wasm_bindgen::prelude::*;

/// What JavaScript may say about sampling. The defaults are those of a page: a little safer than the plain
/// probabilities, and not endless.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    max_tokens: usize,
    temperature: f32,
    top_k: usize,
    top_p: f32,
    min_p: f32,
    repetition_penalty: f32,
    seed: f64,
    /// Each of these ends the text; the first one is also where a text begins.
    stop_ids: Vec<u32>,
}

impl Default for Options {
    fn default() -> Self {
        let Sampling { top_k, top_p, min_p, repetition_penalty, seed, .. } = Sampling::default();
        let (max_tokens, temperature) = (200, 0.8);
        Self {
            max_tokens,
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty,
            seed: seed as f64,
            stop_ids: Vec::new(),
        }
    }
}

/// A text that goes on.
#[wasm_bindgen]
pub struct Generator {
    /// Taken out while tokens are awaited.
    generator: RefCell<Option<cloche_models::Generator>>,
}

impl Generator {
    pub(crate) fn start(
        device: &Device,
        network: &Network,
        prompt: Vec<u32>,
        options: JsValue,
    ) -> Result<Generator, JsValue> {
        let refused = |text: String| error("SETTINGS", &text);
        let options: Options = serde_wasm_bindgen::from_value(options).map_err(|e| refused(e.to_string()))?;
        options.validate().map_err(refused)?;
        // Nothing to continue: begin where a text would begin.
        let prompt =
            if prompt.is_empty() { vec![options.stop_ids.first().map_or(0, |id| *id)] } else { prompt };
        let generator = cloche_models::Generator::new(device, network, 1, options.settings());
        let mut generator = generator.map_err(|e| thrown(&e.into()))?;
        generator.start(&[prompt]).map_err(|e| refused(e.to_string()))?;
        Ok(Generator { generator: RefCell::new(Some(generator)) })
    }
}

#[wasm_bindgen]
impl Generator {
    /// The next tokens, each one's id and log-probability in turns; nothing after the last. A token that ends the text is
    /// not among them.
    pub async fn next(&self) -> Result<Option<Vec<f32>>, JsValue> {
        let Some(mut generator) = self.generator.take() else { return Ok(None) };
        let tokens = generator.next().await.map_err(|e| error("DEVICE_LOST", &e.to_string()))?;
        let said = |t: &&Token| !generator.settings.stop_ids.contains(&t.id);
        let pair = |t: &Token| [t.id as f32, t.log_prob];
        let pairs = tokens.map(|tokens| tokens.iter().filter(said).flat_map(pair).collect());
        self.generator.replace(pairs.is_some().then_some(generator));
        Ok(pairs)
    }
}

impl Options {
    fn validate(&self) -> Result<(), String> {
        let share = |x: f32| (0.0..=1.0).contains(&x);
        let require = |name: &str, found: f32, holds: bool, expected: &str| {
            if holds { Ok(()) } else { Err(format!("{name}: found {found}, expected {expected}")) }
        };
        let finite = self.temperature.is_finite() && self.temperature >= 0.0;
        require("temperature", self.temperature, finite, "a finite number, 0 for the likeliest token")?;
        require("top_p", self.top_p, share(self.top_p) && self.top_p > 0.0, "above 0, up to 1")?;
        require("min_p", self.min_p, share(self.min_p), "0 up to 1")?;
        let penalty = self.repetition_penalty;
        require(
            "repetition_penalty",
            penalty,
            penalty.is_finite() && penalty > 0.0,
            "a number above 0, 1 for none",
        )
    }

    fn settings(self) -> GenerateSettings {
        let Self { max_tokens, temperature, top_k, top_p, min_p, repetition_penalty, seed, stop_ids } = self;
        let sampling = Sampling { temperature, top_k, top_p, min_p, repetition_penalty, seed: seed as u64 };
        GenerateSettings { sampling, max_tokens, stop_ids, slide: true }
    }
}
