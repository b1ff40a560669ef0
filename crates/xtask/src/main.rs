//! Developer commands: start, test, check, bench, pack.
//!
//! Each command installs what it lacks, or says in one sentence what to install.

mod bench;
mod check;
mod gemm;
mod names;
mod package;
mod setup;
mod shell;
mod size;
mod test;
mod threads;
mod wasm;

use anyhow::{Result, bail};
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  start [--port N] [--no-serve]   set everything up, build the page and serve it on 127.0.0.1 (port 4173)
  test [--quick]                  set everything up and run all tests: native (CPU and software Vulkan),
                                  Chromium, Firefox and Node; --quick leaves the browsers out
  check                           the fast loop: formatting, clippy, types, the house rules, unit tests
  bench [NAME] [--json] [--write] measure ops, step, decode, web or peers; see BENCHMARKS.md
  wasm [--checks]                 build the wasm modules into pkg/dist/wasm and print their sizes, or the one
                                  that tests/browser loads
  pack                            build the npm package and pack it into a .tgz
  help                            this text

`start` and `test` work in a fresh clone on a machine that has Rust and Node.";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\n{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[&str]) -> Result<ExitCode> {
    match args {
        ["start", options @ ..] => package::start(&StartOptions::parse(options)?)?,
        ["test"] => return test::run(false),
        ["test", "--quick"] => return test::run(true),
        ["check"] => return check::run(),
        ["bench", rest @ ..] => bench::run_named(rest)?,
        ["wasm"] => wasm::build()?,
        ["wasm", "--checks"] => wasm::build_checks()?,
        ["pack"] => package::pack()?,
        [] | ["help" | "--help" | "-h"] => println!("{HELP}"),
        other => bail!("there is no `cargo xtask {}`\n\n{HELP}", other.join(" ")),
    }
    Ok(ExitCode::SUCCESS)
}

/// What `start` may be told.
pub(crate) struct StartOptions {
    /// The port on 127.0.0.1.
    pub(crate) port: u16,
    /// Whether to stay and serve, or to build only.
    pub(crate) serve: bool,
}

impl StartOptions {
    fn parse(mut args: &[&str]) -> Result<Self> {
        let mut options = Self { port: 4173, serve: true };
        while let [first, rest @ ..] = args {
            args = match (*first, rest) {
                ("--no-serve", rest) => {
                    options.serve = false;
                    rest
                }
                ("--port", [port, rest @ ..]) => {
                    options.port = port.parse()?;
                    rest
                }
                _ => bail!("`start` takes --port N and --no-serve, not `{first}`"),
            };
        }
        Ok(options)
    }
}
