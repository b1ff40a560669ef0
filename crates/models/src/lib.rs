//! Architectures, adapters, key/value cache, sampling and generation.
//!
//! Modules in reading order.

pub mod config;
mod gpt2;
mod llama;
mod pass;
mod network;
mod quantized;
mod lora;
pub mod peft;
mod kv_cache;
mod sample;
mod generate;
pub mod probe;
pub mod bench;

pub use cloche_nn::lora::{LoraConfig, LoraError};
pub use cloche_nn::{Precision, QuantizeError};
pub use generate::batcher::{Batcher, Ended};
pub use generate::{Finish, GenerateError, GenerateSettings, Generator, Token, forward_logits};
pub use kv_cache::{KvCache, KvStates};
pub use lora::{Adapter, AdapterError, Base};
pub use network::Network;
pub use pass::Pass;
pub use quantized::QuantizedModel;
pub use sample::Sampling;

use cloche_nn::linear::linear;
use cloche_nn::{Init, ParamSpec, Params};
use cloche_tensor::{DType, Graph, Tensor};

use config::{Arch, ModelConfig};

/// One row of the table of architectures. To record one is to call [`logits`].
pub struct Model {
    /// The architecture that a [`ModelConfig`] asks for.
    pub arch: Arch,
    /// Its name, which is also that of its file.
    pub name: &'static str,
    /// Ids `(B, T)` to what the last layer makes of them, `(B, T, C)`.
    pub body: fn(&ModelConfig, &Params, &Tensor, &Pass) -> Tensor,
    /// The last norm, `(…, C)` to `(…, C)`.
    pub norm: fn(&ModelConfig, &Params, &Tensor) -> Tensor,
    /// Hidden states `(…, C)` to logits `(…, V)`.
    pub head: fn(&ModelConfig, &Params, &Tensor) -> Tensor,
}

/// All architectures, in the order in which to read them.
pub const MODELS: &[Model] = &[gpt2::MODEL, llama::MODEL];

impl Model {
    /// The architecture of a configuration.
    pub fn of(config: &ModelConfig) -> &'static Model {
        MODELS.iter().find(|m| m.arch == config.arch).expect("every architecture has a row in MODELS")
    }
}

/// Records the body of a model on all positions: everything but a head.
///
/// # Shapes
/// ids `(B, T)` of u32 → the last hidden states `(B, T, C)`
///
/// # Panics
/// When `T` is more than `context_len`.
#[track_caller]
pub fn hidden(config: &ModelConfig, p: &Params, ids: &Tensor, pass: &Pass) -> Tensor {
    let t = ids.dim(1);
    assert!(t <= config.context_len, "ids: {t} positions, the model has {}", config.context_len);
    let (model, p) = (Model::of(config), pass.params(p));
    let x = (model.body)(config, &p, ids, pass);
    (model.norm)(config, &p, &x).named("hidden")
}

/// Records a model on all positions.
///
/// # Shapes
/// ids `(B, T)` of u32 → logits `(B, T, V)`
///
/// # Panics
/// When `T` is more than `context_len`.
#[track_caller]
pub fn logits(config: &ModelConfig, p: &Params, ids: &Tensor, pass: &Pass) -> Tensor {
    let x = hidden(config, p, ids, pass); // (B, T, C)
    (Model::of(config).head)(config, &pass.params(p), &x).named("logits")
}

/// Records a model that judges, at each position, what it has read so far: a reward model, or a critic.
///
/// Its head is a linear layer to one number, without a bias, as in Hugging Face's classes for sequence classification.
///
/// # Shapes
/// ids `(B, T)` of u32 → `(B, T)`
///
/// # Panics
/// When `T` is more than `context_len`.
#[track_caller]
pub fn score(config: &ModelConfig, p: &Params, ids: &Tensor, pass: &Pass) -> Tensor {
    let x = hidden(config, p, ids, pass); // (B, T, C)
    let y = linear(&pass.params(p).at("score"), &x, 1, Init::Normal { std: config.init_std }); // (B, T, 1)
    y.reshape((ids.dim(0), ids.dim(1))).named("score")
}

/// The parameters of a model: their names, shapes and places, without recording it for keeps.
pub fn specs(config: &ModelConfig) -> Vec<ParamSpec> {
    record(config, &[logits]).specs()
}

/// As [`specs`], of the model that [`score`] records.
pub fn score_specs(config: &ModelConfig) -> Vec<ParamSpec> {
    record(config, &[score]).specs()
}

/// [`logits`] or [`score`].
type Recording = fn(&ModelConfig, &Params, &Tensor, &Pass) -> Tensor;

/// Records a model under some heads, for what its parameters tell.
fn record(config: &ModelConfig, heads: &[Recording]) -> Params {
    let graph = Graph::new();
    let (p, ids) = (Params::new(&graph), graph.input("ids", (1, 1), DType::U32));
    heads.iter().for_each(|head| drop(head(config, &p, &ids, &Pass::eval())));
    p
}
