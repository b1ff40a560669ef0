//! Continuing a prompt, once or several times at once, pulled a few tokens at a time.

use crate::fields::Fields;
use crate::{error, thrown};
use cloche_models::{GenerateSettings, Network, Sampling, Token};
use cloche_nn::Found;
use cloche_tensor::Device;
use std::cell::RefCell;
use wasm_bindgen::prelude::*;

/// The most texts at once: each has a cache of its own.
const MOST: usize = 128;

/// Texts that go on.
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
        let (settings, n) = settings(&options, "n")?;
        let prompt = begun(prompt, &settings);
        let generator = cloche_models::Generator::new(device, network, n, settings);
        let mut generator = generator.map_err(|e| thrown(&e.into()))?;
        generator.start(&[prompt]).map_err(|e| thrown(&e.into()))?;
        Ok(Generator { generator: RefCell::new(Some(generator)) })
    }

    /// Lets a smaller model guess `ahead` tokens at a time, before the first has been drawn.
    #[cfg(feature = "stages")]
    pub(crate) fn guided(self, draft: &Network, ahead: usize) -> Result<Generator, JsValue> {
        let generator = self.generator.into_inner().expect("nothing is awaited yet");
        let generator = generator.with_draft(draft, ahead).map_err(|e| thrown(&e.into()))?;
        Ok(Generator { generator: RefCell::new(Some(generator)) })
    }
}

#[wasm_bindgen]
impl Generator {
    /// The next tokens, of each its id, its log-probability and which of the texts it goes on with, in turns; nothing after the
    /// last. In place of a token that ends its text stands -1.
    pub async fn next(&self) -> Result<Option<Vec<f32>>, JsValue> {
        let Some(mut generator) = self.generator.take() else { return Ok(None) };
        let tokens = generator.next().await.map_err(|e| thrown(&e.into()))?;
        let told = tokens.map(|tokens| told(&tokens, &generator.settings));
        self.generator.replace(told.is_some().then_some(generator));
        Ok(told)
    }
}

/// Tokens as JavaScript hears of them.
pub(crate) fn told(tokens: &[Token], settings: &GenerateSettings) -> Vec<f32> {
    let ends = |id: u32| settings.stop_ids.contains(&id);
    let told = |t: &Token| [if ends(t.id) { -1.0 } else { t.id as f32 }, t.log_prob, t.sequence as f32];
    tokens.iter().flat_map(told).collect()
}

/// Where there is nothing to continue, the token that a text would begin with.
pub(crate) fn begun(prompt: Vec<u32>, settings: &GenerateSettings) -> Vec<u32> {
    if prompt.is_empty() { vec![settings.stop_ids.first().map_or(0, |id| *id)] } else { prompt }
}

/// What JavaScript says about sampling, and, as `count`, how many texts it wants at once. The defaults are those of a page: a
/// little safer than the plain probabilities, and not endless.
pub(crate) fn settings(options: &JsValue, count: &str) -> Result<(GenerateSettings, usize), JsValue> {
    let mut given = Fields::of(options);
    let sampling = Sampling { temperature: 0.8, ..Sampling::default() };
    let (mut seed, mut n) = (sampling.seed as f64, 1);
    let mut settings = GenerateSettings { sampling, max_tokens: 200, stop_ids: Vec::new(), slide: true };
    let sampling = &mut settings.sampling;
    given.set("max_tokens", &mut settings.max_tokens)?;
    given.set("temperature", &mut sampling.temperature)?;
    given.set("top_k", &mut sampling.top_k)?;
    given.set("top_p", &mut sampling.top_p)?;
    given.set("min_p", &mut sampling.min_p)?;
    given.set("repetition_penalty", &mut sampling.repetition_penalty)?;
    given.set("seed", &mut seed)?;
    given.set(count, &mut n)?;
    sampling.seed = seed as u64;
    // Each of these ends the text; the first one is also where a text begins.
    given.set("stop_ids", &mut settings.stop_ids)?;
    given.end()?;
    validate(sampling, (count, n))?;
    Ok((settings, n))
}

fn validate(sampling: &Sampling, (count, n): (&str, usize)) -> Result<(), JsValue> {
    let Sampling { temperature, top_p, min_p, repetition_penalty: penalty, .. } = *sampling;
    let require = |name: &str, found: f32, holds: bool, expected: &str| match holds {
        true => Ok(()),
        false => {
            Err(error("SETTINGS", &[name, ": found ", &found.shown(), ", expected ", expected].concat()))
        }
    };
    require(count, n as f32, n > 0 && n <= MOST, "1 up to 128")?;
    let warm = temperature.is_finite() && temperature >= 0.0;
    require("temperature", temperature, warm, "a finite number, 0 for the likeliest token")?;
    require("top_p", top_p, top_p > 0.0 && top_p <= 1.0, "above 0, up to 1")?;
    require("min_p", min_p, (0.0..=1.0).contains(&min_p), "0 up to 1")?;
    let kept = penalty.is_finite() && penalty > 0.0;
    require("repetition_penalty", penalty, kept, "a number above 0, 1 for none")
}
