//! Data and stages: pre-training and what follows it.

pub mod data;
pub mod stories;
