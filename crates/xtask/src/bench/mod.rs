//! Measurements that can be believed: results are compared before anything is timed, what is compared is timed in turns, in
//! the same run, and tables come from the program that measured.

mod contest;
mod contestant;
mod machine;
mod options;
mod report;
mod row;

use crate::shell::{command, find_program, root, run};
use crate::{setup, wasm};
use anyhow::{Result, bail};
use contest::{Contest, Reference};
use contestant::Contestant;
use options::Options;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What every benchmark measures first, besides its own: the ceilings of each device.
const CEILINGS: [&str; 2] = ["product 512×512×512", "copy, 16 MiB"];

/// Runs one benchmark; with no name, both native ones.
pub(crate) fn run_named(args: &[&str]) -> Result<()> {
    let (name, options) = Options::parse(args)?;
    match name {
        None => ops(&options).and_then(|()| step(&options)),
        Some("ops") => ops(&options),
        Some("step") => step(&options),
        Some("web") => web(&options),
        Some("peers") => peers(&options),
        Some("card") => card(&options),
        Some("decode") => decode(),
        Some(other) => bail!("`bench` measures ops, step, decode, web, peers or card, not `{other}`"),
    }
}

/// The operations natively: on one thread, on all of them, and on the adapter.
fn ops(options: &Options) -> Result<()> {
    let program = native_program(options)?;
    let mut contestants = natives(&program)?;
    contestants.extend(Contestant::start("the adapter", Command::new(&program).arg("gpu"))?);
    let contest = Contest { contestants, reference: Reference::SameDevice, options };
    report::show("ops", &contest.run(|case| !case.starts_with("training step"))?, options)
}

/// Training steps natively and in wasm, against PyTorch.
fn step(options: &Options) -> Result<()> {
    let program = native_program(options)?;
    wasm::build_checks()?;
    let mut contestants = natives(&program)?;
    for which in ["node", "node all", "chromium cpu", "chromium cpu all"] {
        contestants.extend(page(which, options)?);
    }
    contestants.extend(torch(&program, options, 1)?);
    contestants.extend(torch(&program, options, threads())?);
    let contest = Contest { contestants, reference: Reference::Any, options };
    let wanted = |case: &str| {
        CEILINGS.contains(&case) || (case.starts_with("training step") && !case.ends_with("by Adam"))
    };
    report::show("step", &contest.run(wanted)?, options)
}

/// Operations and the step of `nano` in Chromium and in Firefox, on the CPU and on WebGPU, and in Node.
fn web(options: &Options) -> Result<()> {
    wasm::build_checks()?;
    let mut contestants = Vec::new();
    for which in WEB {
        contestants.extend(page(which, options)?);
    }
    let contest = Contest { contestants, reference: Reference::SameDevice, options };
    let wanted = |case: &str| !case.starts_with("training step") || case == "training step of nano";
    report::show("web", &contest.run(wanted)?, options)
}

/// Where `tests/browser/bench.js` can run the module of the tests.
const WEB: [&str; 9] = [
    "chromium plain",
    "chromium cpu",
    "chromium cpu all",
    "chromium webgpu",
    "firefox cpu",
    "firefox cpu all",
    "firefox webgpu",
    "node",
    "node all",
];

/// The step of `nano` by other libraries, in the same browser, and by PyTorch.
fn peers(options: &Options) -> Result<()> {
    let program = native_program(options)?;
    wasm::build_checks()?;
    let folder = root().join("tests/bench/peers");
    if !folder.join("node_modules/.package-lock.json").is_file() {
        run(command("npm", &["ci", "--no-audit", "--no-fund"]).current_dir(&folder))?;
    }
    let exported = export(&program, "nano")?;
    let tools = setup::tools()?;
    let mut contestants = Vec::new();
    for which in PEERS {
        let mut peer = Command::new(&options.node);
        peer.arg("tests/bench/peers/main.js").arg(which).arg(&exported);
        peer.env("CLOCHE_CHROMIUM", &tools.chromium);
        contestants.extend(Contestant::start(which, &mut peer)?);
    }
    contestants.extend(torch(&program, options, threads())?);
    let contest = Contest { contestants, reference: Reference::SameDevice, options };
    let wanted = |case: &str| CEILINGS.contains(&case) || case == "training step of nano by Adam";
    report::show("peers", &contest.run(wanted)?, options)
}

/// What fills a graphics card, natively, against PyTorch on the same one. Without `--program` the contestant is built first; a
/// machine with a card often has no compiler.
fn card(options: &Options) -> Result<()> {
    let program = native_program(options)?;
    let mut contestants =
        Vec::from_iter(Contestant::start("the adapter", Command::new(&program).arg("card"))?);
    if let Some(python) = python(options) {
        let mut torch = Command::new(python);
        torch.args(["tests/bench/torch_contestant.py", "--device", "cuda"]);
        for model in ["nano", "gpt2"] {
            torch.arg(format!("--export={model}={}", export(&program, model)?.display()));
        }
        contestants.extend(Contestant::start("PyTorch", &mut torch)?);
    }
    let contest = Contest { contestants, reference: Reference::Any, options };
    report::show("card", &contest.run(|case| !case.ends_with("by Adam"))?, options)
}

/// What `tests/bench/peers/main.js` can run, each in a page of its own.
const PEERS: [&str; 9] = [
    "cloche wasm 1",
    "cloche wasm all",
    "cloche webgpu",
    "jax wasm 1",
    "jax wasm all",
    "jax webgpu",
    "tf wasm 1",
    "tf wasm all",
    "tf webgpu",
];

/// Tokens a second, by the example that measures it.
fn decode() -> Result<()> {
    run(&mut command(
        "cargo",
        &["run", "--release", "--package", "cloche-models", "--example", "decode", "--", "gpt2"],
    ))
}

/// The contestant that runs natively, built unless it is given.
fn native_program(options: &Options) -> Result<PathBuf> {
    if let Some(program) = &options.program {
        return Ok(program.clone());
    }
    run(&mut command(
        "cargo",
        &["build", "--release", "--package", "cloche-models", "--example", "contestant"],
    ))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    Ok(target.join("release/examples/contestant"))
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// On one thread and on all of them.
fn natives(program: &Path) -> Result<Vec<Contestant>> {
    let mut found = Vec::new();
    for count in if threads() > 1 { vec![1, threads()] } else { vec![1] } {
        let mut native = Command::new(program);
        native.arg("cpu").env("RAYON_NUM_THREADS", count.to_string());
        found.extend(Contestant::start("native", &mut native)?);
    }
    Ok(found)
}

/// The wasm module of the tests in Node or in a browser.
fn page(which: &str, options: &Options) -> Result<Option<Contestant>> {
    let mut node = Command::new(&options.node);
    node.arg("tests/browser/bench.js").args(which.split(' '));
    if !which.starts_with("node") {
        let tools = setup::tools()?;
        node.env("CLOCHE_CHROMIUM", &tools.chromium).env("CLOCHE_FIREFOX", &tools.firefox);
        node.env("CLOCHE_LAVAPIPE", &tools.lavapipe);
    }
    Contestant::start(which, &mut node)
}

/// PyTorch, from the same weights and on the same batches.
fn torch(program: &Path, options: &Options, threads: usize) -> Result<Option<Contestant>> {
    let Some(python) = python(options) else { return Ok(None) };
    let mut torch = Command::new(python);
    torch.args(["tests/bench/torch_contestant.py", "--threads", &threads.to_string()]);
    for model in ["nano", "small"] {
        torch.arg(format!("--export={model}={}", export(program, model)?.display()));
    }
    Contestant::start("PyTorch", &mut torch)
}

/// A Python that may have PyTorch; nothing, and a line that says so, where there is none.
fn python(options: &Options) -> Option<PathBuf> {
    let python = options.python.clone().or_else(|| find_program(&["python3", "python"]));
    if python.is_none() {
        println!("SKIPPED PyTorch: install Python, then `pip install torch safetensors numpy`");
    }
    python
}

/// The weights and batches that other libraries begin with.
fn export(program: &Path, model: &str) -> Result<PathBuf> {
    let folder = root().join("target/bench").join(model);
    let mut export = Command::new(program);
    run(export.arg("export").arg(model).arg(&folder))?;
    Ok(folder)
}

/// An order to open a case.
fn open(case: &str) -> serde_json::Value {
    json!({ "open": case })
}
