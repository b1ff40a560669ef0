//! A run's settings as JavaScript gives them: a preset, and whatever is to differ from it.

use crate::error;
use crate::fields::{Field, Fields};
use cloche_models::config::{CardFacts, preset};
use cloche_train::settings::{Activations, Settings};
use wasm_bindgen::JsValue;

/// A run's settings, and what its model card will say of them.
pub(crate) struct Setup {
    pub(crate) settings: Settings,
    pub(crate) facts: CardFacts,
}

/// Reads settings; all but the preset's name and the vocabulary may be left out. They are not validated here: the run itself
/// does that.
pub(crate) fn setup(options: &JsValue) -> Result<Setup, JsValue> {
    let mut given = Fields::of(options);
    let (mut name, mut vocab_size, mut facts) = (String::new(), 0, CardFacts::default());
    given.set("preset", &mut name)?;
    given.set("vocab_size", &mut vocab_size)?;
    let preset = preset(&name).map_err(|e| error("SETTINGS", &e.to_string()))?;
    let mut settings = Settings::from_preset(preset, vocab_size);
    change(&mut settings, &mut given)?;
    // What the text is called and how it is cut into tokens.
    given.set("data_name", &mut facts.data)?;
    given.set("tokenizer", &mut facts.tokenizer)?;
    given.end()?;
    facts.name = ["Cloche ", preset.name].concat();
    facts.seed = settings.seed;
    Ok(Setup { settings, facts })
}

fn change(settings: &mut Settings, given: &mut Fields) -> Result<(), JsValue> {
    let mut seed = settings.seed as f64;
    given.set("seed", &mut seed)?;
    settings.seed = seed as u64;
    given.set("eot_id", &mut settings.eot)?;
    given.set("sample_prompt", &mut settings.sample_prompt)?;
    given.set("steps", &mut settings.steps)?;
    given.set("batch_size", &mut settings.batch_size)?;
    given.set("context_len", &mut settings.model.context_len)?;
    given.set("grad_accumulation", &mut settings.grad_accumulation)?;
    given.set("activations", &mut settings.activations)?;
    // Whoever changes the learning rate means all of it: the cosine still ends at a tenth.
    if given.set("lr", &mut settings.lr)? {
        settings.min_lr = settings.lr / 10.0;
    }
    given.set("min_lr", &mut settings.min_lr)?;
    // A short run would otherwise be warming up until it ends.
    settings.warmup_steps = settings.warmup_steps.min(settings.steps / 10);
    given.set("warmup_steps", &mut settings.warmup_steps)?;
    given.set("beta1", &mut settings.beta1)?;
    given.set("beta2", &mut settings.beta2)?;
    given.set("eps", &mut settings.eps)?;
    given.set("weight_decay", &mut settings.weight_decay)?;
    given.set("max_grad_norm", &mut settings.max_grad_norm)?;
    given.set("dropout", &mut settings.model.dropout)?;
    given.set("eval_every", &mut settings.eval_every)?;
    given.set("eval_batches", &mut settings.eval_batches)?;
    given.set("sample_at", &mut settings.sample_at)?;
    given.set("sample_len", &mut settings.sample_len)?;
    // A page asks for the files when it wants them.
    settings.checkpoint_every = 0;
    Ok(())
}

impl Field for Activations {
    const EXPECTED: &'static str = Activations::NAMES;

    fn read(value: &JsValue) -> Option<Self> {
        Activations::named(&value.as_string()?)
    }
}
