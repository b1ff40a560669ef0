//! Layers, parameters by path, initialisation, losses, optimizers, schedules, checkpoints.

pub mod checkpoint;
