//! Cloche tensor engine: record, differentiate, compile, replay, on WebGPU and on the CPU.

pub mod rng;
