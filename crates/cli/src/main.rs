//! Grow a language model from a command line.

fn main() {}
