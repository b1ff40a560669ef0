//! The model's half of a Hugging Face folder; the other module adds the tokenizer's.

use cloche_models::config::{CardFacts, GenerationConfig, ModelConfig, TokenIds, model_card};
use cloche_nn::HostWeights;
use cloche_nn::checkpoint::{CheckpointError, NamedTensor, write};

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
    // What Hugging Face's class has and ours leaves out because it is zero.
    let zeros: Vec<(String, Vec<usize>, Vec<f32>)> = (config.extras().zeros.into_iter())
        .map(|(name, shape)| {
            let numel = shape.iter().product();
            (name, shape, vec![0.0; numel])
        })
        .collect();
    let mut tensors = weights.tensors();
    tensors.extend(zeros.iter().map(|(name, shape, data)| NamedTensor { name, shape, data }));
    let mut files = write(&tensors, &Default::default(), None)?;
    let tokens = TokenIds { bos: eot, eos: eot.into_iter().collect(), pad: None };
    let generation = GenerationConfig { tokens: tokens.clone(), do_sample: Some(true), ..Default::default() };
    files.push(("config.json".into(), config.to_hf_json(&tokens).into_bytes()));
    files.push(("generation_config.json".into(), generation.to_hf_json().into_bytes()));
    files.push(("README.md".into(), model_card(config, facts).into_bytes()));
    Ok(files)
}
