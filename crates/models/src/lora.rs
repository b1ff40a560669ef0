//! Adapters of models: what a model learnt beside its weights.

use std::fmt;

use cloche_nn::checkpoint::CheckpointError;
use cloche_nn::lora::{Layer, LoraConfig, LoraError};
use cloche_nn::{HostWeights, ParamSpec, Weights};
use cloche_tensor::Device;
use sha2::{Digest, Sha256};

use crate::config::{ConfigError, ModelConfig};
use crate::{logits, record, score};

/// What a model learnt beside its weights. Cloning shares the weights.
#[derive(Clone)]
pub struct Adapter {
    /// Which layers it changes, and how much.
    pub config: LoraConfig,
    /// Its factors, and modules that it holds whole.
    pub weights: Weights,
}

/// The model that an adapter belongs to. On another one it would compute, but nothing that anybody meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// A name or a place, for people and for Hugging Face's tools.
    pub name: String,
    /// SHA-256 of the body's parameters, in hexadecimal digits.
    pub fingerprint: String,
}

/// Why there is no adapter.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// The model cannot have it.
    #[error(transparent)]
    Config(#[from] LoraError),
    /// Its `adapter_config.json` asks for what we do not implement.
    #[error("adapter_config.json: {0}")]
    Json(#[from] ConfigError),
    /// Its weights are not there, or are not what the configuration says.
    #[error(transparent)]
    Weights(#[from] CheckpointError),
    /// It was trained beside other weights.
    #[error("the adapter belongs to {adapter}, the model is {model}")]
    OtherBase {
        /// What the adapter belongs to.
        adapter: Base,
        /// What it was opened with.
        model: Base,
    },
    /// The device cannot hold it, or was lost.
    #[error(transparent)]
    Device(#[from] cloche_tensor::Error),
}

impl Adapter {
    /// An adapter before training, which changes nothing yet.
    ///
    /// # Errors
    /// A configuration that the model cannot have; a device that cannot hold the weights.
    pub fn new(
        device: &Device,
        model: &ModelConfig,
        config: LoraConfig,
        seed: u64,
    ) -> Result<Adapter, AdapterError> {
        let weights = Weights::init(device, &Self::specs(model, &config)?, seed)?;
        Ok(Adapter { config, weights })
    }

    /// The parameters of an adapter: their names, shapes and places.
    ///
    /// # Errors
    /// A configuration that the model cannot have.
    pub fn specs(model: &ModelConfig, config: &LoraConfig) -> Result<Vec<ParamSpec>, LoraError> {
        let p = record(model, &[logits, score]);
        config.specs(&p.layers(), &p.specs())
    }
}

/// All linear layers of a model, those of its heads included.
pub(crate) fn layers(model: &ModelConfig) -> Vec<Layer> {
    record(model, &[logits, score]).layers()
}

impl Base {
    /// Names the base whose weights these are. Heads count for nothing: a model and its critic are one base.
    pub fn new(name: impl Into<String>, weights: &HostWeights) -> Base {
        let mut hash = Sha256::new();
        for tensor in
            weights.tensors().iter().filter(|t| t.name != "lm_head.weight" && t.name != "score.weight")
        {
            hash.update(tensor.name);
            tensor.shape.iter().for_each(|&dim| hash.update((dim as u64).to_le_bytes()));
            hash.update(tensor.bytes());
        }
        let fingerprint =
            hash.finalize().iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex_digit).collect();
        Base { name: name.into(), fingerprint }
    }
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(nibble.into(), 16).expect("less than 16")
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:?} (SHA-256 {:.12}…)", self.name, self.fingerprint)
    }
}
