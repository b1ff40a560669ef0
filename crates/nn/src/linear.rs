//! Linear layers, in the two layouts that checkpoints have. Both add what an adapter has for them (see [`lora`](crate::lora)),
//! and leave the product to quantised weights where there are some.

use cloche_tensor::Tensor;

use crate::init::Init;
use crate::lora::adapt;
use crate::params::Params;

/// `y = x·wᵀ`, with `weight` as PyTorch's `nn.Linear` stores it.
///
/// # Shapes
/// x `(…, K)`, weight `(n, K)` → `(…, n)`
pub fn linear(p: &Params, x: &Tensor, n: usize, init: Init) -> Tensor {
    let product = || x.matmul(&p.param("weight", (n, x.last_dim()), init).t());
    adapt(p, x, p.substitute(x).unwrap_or_else(product), false)
}

/// `y = x·w + b`, with `weight` as Hugging Face's `Conv1D`, hence GPT-2, stores it: transposed against `nn.Linear`.
///
/// # Shapes
/// x `(…, K)`, weight `(K, n)`, bias `(n,)` where there is one → `(…, n)`
pub fn conv1d(p: &Params, x: &Tensor, n: usize, bias: bool, init: Init) -> Tensor {
    let product = || x.matmul(&p.param("weight", (x.last_dim(), n), init));
    let y = p.substitute(x).unwrap_or_else(product);
    let y = if bias { y + p.param("bias", (n,), Init::Zeros) } else { y };
    adapt(p, x, y, true)
}
