//! A run's settings as JavaScript gives them: a preset, and whatever is to differ from it.

use crate::error;
use cloche_models::config::{CardFacts, preset};
use cloche_train::settings::Settings;
use serde::Deserialize;
use wasm_bindgen::JsValue;

/// Every setting but the preset's name and the vocabulary may be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    preset: String,
    vocab_size: usize,
    /// What the text is called and how it is cut into tokens, for the model card.
    data_name: String,
    tokenizer: String,
    eot_id: Option<u32>,
    sample_prompt: Option<Vec<u32>>,
    steps: Option<u64>,
    seed: Option<f64>,
    batch_size: Option<usize>,
    context_len: Option<usize>,
    grad_accumulation: Option<usize>,
    lr: Option<f32>,
    min_lr: Option<f32>,
    warmup_steps: Option<u64>,
    beta1: Option<f32>,
    beta2: Option<f32>,
    eps: Option<f32>,
    weight_decay: Option<f32>,
    max_grad_norm: Option<f32>,
    dropout: Option<f32>,
    eval_every: Option<u64>,
    eval_batches: Option<usize>,
    sample_at: Option<Vec<u64>>,
    sample_len: Option<usize>,
}

/// A run's settings, and what its model card will say of them.
pub(crate) struct Setup {
    pub(crate) settings: Settings,
    pub(crate) facts: CardFacts,
}

/// Reads settings. They are not validated here: the run itself does that.
pub(crate) fn setup(options: JsValue) -> Result<Setup, JsValue> {
    let refused = |text: String| error("SETTINGS", &text);
    let mut options: Options = serde_wasm_bindgen::from_value(options).map_err(|e| refused(e.to_string()))?;
    let preset = preset(&options.preset).map_err(|e| refused(e.to_string()))?;
    let mut settings = Settings::from_preset(preset, options.vocab_size);
    let mut facts = CardFacts {
        name: format!("Cloche {}", preset.name),
        data: std::mem::take(&mut options.data_name),
        tokenizer: std::mem::take(&mut options.tokenizer),
        ..CardFacts::default()
    };
    options.change(&mut settings);
    facts.seed = settings.seed;
    Ok(Setup { settings, facts })
}

impl Options {
    fn change(self, settings: &mut Settings) {
        settings.eot = self.eot_id;
        set(&mut settings.sample_prompt, self.sample_prompt);
        set(&mut settings.steps, self.steps);
        // JavaScript's numbers are exact up to 2⁵³, which is seed enough.
        set(&mut settings.seed, self.seed.map(|seed| seed as u64));
        set(&mut settings.batch_size, self.batch_size);
        set(&mut settings.model.context_len, self.context_len);
        set(&mut settings.grad_accumulation, self.grad_accumulation);
        // Whoever changes the learning rate means all of it: the cosine still ends at a tenth.
        set(&mut settings.min_lr, self.lr.map(|lr| lr / 10.0));
        set(&mut settings.lr, self.lr);
        set(&mut settings.min_lr, self.min_lr);
        // A short run would otherwise be warming up until it ends.
        settings.warmup_steps = settings.warmup_steps.min(settings.steps / 10);
        set(&mut settings.warmup_steps, self.warmup_steps);
        set(&mut settings.beta1, self.beta1);
        set(&mut settings.beta2, self.beta2);
        set(&mut settings.eps, self.eps);
        set(&mut settings.weight_decay, self.weight_decay);
        set(&mut settings.max_grad_norm, self.max_grad_norm);
        set(&mut settings.model.dropout, self.dropout);
        set(&mut settings.eval_every, self.eval_every);
        set(&mut settings.eval_batches, self.eval_batches);
        set(&mut settings.sample_at, self.sample_at);
        set(&mut settings.sample_len, self.sample_len);
        // A page asks for the files when it wants them.
        settings.checkpoint_every = 0;
    }
}

fn set<T>(setting: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *setting = value;
    }
}
