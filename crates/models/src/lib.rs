//! Architectures, key/value cache, sampling and generation.

pub mod config;
