//! Llama: Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models", <https://arxiv.org/abs/2302.13971>;
//! grouped queries as in Llama 2, <https://arxiv.org/abs/2307.09288>.
//!
//! ```text
//!   ids (B, T)
//!    │ embed_tokens
//!    x (B, T, C) ──────────┐
//!    │ input_layernorm     │
//!    │ self_attn: q, k, v → RoPE on q and k → causal attention → o
//!    + ◀───────────────────┤        ┐
//!    │ post_attention_layernorm     │  × L
//!    │ mlp: down(SiLU(gate) · up)   │
//!    + ◀───────────────────┘        ┘
//!    │ norm
//!    │ lm_head, or embed_tokensᵀ (tied)
//!   logits (B, T, V)
//! ```
//!
//! Departure: small models on little data need dropout, which Llama does not have; here it can be set, at the three
//! places where GPT-2 has it.

use cloche_nn::embedding::{embedding, unembed};
use cloche_nn::linear::linear;
use cloche_nn::norm::rms_norm;
use cloche_nn::{Init, Params};
use cloche_tensor::ops::rope::inverse_frequencies;
use cloche_tensor::{Tensor, cat};

use crate::config::{Arch, ModelConfig};
use crate::{Model, Pass};

/// Registry row.
pub const MODEL: Model = Model { arch: Arch::Llama, name: "llama", body, norm, head };

/// Everything up to the last norm.
///
/// # Shapes
/// ids `(B, T)` of u32 → `(B, T, C)`
fn body(c: &ModelConfig, p: &Params, ids: &Tensor, pass: &Pass) -> Tensor {
    let p = p.at("model");
    let tokens = embedding(&p.at("embed_tokens"), ids, (c.vocab_size, c.d_model), normal(c)); // (B, T, C)
    let mut x = pass.dropout(tokens).named("embedding");
    for layer in 0..c.n_layer {
        x = pass.block_end(layer, block(c, &p.at("layers").at(layer), &x, layer, pass));
    }
    x
}

/// # Shapes
/// x `(…, C)` → `(…, C)`
fn norm(c: &ModelConfig, p: &Params, x: &Tensor) -> Tensor {
    rms_norm(&p.at("model").at("norm"), x, c.norm_eps)
}

/// # Shapes
/// x `(B, T, C)` → `(B, T, C)`
fn block(c: &ModelConfig, p: &Params, x: &Tensor, layer: usize, pass: &Pass) -> Tensor {
    let y = attention(c, &p.at("self_attn"), &rms_norm(&p.at("input_layernorm"), x, c.norm_eps), layer, pass);
    let x = x + y;
    let y = mlp(c, &p.at("mlp"), &rms_norm(&p.at("post_attention_layernorm"), &x, c.norm_eps), pass);
    x + y
}

/// # Shapes
/// x `(B, T, C)` → `(B, T, C)`
fn attention(c: &ModelConfig, p: &Params, x: &Tensor, layer: usize, pass: &Pass) -> Tensor {
    let (b, t, heads) = (x.dim(0), x.dim(1), c.n_head + 2 * c.n_kv_head);
    let project = |name: &str, heads: usize| linear(&p.at(name), x, heads * c.d_head, normal(c));
    let q = project("q_proj", c.n_head); // (B, T, H·D)
    let (k, v) = (project("k_proj", c.n_kv_head), project("v_proj", c.n_kv_head)); // (B, T, G·D)
    let qkv = cat(&[q, k, v], 2).reshape((b, t, heads, c.d_head)); // (B, T, H + 2G, D)
    // The heads of q and k turn with their position; those of v behind them do not.
    let frequencies = inverse_frequencies(c.d_head, c.rope_theta as f64);
    let qkv = qkv.rope_heads(pass.position(), &frequencies, c.n_head + c.n_kv_head);
    let y = pass.attention(layer, &qkv.reshape((b, t, heads * c.d_head)), (c.n_head, c.n_kv_head)); // (B, T, H·D)
    pass.dropout(linear(&p.at("o_proj"), &y, c.d_model, normal(c)))
}

/// SwiGLU: Shazeer 2020, "GLU Variants Improve Transformer", <https://arxiv.org/abs/2002.05202>.
///
/// # Shapes
/// x `(B, T, C)` → `(B, T, C)`
fn mlp(c: &ModelConfig, p: &Params, x: &Tensor, pass: &Pass) -> Tensor {
    let gate = linear(&p.at("gate_proj"), x, c.d_ff, normal(c)).silu(); // (B, T, F)
    let up = linear(&p.at("up_proj"), x, c.d_ff, normal(c)); // (B, T, F)
    pass.dropout(linear(&p.at("down_proj"), &(gate * up), c.d_model, normal(c)))
}

/// # Shapes
/// x `(…, C)` → logits `(…, V)`
fn head(c: &ModelConfig, p: &Params, x: &Tensor) -> Tensor {
    match c.tied {
        true => unembed(&p.at("model").at("embed_tokens"), x, c.vocab_size, normal(c)),
        false => linear(&p.at("lm_head"), x, c.vocab_size, normal(c)),
    }
}

fn normal(c: &ModelConfig) -> Init {
    Init::Normal { std: c.init_std }
}
