//! Data and stages: pre-training and what follows it.
//!
//! A stage is a function that reads from top to bottom and yields events; it does no I/O, so that it runs the same in a
//! page and on a command line.
//!
//! Modules in reading order.

pub mod data;
pub mod stories;
pub mod split;
pub mod lessons;
pub mod tasks;
pub mod rate;
pub mod honesty;
pub mod stage;
pub mod events;
pub mod settings;
pub mod pretrain;
mod step;
pub mod examples;
mod mixture;
pub mod packing;
pub mod select;
pub mod learner;
mod pace;
mod session;
pub mod rollout;
pub mod sft;
pub mod judge;
pub mod reward;
mod likelihood;
pub mod dpo;
pub mod distill;
pub mod cost;
pub mod evaluate;
pub mod advantage;
mod policy;
pub mod grpo;
pub mod ppo;
pub mod remarks;
pub mod calibration;
pub mod checkpoint;
#[cfg(not(target_arch = "wasm32"))]
pub mod store;
pub mod reference;
mod error;

pub use error::{Error, bytes_in_words};
