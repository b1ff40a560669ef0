//! All tests, stage by stage, and one closing line.

use crate::setup::{self, Tools};
use crate::shell::{command, output, watch};
use crate::{check, package, size, wasm};
use anyhow::{Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// Everything but the documentation's examples, which nextest does not run.
const ALL_TESTS: [&str; 6] = ["--workspace", "--features", check::FEATURES, "--lib", "--bins", "--tests"];

/// How many checks held and how many did not.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

/// The stages so far.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<String>,
    total: Tally,
}

impl Report {
    /// Runs a stage; one that cannot run at all counts as one failure, and the next stages still run.
    pub(crate) fn stage(&mut self, name: &str, stage: impl FnOnce() -> Result<Tally>) {
        println!("\n=== {name}");
        let started = Instant::now();
        let tally = stage().unwrap_or_else(|error| {
            println!("FAILED: {error:#}");
            Tally { passed: 0, failed: 1 }
        });
        let seconds = started.elapsed().as_secs_f32();
        let line =
            format!("{name:<24} {:>5} passed {:>4} failed {seconds:>7.1} s", tally.passed, tally.failed);
        println!("--- {line}");
        self.lines.push(line);
        self.total.passed += tally.passed;
        self.total.failed += tally.failed;
    }

    /// Prints all stages and the closing line.
    pub(crate) fn close(self) -> ExitCode {
        println!("\n{}\n\n{} passed, {} failed", self.lines.join("\n"), self.total.passed, self.total.failed);
        if self.total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Sets everything up and runs all stages; `quick` leaves the browsers out.
pub(crate) fn run(quick: bool) -> Result<ExitCode> {
    let mut report = Report::default();
    setup::wasm_target()?;
    setup::node_packages()?;
    let tools = setup::tools()?;
    report.stage("static checks", check::statics);
    report.stage("native", || cargo_tests(&ALL_TESTS, Some(&tools.lavapipe)));
    report.stage("documentation", || cargo_test(&["--workspace", "--doc"], Some(&tools.lavapipe)));
    report.stage("build for the web", build);
    report.stage("size", sizes);
    report.stage("package", || package_tests(&tools));
    report.stage("node", || browser_tests("node", &tools));
    if !quick {
        report.stage("chromium", || browser_tests("chromium", &tools));
        report.stage("firefox", || browser_tests("firefox", &tools));
        report.stage("page", || browser_tests("page", &tools));
        report.stage("teaching in a page", || browser_tests("teach", &tools));
        report.stage("packaging", || browser_tests("packaging", &tools));
    }
    Ok(report.close())
}

fn build() -> Result<Tally> {
    wasm::build()?;
    wasm::build_checks()?;
    package::page()?;
    Ok(Tally { passed: 1, failed: 0 })
}

fn sizes() -> Result<Tally> {
    let (over, passed) = size::check()?;
    for sentence in &over {
        println!("FAILED: {sentence}");
    }
    Ok(Tally { passed, failed: over.len() })
}

/// Tests of the Rust crates, by nextest where it is installed; `driver` is the Vulkan driver they run on.
pub(crate) fn cargo_tests(args: &[&str], driver: Option<&Path>) -> Result<Tally> {
    if output("cargo", &["nextest", "--version"]).is_none() {
        return cargo_test(args, driver);
    }
    let nextest = command("cargo", &["nextest", "run", "--no-fail-fast", "--no-tests", "pass"]);
    count(nextest, args, driver, |line| {
        // Summary [   0.123s] 5 tests run: 4 passed, 1 failed, 2 skipped
        line.trim_start().strip_prefix("Summary [")?.split_once("run: ").map(|(_, counts)| tally_of(counts))
    })
}

/// The same by cargo's own runner.
fn cargo_test(args: &[&str], driver: Option<&Path>) -> Result<Tally> {
    count(command("cargo", &["test", "--no-fail-fast"]), args, driver, |line| {
        // test result: ok. 4 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s
        line.strip_prefix("test result: ")?.split_once(". ").map(|(_, counts)| tally_of(counts))
    })
}

/// Runs a test program and adds up the summaries that `summary` finds in its output.
fn count(
    mut tests: Command,
    args: &[&str],
    driver: Option<&Path>,
    summary: impl Fn(&str) -> Option<Tally>,
) -> Result<Tally> {
    if let (Some(driver), None) = (driver, std::env::var_os("VK_DRIVER_FILES")) {
        tests.env("VK_DRIVER_FILES", driver);
    }
    let mut tally = Tally::default();
    let mut found = false;
    let ended_well = watch(tests.args(args), |line| {
        let Some(found_here) = summary(line) else { return };
        found = true;
        tally.passed += found_here.passed;
        tally.failed += found_here.failed;
    })?;
    if !found {
        bail!("the tests did not get as far as a summary");
    }
    if !ended_well && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}

/// The package as others see it, and its own tests in Node's runner.
fn package_tests(tools: &Tools) -> Result<Tally> {
    package::compile()?;
    let linted = package::lint();
    let files = fs::read_dir("pkg/tests")?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let mut tests = command("node", &["--test", "--test-reporter=tap"]);
    tests.args(files).env("VK_ICD_FILENAMES", &tools.swiftshader);
    let tested = count(tests, &[], None, |line| {
        let failed = usize::from(line.starts_with("not ok "));
        let passed = usize::from(line.starts_with("ok "));
        (passed + failed > 0).then_some(Tally { passed, failed })
    })?;
    Ok(Tally { passed: linted.passed + tested.passed, failed: linted.failed + tested.failed })
}

/// One of the stacks of `tests/browser`.
fn browser_tests(stack: &str, tools: &Tools) -> Result<Tally> {
    let mut tests = command("node", &["tests/browser/run.js", stack]);
    tests.env("CLOCHE_CHROMIUM", &tools.chromium).env("CLOCHE_FIREFOX", &tools.firefox);
    tests.env("CLOCHE_LAVAPIPE", &tools.lavapipe).env("CLOCHE_SWIFTSHADER", &tools.swiftshader);
    count(tests, &[], None, |line| line.strip_prefix("total: ").map(tally_of))
}

/// What a summary such as `4 passed, 1 failed, 2 skipped` says. A test that does not run shows nothing: it counts
/// against us.
fn tally_of(counts: &str) -> Tally {
    let failures = ["failed", "ignored", "skipped", "timed out"].map(|word| number_before(counts, word));
    Tally { passed: number_before(counts, "passed"), failed: failures.iter().sum() }
}

/// The number that stands before a word: 3 for `failed` in `1 passed, 3 failed`.
fn number_before(counts: &str, word: &str) -> usize {
    let before = counts.split_once(word).map_or("", |(before, _)| before.trim_end());
    before.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::number_before;

    #[test]
    fn summaries_of_both_runners_are_understood() {
        assert_eq!(number_before("128 passed (2 slow), 3 failed, 0 skipped", "passed"), 128);
        assert_eq!(number_before("128 passed (2 slow), 3 failed, 0 skipped", "failed"), 3);
        assert_eq!(number_before("4 passed; 1 failed; 2 ignored; 0 measured", "ignored"), 2);
        assert_eq!(number_before("4 passed", "failed"), 0);
    }
}
