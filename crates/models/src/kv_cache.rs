//! Keys and values of all tokens so far, so that each new token costs one position and not all of them.

use cloche_tensor::{DType, Device, Graph, State, Tensor};

use crate::config::ModelConfig;

/// The cache as a program sees it: a state for each layer, `(B, S, 2·G, D)`, keys and then values of each position, where
/// `S` is the context's length.
#[derive(Clone)]
pub struct KvCache {
    layers: Vec<Tensor>,
    position: Option<Tensor>,
    /// Where the new rows go: behind those that are there, `(B,)`.
    start: Tensor,
}

impl KvCache {
    /// For a program that reads prompts: tokens go to the rows from 0 on, and see each other only.
    pub fn prefill(graph: &Graph, config: &ModelConfig, batch: usize) -> Self {
        Self::join(graph, config, batch, &graph.data((batch,), vec![0u32; batch]))
    }

    /// For a program that reads prompts into a cache of `slots` sequences, which it takes for as many parts of equal length as
    /// `start` `(B,)` has rows: the tokens of row b go to the rows of part b from `start[b]` on, and see each other only. So one
    /// row reaches every slot, and as many rows as there are slots each reach their own. What starts at the end of its part
    /// goes nowhere.
    pub fn join(graph: &Graph, config: &ModelConfig, slots: usize, start: &Tensor) -> Self {
        let len = slots / start.dim(0) * config.context_len;
        Self::record(graph, config, len, None, start.clone())
    }

    /// For a program that adds one token to each sequence, where `position` `(B,)` tokens are already.
    pub fn decode(graph: &Graph, config: &ModelConfig, position: &Tensor) -> Self {
        Self::extend(graph, config, position, position)
    }

    /// For a program that adds some tokens to each sequence, where `start` `(B,)` tokens are already, so that they are at the
    /// positions `position` `(B, T)`, one after the other.
    pub fn extend(graph: &Graph, config: &ModelConfig, start: &Tensor, position: &Tensor) -> Self {
        Self::record(graph, config, config.context_len, Some(position.clone()), start.clone())
    }

    fn record(
        graph: &Graph,
        config: &ModelConfig,
        len: usize,
        position: Option<Tensor>,
        start: Tensor,
    ) -> Self {
        let shape = (start.dim(0), len, 2 * config.n_kv_head, config.d_head);
        let layers = (0..config.n_layer).map(|i| graph.state(&name(i), shape, DType::F32)).collect();
        KvCache { layers, position, start }
    }

    /// Tokens before each of the new ones, `(B,)` or `(B, T)`, in a program that finds some in the cache.
    pub fn position(&self) -> Option<&Tensor> {
        self.position.as_ref()
    }

    /// Stores keys and values, and attends to all that is stored.
    ///
    /// Rows beyond a sequence's own length hold what an earlier, longer prompt or padding left there; causality hides
    /// them until they are overwritten.
    ///
    /// # Shapes
    /// q `(B, T, H, D)`, kv `(B, T, 2·G, D)` → `(B, T, H, D)`
    pub fn attention(&self, layer: usize, q: &Tensor, kv: &Tensor) -> Tensor {
        let stored = self.layers[layer].cache_write(kv, &self.start); // (B, S, 2·G, D)
        let (seen, start) = if self.position.is_some() { (&stored, Some(&self.start)) } else { (kv, None) };
        let heads = seen.chunk(2, 2);
        q.attention(&heads[0], &heads[1], start)
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
        let numel = batch * config.context_len * 2 * config.n_kv_head * config.d_head;
        let state = |layer| device.state(&name(layer), numel, DType::F32).map(|state| (name(layer), state));
        Ok(KvStates((0..config.n_layer).map(state).collect::<Result<_, _>>()?))
    }

    /// The states by the names under which programs bind them.
    pub fn bind(&self) -> impl Iterator<Item = (&str, &State)> {
        self.0.iter().map(|(name, state)| (name.as_str(), state))
    }
}

fn name(layer: usize) -> String {
    format!("cache.{layer}")
}
