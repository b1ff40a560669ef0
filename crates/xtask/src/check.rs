//! The fast loop: cheapest checks first.

use crate::setup;
use crate::shell::{self, command};
use crate::test::{Report, Tally};
use anyhow::Result;
use std::process::{Command, ExitCode};

/// What would be left out by default: the stages as JavaScript sees them.
pub(crate) const FEATURES: &str = "cloche-wasm/stages";

/// Runs the static checks and the unit tests.
pub(crate) fn run() -> Result<ExitCode> {
    let mut report = Report::default();
    report.stage("static checks", statics);
    report.stage("unit tests", || {
        crate::test::cargo_tests(&["--workspace", "--features", FEATURES, "--lib", "--bins"], None)
    });
    report
        .stage("house rules", || crate::test::cargo_tests(&["--package", "cloche", "--test", "tidy"], None));
    Ok(report.close())
}

/// Formatting, lints and types; each counts as one.
pub(crate) fn statics() -> Result<Tally> {
    setup::node_packages()?;
    let tsc = "node_modules/typescript/bin/tsc";
    let checks: [Command; 6] = [
        command("cargo", &["fmt", "--all", "--check"]),
        command("node", &[tsc, "--noEmit", "-p", "pkg"]),
        command("node", &[tsc, "--noEmit", "-p", "pkg/elements"]),
        command("node", &[tsc, "--noEmit", "-p", "web"]),
        command("node", &[tsc, "--noEmit", "-p", "tests/browser"]),
        command(
            "cargo",
            &["clippy", "--workspace", "--features", FEATURES, "--all-targets", "--", "-D", "warnings"],
        ),
    ];
    Ok(each(checks))
}

/// Runs commands, all of them; each counts as one.
pub(crate) fn each(checks: impl IntoIterator<Item = Command>) -> Tally {
    let mut tally = Tally::default();
    for mut check in checks {
        match shell::run(&mut check) {
            Ok(()) => tally.passed += 1,
            Err(error) => {
                println!("FAILED: {error:#}");
                tally.failed += 1;
            }
        }
    }
    tally
}
