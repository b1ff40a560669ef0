//! Models whose linear layers are quantised: made from whole ones, in files, on a device.
//!
//! In a file they are as compressed-tensors packs them, so that `transformers` with that package reads those of Llama's shape.
//! Its `config.json` says so under `quantization_config`.

use std::rc::Rc;

use cloche_nn::checkpoint::{Checkpoint, CheckpointError};
use cloche_nn::lora::Layer;
use cloche_nn::{HostQuantized, HostWeights, Precision, QuantizeError, specs_without};
use cloche_tensor::{Device, Error};

use crate::config::{ModelConfig, TokenIds};
use crate::network::Network;
use crate::{logits, record};

/// A model whose linear layers and output matrix are quantised, in memory.
///
/// A tied embedding stays as it is for reading tokens; only its copy at the other end is quantised, and has no place in files.
pub struct QuantizedModel {
    config: ModelConfig,
    precision: Precision,
    /// The other parameters.
    rest: HostWeights,
    layers: HostQuantized,
}

/// The linear layers of a model, and an output matrix that is the table of its embedding.
fn layers(config: &ModelConfig) -> [Vec<Layer>; 2] {
    let p = record(config, &[logits]);
    [p.layers(), p.tied_layers()]
}

impl QuantizedModel {
    /// Quantises a model.
    ///
    /// # Errors
    /// A layer whose width is not a multiple of the group.
    ///
    /// # Panics
    /// When the weights are those of another model.
    pub fn of(
        config: &ModelConfig,
        precision: Precision,
        weights: &HostWeights,
    ) -> Result<Self, QuantizeError> {
        let [own, tied] = layers(config);
        let mut layers = HostQuantized::default();
        layers.quantize(precision, &own, weights)?;
        layers.quantize(precision, &tied, weights)?;
        Ok(QuantizedModel { config: *config, precision, rest: weights.without(&own), layers })
    }

    /// Opens what [`files`](Self::files) has written, or compressed-tensors with the same settings. A layer of which the file
    /// holds the weights, such as the output matrix in many files of others, stays whole.
    ///
    /// # Errors
    /// Tensors that are missing, left over or misshapen; a file in which no layer is quantised.
    pub fn load(
        config: &ModelConfig,
        precision: Precision,
        checkpoint: &mut Checkpoint,
    ) -> Result<Self, QuantizeError> {
        let [own, tied] = layers(config);
        let mut layers = HostQuantized::default();
        let loaded = layers.load(precision, &own, checkpoint)?;
        if loaded.is_empty() {
            return Err(QuantizeError::Whole);
        }
        let specs = specs_without(&crate::specs(config), &loaded);
        let rest = HostWeights::load(&specs, "", checkpoint, &config.extras())?;
        layers.quantize(precision, &tied, &rest)?;
        Ok(QuantizedModel { config: *config, precision, rest, layers })
    }

    /// Reads a quantised network back from its device, or nothing where it is whole.
    ///
    /// # Errors
    /// A lost device.
    pub async fn read(network: &Network) -> Result<Option<Self>, Error> {
        let Some(quantized) = &network.quantized else { return Ok(None) };
        let (layers, rest) = (quantized.read().await?, network.weights.read().await?);
        let precision = layers.precision().expect("a quantised network has quantised layers");
        Ok(Some(QuantizedModel { config: network.config, precision, rest, layers }))
    }

    /// Puts the model on a device.
    ///
    /// # Errors
    /// When the device cannot hold it.
    pub fn upload(self, device: &Device) -> Result<Network, Error> {
        let weights = self.rest.upload(device)?;
        let quantized = Rc::new(self.layers.upload(device)?);
        Ok(Network { quantized: Some(quantized), ..Network::new(self.config, weights) })
    }

    /// `config.json` and `model.safetensors` of its folder.
    ///
    /// # Errors
    /// Weights that a reader would refuse.
    pub fn files(&self, tokens: &TokenIds) -> Result<Vec<(String, Vec<u8>)>, CheckpointError> {
        let own = &layers(&self.config)[0];
        let stored = self.layers.stored(own);
        let packed: Vec<_> = stored.iter().flat_map(|layer| layer.tensors()).collect();
        let mut files = self.config.weight_files_with(&self.rest, &packed)?;
        let whole = own.iter().map(|layer| layer.path.as_str()).filter(|path| !self.layers.has(path));
        let json = self.config.to_hf_quantized_json(tokens, self.precision, &whole.collect::<Vec<_>>());
        files.push(("config.json".into(), json.into_bytes()));
        Ok(files)
    }
}
