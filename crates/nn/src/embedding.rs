//! Token and position embeddings.

use cloche_tensor::Tensor;

use crate::init::Init;
use crate::params::Params;

/// A row of `weight` for each id.
///
/// # Shapes
/// ids `(B, T)` of u32, weight `(n, C)` → `(B, T, C)`
pub fn embedding(p: &Params, ids: &Tensor, (n, c): (usize, usize), init: Init) -> Tensor {
    p.embedding("weight", (n, c), init).embedding(ids)
}

/// `y = x·wᵀ` with the weight of an [`embedding`]: what a tied output matrix computes (Press and Wolf 2017,
/// <https://arxiv.org/abs/1608.05859>).
///
/// # Shapes
/// x `(…, C)`, weight `(n, C)` → `(…, n)`
pub fn unembed(p: &Params, x: &Tensor, n: usize, init: Init) -> Tensor {
    p.unembedding(n, x.last_dim());
    p.substitute(x).unwrap_or_else(|| x.matmul(&p.embedding("weight", (n, x.last_dim()), init).t()))
}

/// Rows `index` of `x`: the last position of each sequence, for instance.
///
/// # Shapes
/// x `(R, C)`, index `(N,)` of u32 → `(N, C)`
pub fn rows(x: &Tensor, index: &Tensor) -> Tensor {
    let (n, c) = (index.dim(0), x.last_dim());
    x.embedding(&index.reshape((1, n))).reshape((n, c))
}
