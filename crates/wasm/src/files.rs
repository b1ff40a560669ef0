//! The model's half of a Hugging Face folder; the other module adds the tokenizer's.

use cloche_models::config::{GenerationConfig, ModelConfig, TokenIds};
use cloche_nn::HostWeights;
use cloche_nn::checkpoint::CheckpointError;
use js_sys::{Array, Uint8Array};

/// `model.safetensors`, `config.json`, `generation_config.json` and, where there is something to tell, `README.md`.
///
/// # Errors
/// Weights that a reader would refuse.
pub(crate) fn model_files(
    config: &ModelConfig,
    weights: &HostWeights,
    tokens: &TokenIds,
    card: Option<String>,
) -> Result<Vec<(String, Vec<u8>)>, CheckpointError> {
    let mut files = config.weight_files(weights)?;
    let generation = GenerationConfig { tokens: tokens.clone(), do_sample: Some(true), ..Default::default() };
    files.push(("config.json".into(), config.to_hf_json(tokens).into_bytes()));
    files.push(("generation_config.json".into(), generation.to_hf_json().into_bytes()));
    files.extend(card.map(|card| ("README.md".into(), card.into_bytes())));
    Ok(files)
}

/// Files as JavaScript has them: `[name, bytes]`.
pub(crate) fn to_js_files(files: Vec<(String, Vec<u8>)>) -> Array {
    files.iter().map(|(name, bytes)| Array::of2(&name.into(), &Uint8Array::from(bytes.as_slice()))).collect()
}
