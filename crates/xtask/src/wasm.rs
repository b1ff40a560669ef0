//! The wasm modules: cargo, then wasm-bindgen, then wasm-opt, and esbuild for what wasm-bindgen writes.

use crate::shell::{command, root, run};
use crate::{gemm, names, setup, size, threads};
use anyhow::{Context, Result};
use std::path::PathBuf;
use wasm_bindgen_cli_support::{Bindgen, EncodeInto};

/// A module that is built.
struct Module {
    /// What its files are called.
    name: &'static str,
    /// The crate it is built from.
    package: &'static str,
    /// What that crate is asked to include.
    features: &'static str,
    /// Where it goes.
    folder: &'static str,
    /// How wasm-opt treats it.
    optimize: &'static str,
}

const ENGINE: Module =
    Module { name: "engine", package: "cloche-wasm", features: "", folder: "pkg/dist/wasm", optimize: "-O3" };

/// The engine with the stages after pre-training, which a page loads in its place when it wants them.
const TEACH: Module = Module { name: "teach", features: "stages", ..ENGINE };

const TEXT: Module = Module {
    name: "text",
    package: "cloche-wasm-text",
    features: "",
    folder: "pkg/dist/wasm",
    optimize: "-Oz",
};

const STORIES: Module = Module {
    name: "stories",
    package: "cloche-wasm-stories",
    features: "",
    folder: "pkg/dist/wasm",
    optimize: "-Oz",
};

/// The engine with the stages, its checks and its measurements, which only `tests/browser` loads.
const CHECKS: Module = Module { features: "checks,stages", folder: "target/wasm-checks", ..ENGINE };

/// The modules of the package, and the most that each may weigh, compressed with brotli.
const SHIPPED: [(Module, u64); 4] =
    [(ENGINE, 250 * 1024), (TEACH, 448 * 1024), (TEXT, 550 * 1024), (STORIES, 80 * 1024)];

/// What the modules may use of WebAssembly: all of it is in every browser that has WebGPU, and in those of 2023.
const FEATURES: [&str; 6] = [
    "--enable-simd",
    "--enable-bulk-memory",
    "--enable-nontrapping-float-to-int",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-reference-types",
];

/// No module keeps anything in the first kilobyte, which is the far end of the stack. So a sum of an address and a small
/// number never wraps, and the number can become part of the instruction that loads or stores.
pub(crate) const LOW_MEMORY_UNUSED: &str = "--low-memory-unused";

/// Loops address arrays as they are written. Loop strength reduction gives each array a pointer of its own and splits sums of
/// constants, which costs a processor nothing but browsers an addition for each access: products take a fifth more time by it,
/// and modules a hundredth more bytes.
pub(crate) const PLAIN_LOOPS: &str = "-Cllvm-args=-disable-lsr";

/// Builds the modules of the package and prints what they weigh.
pub(crate) fn build() -> Result<()> {
    SHIPPED.iter().try_for_each(|(module, _)| module.build())?;
    gemm::build(ENGINE.folder)?;
    threads::build(ENGINE.folder)?;
    for (name, file, budget) in modules() {
        println!("{name}: {} KB of {} KB (brotli)", size::weigh(&[file])?[0] / 1024, budget / 1024);
    }
    Ok(())
}

/// Builds the engine for the browser tests.
pub(crate) fn build_checks() -> Result<()> {
    CHECKS.build()?;
    gemm::build(CHECKS.folder)?;
    threads::build(CHECKS.folder)
}

/// The package's modules: name, file from the root, and the most that it may weigh.
pub(crate) fn modules() -> impl Iterator<Item = (&'static str, String, u64)> {
    SHIPPED.iter().map(|(module, budget)| (module.name, module.file(), *budget))
}

/// The file of the engine that a page loads first.
pub(crate) fn engine() -> String {
    ENGINE.file()
}

/// What every browser has, and sources of other crates under names that say nothing of this machine.
fn rustflags() -> Result<String> {
    let home = std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| home + "/.cargo"));
    let sources = PathBuf::from(home.context("neither CARGO_HOME nor HOME is set")?).join("registry/src");
    let registries = std::fs::read_dir(sources).into_iter().flatten().map(|entry| Ok(entry?.path()));
    let renamed: Vec<String> = registries
        .map(|path: Result<PathBuf>| Ok(format!(" --remap-path-prefix={}/=", path?.display())))
        .collect::<Result<_>>()?;
    Ok(format!("-Ctarget-feature=+simd128 {PLAIN_LOOPS}{}", renamed.concat()))
}

impl Module {
    /// The module itself, from the root.
    fn file(&self) -> String {
        format!("{}/{}_bg.wasm", self.folder, self.name)
    }

    /// One call of cargo for each: built together, one would carry features that only the other needs.
    fn build(&self) -> Result<()> {
        setup::wasm_target()?;
        setup::node_packages()?;
        let target = ["--target", "wasm32-unknown-unknown", "--profile", "wasm"];
        let package = ["build", "--package", self.package, "--features", self.features];
        run(command("cargo", &package).args(target).env("RUSTFLAGS", rustflags()?))?;
        self.bind()
    }

    /// Writes the JavaScript face and shrinks the module.
    fn bind(&self) -> Result<()> {
        let target_dir = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
        let built = format!("wasm32-unknown-unknown/wasm/{}.wasm", self.package.replace('-', "_"));
        let out = root().join(self.folder);
        let mut bindgen = Bindgen::new();
        bindgen.input_path(target_dir.join(built)).out_name(self.name).typescript(true);
        // Browsers do not write text into shared memory.
        bindgen.omit_default_module_path(false).encode_into(EncodeInto::Never).web(true)?;
        bindgen.generate(&out).with_context(|| format!("wasm-bindgen on {}", self.package))?;
        let face = format!("{}/{}.js", self.folder, self.name);
        if self.package == ENGINE.package {
            threads::adapt(&root().join(&face))?;
        }

        names::number(&out, self.name)?;

        // On the output of bindgen, because it still needs the sections that this removes.
        let wasm = out.join(format!("{}_bg.wasm", self.name));
        let path = wasm.to_str().context("the repository's path is not UTF-8")?;
        let optimize = ["node_modules/binaryen/bin/wasm-opt", path, "-o", path, self.optimize, "--converge"];
        let strip = ["--strip-debug", "--strip-producers", LOW_MEMORY_UNUSED];
        run(command("node", &optimize).args(strip).args(FEATURES))?;
        // A quarter of what the page downloads of its face is names and blanks.
        let shorter = ["--no-install", "esbuild", &face, "--minify", "--format=esm", "--target=es2022"];
        let over = [&format!("--outfile={face}"), "--allow-overwrite", "--log-level=warning"];
        run(command("npx", &shorter).args(over))
    }
}
