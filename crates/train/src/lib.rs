//! Data and stages: pre-training and what follows it.
//!
//! A stage is a function that reads from top to bottom and yields events; it does no I/O, so that it runs the same in a
//! page and on a command line.
//!
//! Modules in reading order.

pub mod data;
pub mod stories;
pub mod stage;
pub mod events;
