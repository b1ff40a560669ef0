//! Keys and values of all tokens so far, so that each new token costs one position and not all of them.

use cloche_tensor::{DType, Device, Graph, State, Tensor};

use crate::config::ModelConfig;

/// The cache as a program sees it: two states for each layer, `(B, S, G, D)`, where `S` is the context's length.
#[derive(Clone)]
pub struct KvCache {
    layers: Vec<(Tensor, Tensor)>,
    position: Option<Tensor>,
    /// Where the new rows go: `position`, or 0 for each sequence.
    start: Tensor,
}

impl KvCache {
    /// For a program that reads prompts: tokens go to the rows from 0 on, and see each other only.
    pub fn prefill(graph: &Graph, config: &ModelConfig, batch: usize) -> Self {
        Self::record(graph, config, batch, None)
    }

    /// For a program that adds one token to each sequence, where `position` `(B,)` tokens are already.
    pub fn decode(graph: &Graph, config: &ModelConfig, position: &Tensor) -> Self {
        Self::record(graph, config, position.dim(0), Some(position.clone()))
    }

    fn record(graph: &Graph, config: &ModelConfig, batch: usize, position: Option<Tensor>) -> Self {
        let shape = (batch, config.context_len, config.n_kv_head, config.d_head);
        let state = |name: String| graph.state(&name, shape, DType::F32);
        let layers = (0..config.n_layer).map(|i| (state(key_name(i)), state(value_name(i)))).collect();
        let start = position.clone().unwrap_or_else(|| graph.data((batch,), vec![0u32; batch]));
        KvCache { layers, position, start }
    }

    /// Tokens before this one, `(B,)`, in a program that decodes.
    pub fn position(&self) -> Option<&Tensor> {
        self.position.as_ref()
    }

    /// Stores k and v, and attends to all that is stored.
    ///
    /// Rows beyond a sequence's own length hold what an earlier, longer prompt or padding left there; causality hides
    /// them until they are overwritten.
    ///
    /// # Shapes
    /// q `(B, T, H, D)`, k and v `(B, T, G, D)` → `(B, T, H, D)`
    pub fn attention(&self, layer: usize, q: &Tensor, k: &Tensor, v: &Tensor) -> Tensor {
        let (keys, values) = &self.layers[layer];
        let (keys, values) = (keys.cache_write(k, &self.start), values.cache_write(v, &self.start));
        match &self.position {
            Some(position) => q.attention(&keys, &values, Some(position)),
            None => q.attention(k, v, None),
        }
    }
}

/// The buffers of a cache on a device.
pub struct KvStates(Vec<(String, State)>);

impl KvStates {
    /// Buffers for `batch` sequences.
    ///
    /// # Errors
    /// When the device cannot hold them.
    pub fn new(device: &Device, config: &ModelConfig, batch: usize) -> Result<Self, cloche_tensor::Error> {
        let numel = batch * config.context_len * config.n_kv_head * config.d_head;
        let names = (0..config.n_layer).flat_map(|i| [key_name(i), value_name(i)]);
        let state = |name: String| device.state(&name, numel, DType::F32).map(|state| (name, state));
        Ok(KvStates(names.map(state).collect::<Result<_, _>>()?))
    }

    /// The states by the names under which programs bind them.
    pub fn bind(&self) -> impl Iterator<Item = (&str, &State)> {
        self.0.iter().map(|(name, state)| (name.as_str(), state))
    }
}

fn key_name(layer: usize) -> String {
    format!("cache.{layer}.k")
}

fn value_name(layer: usize) -> String {
    format!("cache.{layer}.v")
}
