//! Two models that are small enough to be asked often.

use cloche_models::config::{ModelConfig, preset};
use cloche_models::{Network, specs};
use cloche_nn::Weights;
use cloche_tensor::Device;

/// Tokens of their vocabulary.
pub const V: usize = 29;

/// Two small models, one with grouped queries, with weights that are large enough for decided opinions.
pub fn models() -> [ModelConfig; 2] {
    let small = |name: &str| ModelConfig {
        vocab_size: V,
        context_len: 24,
        d_model: 32,
        d_ff: 48,
        d_head: 8,
        init_std: 0.3,
        ..preset(name).unwrap().model
    };
    [ModelConfig { bias: true, ..small("tiny") }, ModelConfig { n_kv_head: 2, ..small("llama-tiny") }]
}

/// One of them with weights.
pub fn network(device: &Device, config: &ModelConfig) -> Network {
    Network::new(*config, Weights::init(device, &specs(config), 7).unwrap())
}
