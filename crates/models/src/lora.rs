//! Adapters of models: made, applied for good, saved and opened.

use cloche_nn::lora::{LoraConfig, LoraError};
use cloche_nn::{ParamSpec, Weights};
use cloche_tensor::Device;

use crate::config::ModelConfig;
use crate::{logits, record, score};

/// What a model learnt beside its weights. Cloning shares the weights.
#[derive(Clone)]
pub struct Adapter {
    /// Which layers it changes, and how much.
    pub config: LoraConfig,
    /// Its factors, and modules that it holds whole.
    pub weights: Weights,
}

/// Why there is no adapter.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// The model cannot have it.
    #[error(transparent)]
    Config(#[from] LoraError),
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
