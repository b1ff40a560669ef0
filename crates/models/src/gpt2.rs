//! GPT-2: Radford, Wu, Child, Luan, Amodei and Sutskever 2019, "Language Models are Unsupervised Multitask Learners".
//!
//! ```text
//!   ids (B, T)
//!    │ wte + wpe, dropout
//!    x (B, T, C) ──────────┐
//!    │ ln_1                │
//!    │ attn: c_attn → causal attention → c_proj, dropout
//!    + ◀───────────────────┤        ┐
//!    │ ln_2                │        │  × L
//!    │ mlp: c_fc → GELU → c_proj, dropout
//!    + ◀───────────────────┘        ┘
//!    │ ln_f
//!    │ wteᵀ (tied) or lm_head
//!   logits (B, T, V)
//! ```
//!
//! Departures: attention weights themselves are not dropped, because the fused kernel never stores them; biases can be
//! left out, as nanoGPT does.

use cloche_nn::embedding::unembed;
use cloche_nn::linear::{conv1d, linear};
use cloche_nn::norm::layer_norm;
use cloche_nn::{Init, Params};
use cloche_tensor::Tensor;

use crate::config::{Activation, Arch, ModelConfig};
use crate::{Model, Pass};

/// Registry row.
pub const MODEL: Model = Model { arch: Arch::Gpt2, name: "gpt2", body, norm, head };

/// Everything up to the last norm.
///
/// # Shapes
/// ids `(B, T)` of u32 → `(B, T, C)`
fn body(c: &ModelConfig, p: &Params, ids: &Tensor, pass: &Pass) -> Tensor {
    let p = p.at("transformer");
    let mut x = pass.dropout(embed(c, &p, ids, pass)).named("embedding"); // (B, T, C)
    for layer in 0..c.n_layer {
        x = pass.block_end(layer, block(c, &p.at("h").at(layer), &x, layer, pass));
    }
    x
}

/// # Shapes
/// x `(…, C)` → `(…, C)`
fn norm(c: &ModelConfig, p: &Params, x: &Tensor) -> Tensor {
    layer_norm(&p.at("transformer").at("ln_f"), x, c.bias, c.norm_eps)
}

/// Learned vectors of the tokens and of their positions, added.
///
/// # Shapes
/// ids `(B, T)` of u32 → `(B, T, C)`
fn embed(c: &ModelConfig, p: &Params, ids: &Tensor, pass: &Pass) -> Tensor {
    let tokens = p.at("wte").embedding("weight", (c.vocab_size, c.d_model), normal(c));
    let positions = p.at("wpe").embedding("weight", (c.context_len, c.d_model), normal(c));
    match pass.position() {
        Some(position) => tokens.embedding_sum(ids, &positions, &position.reshape(ids.shape())),
        None => tokens.embedding(ids) + positions.slice(0, 0, ids.dim(1)),
    }
}

/// # Shapes
/// x `(B, T, C)` → `(B, T, C)`
fn block(c: &ModelConfig, p: &Params, x: &Tensor, layer: usize, pass: &Pass) -> Tensor {
    let y = attention(c, &p.at("attn"), &layer_norm(&p.at("ln_1"), x, c.bias, c.norm_eps), layer, pass);
    let x = x + y;
    let y = mlp(c, &p.at("mlp"), &layer_norm(&p.at("ln_2"), &x, c.bias, c.norm_eps), pass);
    x + y
}

/// # Shapes
/// x `(B, T, C)` → `(B, T, C)`
fn attention(c: &ModelConfig, p: &Params, x: &Tensor, layer: usize, pass: &Pass) -> Tensor {
    let qkv = conv1d(&p.at("c_attn"), x, 3 * c.d_model, c.bias, normal(c)); // (B, T, 3C)
    let y = pass.attention(layer, &qkv, (c.n_head, c.n_head)); // (B, T, C)
    pass.dropout(conv1d(&p.at("c_proj"), &y, c.d_model, c.bias, residual(c)))
}

/// # Shapes
/// x `(B, T, C)` → `(B, T, C)`
fn mlp(c: &ModelConfig, p: &Params, x: &Tensor, pass: &Pass) -> Tensor {
    let h = conv1d(&p.at("c_fc"), x, c.d_ff, c.bias, normal(c)); // (B, T, F)
    let h = match c.activation {
        Activation::Gelu => h.gelu(),
        Activation::GeluTanh => h.gelu_tanh(),
        Activation::Silu => h.silu(),
    };
    pass.dropout(conv1d(&p.at("c_proj"), &h, c.d_model, c.bias, residual(c)))
}

/// # Shapes
/// x `(…, C)` → logits `(…, V)`
fn head(c: &ModelConfig, p: &Params, x: &Tensor) -> Tensor {
    match c.tied {
        true => unembed(&p.at("transformer").at("wte"), x, c.vocab_size, normal(c)),
        false => linear(&p.at("lm_head"), x, c.vocab_size, normal(c)),
    }
}

fn normal(c: &ModelConfig) -> Init {
    Init::Normal { std: c.init_std }
}

/// Two matrices in each layer add to the residual stream.
fn residual(c: &ModelConfig) -> Init {
    Init::residual(c.init_std, 2 * c.n_layer)
}
