//! The model's half of a Hugging Face folder; the other module adds the tokenizer's.

use cloche_models::config::{CardFacts, GenerationConfig, ModelConfig, TokenIds, model_card};
use cloche_nn::HostWeights;
use cloche_nn::checkpoint::CheckpointError;

/// `model.safetensors`, `config.json`, `generation_config.json` and `README.md`.
///
/// # Errors
/// Weights that a reader would refuse.
pub(crate) fn model_files(
    config: &ModelConfig,
    weights: &HostWeights,
    eot: Option<u32>,
    facts: &CardFacts,
) -> Result<Vec<(String, Vec<u8>)>, CheckpointError> {
    let mut files = config.weight_files(weights)?;
    let tokens = TokenIds { bos: eot, eos: eot.into_iter().collect(), pad: None };
    let generation = GenerationConfig { tokens: tokens.clone(), do_sample: Some(true), ..Default::default() };
    files.push(("config.json".into(), config.to_hf_json(&tokens).into_bytes()));
    files.push(("generation_config.json".into(), generation.to_hf_json().into_bytes()));
    files.push(("README.md".into(), model_card(config, facts).into_bytes()));
    Ok(files)
}
