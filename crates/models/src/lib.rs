//! Architectures, key/value cache, sampling and generation.
//!
//! Modules in reading order.

pub mod config;
mod gpt2;
mod llama;
mod pass;
mod kv_cache;
mod sample;
mod generate;

pub use generate::{Finish, GenerateError, GenerateSettings, Generator, Token, forward_logits};
pub use kv_cache::{KvCache, KvStates};
pub use pass::Pass;
pub use sample::Sampling;

use cloche_nn::{ParamSpec, Params};
use cloche_tensor::{DType, Graph, Tensor};

use config::{Arch, ModelConfig};

/// One row of the table of architectures. To record one is to call [`logits`].
pub struct Model {
    /// The architecture that a [`ModelConfig`] asks for.
    pub arch: Arch,
    /// Its name, which is also that of its file.
    pub name: &'static str,
    /// Ids `(B, T)` to the last hidden states `(B, T, C)`.
    pub body: fn(&ModelConfig, &Params, &Tensor, &Pass) -> Tensor,
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

/// Records a model on all positions.
///
/// # Shapes
/// ids `(B, T)` of u32 → logits `(B, T, V)`
///
/// # Panics
/// When `T` is more than `context_len`.
#[track_caller]
pub fn logits(config: &ModelConfig, p: &Params, ids: &Tensor, pass: &Pass) -> Tensor {
    let t = ids.dim(1);
    assert!(t <= config.context_len, "logits: {t} positions, the model has {}", config.context_len);
    let model = Model::of(config);
    (model.head)(config, p, &(model.body)(config, p, ids, pass)).named("logits")
}

/// The parameters of a model: their names, shapes and places, without recording it for keeps.
pub fn specs(config: &ModelConfig) -> Vec<ParamSpec> {
    let graph = Graph::new();
    let p = Params::new(&graph);
    logits(config, &p, &graph.input("ids", (1, 1), DType::U32), &Pass::eval());
    p.specs()
}
