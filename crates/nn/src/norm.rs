//! Normalisation over the last dimension.

use cloche_tensor::Tensor;

use crate::init::Init;
use crate::params::Params;

/// LayerNorm (Ba, Kiros and Hinton 2016, <https://arxiv.org/abs/1607.06450>), with a bias or without.
///
/// # Shapes
/// x `(…, C)`, weight and bias `(C,)` → `(…, C)`
pub fn layer_norm(p: &Params, x: &Tensor, bias: bool, eps: f32) -> Tensor {
    let c = x.last_dim();
    let w = p.param("weight", (c,), Init::Ones);
    let b = bias.then(|| p.param("bias", (c,), Init::Zeros));
    x.layer_norm(&w, b.as_ref(), eps as f64)
}

/// RMSNorm (Zhang and Sennrich 2019, <https://arxiv.org/abs/1910.07467>).
///
/// # Shapes
/// x `(…, C)`, weight `(C,)` → `(…, C)`
pub fn rms_norm(p: &Params, x: &Tensor, eps: f32) -> Tensor {
    x.rms_norm(&p.param("weight", (x.last_dim(),), Init::Ones), eps as f64)
}
