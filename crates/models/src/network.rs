//! A model on a device, ready to be recorded into programs.

use std::rc::Rc;

use cloche_nn::lora::merge;
use cloche_nn::{HostWeights, Params, Precision, QuantizeError, Substitute, Weights};
use cloche_tensor::{Device, Error, Graph, State};

use crate::config::ModelConfig;
use crate::lora::{Adapter, layers};
use crate::quantized::QuantizedModel;
use crate::score_specs;

/// What a model is, its weights and, where one is switched on, an adapter. Cloning shares the weights.
///
/// Several networks can stand on one base, each with an adapter of its own or none: the base is neither copied nor
/// changed by what happens to them.
#[derive(Clone)]
pub struct Network {
    /// The shape of the model.
    pub config: ModelConfig,
    /// The weights: of the base, where there is an adapter.
    pub weights: Weights,
    /// What is added to the base.
    pub adapter: Option<Adapter>,
    /// The linear layers of a network that only generates; `weights` are the other parameters then.
    pub quantized: Option<Rc<dyn Substitute>>,
}

impl Network {
    /// A model without an adapter.
    pub fn new(config: ModelConfig, weights: Weights) -> Network {
        Network { config, weights, adapter: None, quantized: None }
    }

    /// The parameters, for recording this network into `graph`, once: [`Params::without_adapter`] is the base in the same
    /// graph.
    pub fn params(&self, graph: &Graph) -> Params {
        let p = Params::from_specs(graph, self.weights.specs());
        let p = self.quantized.as_ref().map_or(p.clone(), |quantized| p.with_substitute(quantized.clone()));
        match &self.adapter {
            None => p,
            Some(adapter) => p.with_adapter(&adapter.config, adapter.weights.specs()),
        }
    }

    /// The states that a program of this network binds.
    pub fn states(&self) -> Vec<(&'static str, &State)> {
        let adapter = self.adapter.as_ref().map(|adapter| ("adapter", adapter.weights.state()));
        let quantized = self.quantized.iter().flat_map(|quantized| quantized.states());
        [("params", self.weights.state())].into_iter().chain(adapter).chain(quantized).collect()
    }

    /// A copy of this model, the adapter merged, whose linear layers and output matrix are quantised: it generates and is
    /// evaluated with less memory and time, and cannot be trained.
    ///
    /// A tied embedding stays as it is for reading tokens; only its copy at the other end is quantised.
    ///
    /// # Errors
    /// A layer whose width is not a multiple of the group; a device that cannot hold the copy, or was lost.
    pub async fn quantized(&self, device: &Device, precision: Precision) -> Result<Network, QuantizeError> {
        let weights = self.merged_weights().await?;
        Ok(QuantizedModel::of(&self.config, precision, &weights)?.upload(device)?)
    }

    /// The same base with this adapter in place of its own.
    pub fn with_adapter(&self, adapter: Adapter) -> Network {
        Network { adapter: Some(adapter), ..self.clone() }
    }

    /// The same base, the adapter switched off.
    pub fn without_adapter(&self) -> Network {
        Network { adapter: None, ..self.clone() }
    }

    /// A model of its own that computes the same without an adapter: the adapter is merged into a copy of the base.
    ///
    /// This network, its base and its adapter stay as they are, so unmerging is to go on with them.
    ///
    /// # Errors
    /// A device that cannot hold the copy, or was lost.
    ///
    /// # Panics
    /// When the network is quantised.
    pub async fn merged(&self, device: &Device) -> Result<Network, Error> {
        Ok(Network::new(self.config, self.merged_weights().await?.upload(device)?))
    }

    async fn merged_weights(&self) -> Result<HostWeights, Error> {
        assert!(self.quantized.is_none(), "merged: a quantised network does not have its weights any more");
        let base = self.weights.read().await?;
        Ok(match &self.adapter {
            None => base,
            Some(adapter) => {
                merge(&layers(&self.config), &adapter.config, &base, &adapter.weights.read().await?)
            }
        })
    }

    /// A copy of this model, the adapter merged, with the head that [`score`](crate::score) records in place of its own:
    /// as it is where the model has one, else as at the beginning under `seed`.
    ///
    /// # Errors
    /// As [`merged`](Self::merged).
    pub async fn scoring(&self, device: &Device, seed: u64) -> Result<Network, Error> {
        let merged = self.merged(device).await?.weights.read().await?;
        let weights = merged.carried_over(&score_specs(&self.config), seed);
        Ok(Network::new(self.config, weights.upload(device)?))
    }

    /// The weights that training changes: the adapter's where there is an adapter, else all.
    pub fn trained(&self) -> &Weights {
        self.adapter.as_ref().map_or(&self.weights, |adapter| &adapter.weights)
    }
}
