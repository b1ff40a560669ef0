//! What differs between training, scoring and generating, so that a model file need not know.

use cloche_nn::Params;
use cloche_nn::dropout::Dropout;
use cloche_tensor::{Graph, Tensor};

use crate::kv_cache::KvCache;

/// One recording of a model: whether activations are dropped, where keys and values of earlier tokens are, and where in a
/// row a document begins.
#[derive(Clone, Default)]
pub struct Pass {
    dropout: Dropout,
    cache: Option<KvCache>,
    documents: Option<Documents>,
    recomputed_layers: usize,
}

/// Several documents in each row, one behind the other: none sees another, and each begins at position 0.
#[derive(Clone)]
struct Documents {
    begin: Tensor,
    position: Tensor,
}

impl Pass {
    /// Scoring: every position at once, nothing dropped.
    pub fn eval() -> Self {
        Self::default()
    }

    /// Training: as [`eval`](Self::eval), with a share `p` of the activations dropped under the scalars `seed` and `step`.
    pub fn train(graph: &Graph, p: f32) -> Self {
        Pass { dropout: Dropout::train(graph, p), ..Self::default() }
    }

    /// Generating: keys and values are kept in `cache`.
    pub fn cached(cache: KvCache) -> Self {
        Pass { cache: Some(cache), ..Self::default() }
    }

    /// Of the first `layers` blocks only the ends are kept for the backward pass, which computes what lies within again: less
    /// memory, the same numbers, and for each block up to a third more arithmetic. See [`Tensor::checkpoint`].
    pub fn recomputing(self, layers: usize) -> Self {
        Pass { recomputed_layers: layers, ..self }
    }

    /// Rows in which several documents stand one behind the other, so that no room is lost to padding. `begin` says of each
    /// position of a row where its document begins, `position` where in the document it is.
    ///
    /// # Shapes
    /// begin, position `(B, T)` of u32
    ///
    /// # Panics
    /// When there is a cache.
    #[track_caller]
    pub fn documents(self, begin: &Tensor, position: &Tensor) -> Self {
        assert!(self.cache.is_none(), "documents in a row: found a key/value cache, expected none");
        Pass { documents: Some(Documents { begin: begin.clone(), position: position.clone() }), ..self }
    }

    /// Parameters as this pass sees them: in training, adapters drop some of their inputs.
    pub(crate) fn params(&self, p: &Params) -> Params {
        p.training(&self.dropout)
    }

    /// `x` with a share of it dropped in training. Same shape.
    pub fn dropout(&self, x: Tensor) -> Tensor {
        self.dropout.apply(x)
    }

    /// The residual stream behind block `layer`, by the name `h.{layer}`. Same tensor.
    pub fn block_end(&self, layer: usize, x: Tensor) -> Tensor {
        let x = x.named(&format!("h.{layer}"));
        if layer < self.recomputed_layers { x.checkpoint() } else { x }
    }

    /// How many tokens come before the first one of each sequence, `(B,)`, or before each token, `(B, T)`; `None` where
    /// every sequence begins at its first token.
    pub fn position(&self) -> Option<&Tensor> {
        let documents = self.documents.as_ref().map(|documents| &documents.position);
        documents.or_else(|| self.cache.as_ref().and_then(KvCache::position))
    }

    /// Causal attention of layer `layer`, where q, k and v lie side by side; with a cache also to the earlier tokens in it.
    ///
    /// Without a cache they stay together, and so do their gradients: one kernel forward, and no copies backward.
    ///
    /// # Shapes
    /// qkv `(B, T, (H + 2·G)·D)`: H heads of q, then G of k, then G of v → `(B, T, H·D)`
    pub fn attention(&self, layer: usize, qkv: &Tensor, (n_head, n_kv_head): (usize, usize)) -> Tensor {
        let (b, t, heads) = (qkv.dim(0), qkv.dim(1), n_head + 2 * n_kv_head);
        let d = qkv.dim(2) / heads;
        let y = match &self.cache {
            None => {
                let begin = self.documents.as_ref().map(|documents| &documents.begin);
                let qkv = qkv.clone().named(&format!("h.{layer}.qkv"));
                qkv.attention_packed(n_head, n_kv_head, begin) // (B, T, H, D)
            }
            Some(cache) => {
                let qkv = qkv.reshape((b, t, heads, d));
                cache.attention(layer, &qkv.slice(2, 0, n_head), &qkv.slice(2, n_head, heads)) // (B, T, H, D)
            }
        };
        y.reshape((b, t, n_head * d))
    }
}
