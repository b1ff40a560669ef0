//! Layers, parameters by path, initialisation, low-rank adapters, quantised weights, losses, optimizers, schedules, checkpoints.
//!
//! A layer is a function: it takes [`Params`] at its own path and a tensor, declares what it needs, and returns a tensor.
//! Modules in reading order.

mod found;
mod params;
mod init;
mod weights;
pub mod linear;
pub mod embedding;
pub mod norm;
pub mod dropout;
pub mod lora;
mod quantize;
pub mod loss;
pub mod optim;
pub mod schedule;
pub mod checkpoint;

pub use found::Found;
pub use init::Init;
pub use params::{Kind, PARAM_ALIGN, ParamSpec, Params};
pub use quantize::{
    GROUP, HostQuantized, Precision, QuantizeError, QuantizedWeights, StoredLayer, Substitute,
};
pub use weights::{HostWeights, Weights, WeightsError, specs_without};
