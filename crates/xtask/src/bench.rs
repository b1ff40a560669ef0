//! Measurements: the operations, a whole training step, and both in a browser.

use crate::shell::{command, run};
use crate::{setup, wasm};
use anyhow::{Result, bail};

/// Runs one benchmark; with no name, both native ones.
pub(crate) fn run_named(args: &[&str]) -> Result<()> {
    match args {
        [] => ["ops", "step"].into_iter().try_for_each(native),
        ["ops" | "step"] => native(args[0]),
        ["web"] => web(),
        _ => bail!("`bench` measures ops, step or web, not `{}`", args.join(" ")),
    }
}

fn native(name: &str) -> Result<()> {
    let (package, example) = match name {
        "ops" => ("cloche-tensor", "bench"),
        _ => ("cloche-models", "step"),
    };
    run(&mut command("cargo", &["run", "--release", "--package", package, "--example", example]))
}

/// The same measurements in Chromium.
fn web() -> Result<()> {
    let tools = setup::tools()?;
    wasm::build_checks()?;
    run(command("node", &["tests/browser/bench.js"]).env("CLOCHE_CHROMIUM", &tools.chromium))
}
