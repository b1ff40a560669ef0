//! Developer commands: start, test, check, bench.

fn main() {}
