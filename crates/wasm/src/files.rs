//! Files on their way to and from JavaScript, and the model's half of a Hugging Face folder; the other module adds the
//! tokenizer's.

use cloche_models::config::{GenerationConfig, ModelConfig, TokenIds};
use cloche_nn::HostWeights;
use cloche_nn::checkpoint::CheckpointError;
use js_sys::{Array, JsString, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};

/// Names and contents.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

/// `model.safetensors`, `config.json`, `generation_config.json` and, where there is something to tell, `README.md`.
///
/// # Errors
/// Weights that a reader would refuse.
pub(crate) fn model_files(
    config: &ModelConfig,
    weights: &HostWeights,
    tokens: &TokenIds,
    card: Option<String>,
) -> Result<Files, CheckpointError> {
    let mut files = config.weight_files(weights)?;
    files.extend(described(config.to_hf_json(tokens), tokens));
    files.extend(card.map(|card| ("README.md".into(), card.into_bytes())));
    Ok(files)
}

/// Files as JavaScript has them: `[name, bytes]`.
pub(crate) fn to_js_files(files: Files) -> Array {
    files.iter().map(|(name, bytes)| Array::of2(&name.into(), &Uint8Array::from(bytes.as_slice()))).collect()
}

/// A model without its weights: `config.json`, whose text this is, and `generation_config.json`.
pub(crate) fn described(config: String, tokens: &TokenIds) -> [(String, Vec<u8>); 2] {
    let generation = GenerationConfig { tokens: tokens.clone(), do_sample: Some(true), ..Default::default() };
    [
        ("config.json".into(), config.into_bytes()),
        ("generation_config.json".into(), generation.to_hf_json().into_bytes()),
    ]
}

/// Files from JavaScript.
pub(crate) fn from_js_files(files: &Array) -> Files {
    let file = |file: JsValue| {
        let file: &Array = file.unchecked_ref();
        (JsString::from(file.get(0)).into(), Uint8Array::new(&file.get(1)).to_vec())
    };
    files.iter().map(file).collect()
}
