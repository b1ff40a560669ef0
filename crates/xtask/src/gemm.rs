//! The module `gemm`: the one that is compiled with relaxed SIMD, and that works in another module's memory.

use crate::shell::{command, output, root, run};
use crate::wasm::{LOW_MEMORY_UNUSED, PLAIN_LOOPS};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// The engine owns the memory. Instructions stay in the order in which the kernel is written: LLVM's own order keeps so
/// many values alive that browsers move the kernel's sums to the stack and back.
const RUSTFLAGS: &str = "-Ctarget-feature=+simd128,+relaxed-simd -Clink-arg=--import-memory -Clink-arg=--max-memory=4294967296 \
     -Cllvm-args=-pre-RA-sched=source";

/// The most that it may weigh, compressed with brotli.
const BUDGET: u64 = 5120;

/// What its text may not contain: it would be laid over the engine's own, in the same memory.
const FORBIDDEN: [&str; 4] = ["(mut ", "(data ", "(elem ", "(start "];

/// Builds the module into a folder: `gemm.js`, and the bytes as a string that it imports.
///
/// # Errors
/// Where the module weighs too much, or would touch anything of the engine but what it is told to.
pub(crate) fn build(folder: &str) -> Result<()> {
    let package = ["build", "--package", "cloche-wasm-gemm"];
    let target = ["--target", "wasm32-unknown-unknown", "--profile", "wasm"];
    run(command("cargo", &package).args(target).env("RUSTFLAGS", format!("{RUSTFLAGS} {PLAIN_LOOPS}")))?;

    let target_dir = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    let built = target_dir.join("wasm32-unknown-unknown/wasm/cloche_wasm_gemm.wasm");
    let (input, small) = (built.to_string_lossy().into_owned(), built.with_extension("opt.wasm"));
    let small = small.to_string_lossy().into_owned();
    let features = ["--enable-simd", "--enable-relaxed-simd", "--enable-bulk-memory"];
    let optimize = [
        "node_modules/binaryen/bin/wasm-opt",
        &input,
        "-o",
        &small,
        // Where its data would end: it has none.
        "--remove-exports=__*",
        "-O3",
        LOW_MEMORY_UNUSED,
        "--strip-debug",
        "--strip-producers",
    ];
    run(command("node", &optimize).args(features))?;

    let show = ["node_modules/binaryen/bin/wasm-dis", &small, features[0], features[1]];
    check(&output("node", &show).context("wasm-dis could not read the module")?)?;

    let out = root().join(folder);
    fs::copy(root().join("crates/wasm-gemm/src/gemm.js"), out.join("gemm.js"))?;
    let size = embed(&small, &out.join("gemm_wasm.js"))?;
    let kilobytes = [size, BUDGET].map(|bytes| bytes as f64 / 1024.0);
    println!("gemm: {:.1} KB of {:.1} KB (brotli)", kilobytes[0], kilobytes[1]);
    if size > BUDGET {
        bail!("gemm weighs {size} bytes, its budget is {BUDGET}");
    }
    Ok(())
}

/// Writes a module's bytes as a string that scripts import; returns what they weigh, compressed with brotli.
pub(crate) fn embed(wasm: &str, to: &Path) -> Result<u64> {
    let script = "const fs = require('fs'), [from, to] = process.argv.slice(1), wasm = fs.readFileSync(from); \
        fs.writeFileSync(to, `export default \"${wasm.toString('base64')}\";\\n`); \
        console.log(require('zlib').brotliCompressSync(wasm).length)";
    let weight = output("node", &["--eval", script, "--", wasm, &to.to_string_lossy()]);
    Ok(weight.context("no module")?.parse()?)
}

/// Holds the text of the module to its promise: no stack, no data, no table, and of the engine only the memory.
fn check(text: &str) -> Result<()> {
    if let Some(found) = FORBIDDEN.iter().find(|part| text.contains(**part)) {
        bail!("gemm contains `{found}`, which it must not bring into the engine's memory");
    }
    let imports: Vec<&str> = text.lines().filter(|line| line.trim_start().starts_with("(import ")).collect();
    if imports.len() != 1 || !imports[0].contains("\"env\" \"memory\" (memory ") {
        bail!("gemm imports {imports:?}, expected the memory alone");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_module_with_a_stack_is_refused() {
        let memory = "(import \"env\" \"memory\" (memory $m 16))";
        assert!(check(&format!("(module\n {memory}\n (export \"gemm\" (func $0)))")).is_ok());
        assert!(check(&format!("(module\n {memory}\n (global $0 (mut i32) (i32.const 9)))")).is_err());
        assert!(check(&format!("(module\n {memory}\n (data $0 (i32.const 9) \"x\"))")).is_err());
        assert!(check(&format!("(module\n {memory}\n (import \"env\" \"f\" (func $f)))")).is_err());
        assert!(check("(module\n (memory $0 16))").is_err());
    }
}
