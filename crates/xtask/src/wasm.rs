//! The two wasm modules: cargo, then wasm-bindgen, then wasm-opt.

use crate::setup;
use crate::shell::{command, output, root, run};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;
use wasm_bindgen_cli_support::Bindgen;

/// A module as it is shipped.
struct Module {
    /// Its name in `pkg/dist/wasm`.
    name: &'static str,
    /// The crate it is built from.
    package: &'static str,
    /// How wasm-opt treats it.
    optimize: &'static str,
    /// The most it may weigh, compressed with brotli.
    budget: u64,
}

const MODULES: [Module; 2] = [
    Module { name: "engine", package: "cloche-wasm", optimize: "-O3", budget: 250 * 1024 },
    Module { name: "text", package: "cloche-wasm-text", optimize: "-Oz", budget: 550 * 1024 },
];

/// What the modules may use of WebAssembly: all of it is in every browser that has WebGPU, and in those of 2023.
const FEATURES: [&str; 6] = [
    "--enable-simd",
    "--enable-bulk-memory",
    "--enable-nontrapping-float-to-int",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-reference-types",
];

/// Where the modules go.
fn out_dir() -> PathBuf {
    root().join("pkg/dist/wasm")
}

/// Builds both modules and prints what they weigh.
pub(crate) fn build() -> Result<()> {
    setup::wasm_target()?;
    setup::node_packages()?;
    // One call of cargo for each: built together, one would carry features that only the other needs.
    for module in &MODULES {
        let target = ["--target", "wasm32-unknown-unknown", "--profile", "wasm"];
        run(command("cargo", &["build", "--package", module.package]).args(target))?;
        bind(module)?;
    }
    for (module, size) in MODULES.iter().zip(sizes()?) {
        println!("{}: {} KB of {} KB (brotli)", module.name, size / 1024, module.budget / 1024);
    }
    Ok(())
}

/// The modules over their budget, each as a sentence, and the number of those within.
pub(crate) fn check_sizes() -> Result<(Vec<String>, usize)> {
    let over = MODULES.iter().zip(sizes()?).filter(|(module, size)| *size > module.budget);
    let over: Vec<_> = over
        .map(|(module, size)| format!("{} weighs {size} bytes, its budget is {}", module.name, module.budget))
        .collect();
    let within = MODULES.len() - over.len();
    Ok((over, within))
}

/// Writes the JavaScript face of a module and shrinks it.
fn bind(module: &Module) -> Result<()> {
    let target_dir = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    let built = format!("wasm32-unknown-unknown/wasm/{}.wasm", module.package.replace('-', "_"));
    let mut bindgen = Bindgen::new();
    bindgen
        .input_path(target_dir.join(built))
        .out_name(module.name)
        .typescript(true)
        .omit_default_module_path(false)
        .web(true)?;
    bindgen.generate(out_dir()).with_context(|| format!("wasm-bindgen on {}", module.package))?;

    // On the output of bindgen, because it still needs the sections that this removes.
    let wasm = out_dir().join(format!("{}_bg.wasm", module.name));
    let path = wasm.to_str().context("the repository's path is not UTF-8")?;
    let before = fs::metadata(&wasm)?.len();
    let optimize = ["node_modules/binaryen/bin/wasm-opt", path, "-o", path, module.optimize, "--strip-debug"];
    run(command("node", &optimize).arg("--strip-producers").args(FEATURES))?;
    if fs::metadata(&wasm)?.len() > before {
        bail!("wasm-opt made {} larger", wasm.display());
    }
    Ok(())
}

/// Compressed sizes, measured by Node, which has brotli built in.
fn sizes() -> Result<Vec<u64>> {
    let script = "for (const f of process.argv.slice(1)) \
        console.log(require('zlib').brotliCompressSync(require('fs').readFileSync(f)).length)";
    let files: Vec<String> =
        MODULES.iter().map(|module| format!("pkg/dist/wasm/{}_bg.wasm", module.name)).collect();
    let mut args = vec!["--eval", script, "--"];
    args.extend(files.iter().map(String::as_str));
    let printed = output("node", &args).context("node could not read the wasm modules")?;
    printed.lines().map(|line| Ok(line.parse()?)).collect()
}
