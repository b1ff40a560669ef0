//! The npm package and the page.

use crate::shell::{command, root, run};
use crate::test::Tally;
use crate::{StartOptions, check, wasm};
use anyhow::Result;
use std::fs;

/// Sets everything up, builds the page and serves it.
pub(crate) fn start(options: &StartOptions) -> Result<()> {
    wasm::build()?;
    page()?;
    if !options.serve {
        println!("built: web/dist");
        return Ok(());
    }
    let port = options.port.to_string();
    println!("\nOpen http://127.0.0.1:{port}/  (Ctrl+C stops the server)\n");
    let serve =
        ["exec", "--workspace", "web", "--", "vite", "preview", "--host", "127.0.0.1", "--strictPort"];
    run(command("npm", &serve).args(["--port", &port]))
}

/// Builds `pkg/dist` from TypeScript; the wasm modules are already there.
pub(crate) fn compile() -> Result<()> {
    run(&mut command("npm", &["run", "build", "--workspace", "pkg"]))
}

/// Whether its entries and their types are found by whoever installs it; each check counts as one.
pub(crate) fn lint() -> Tally {
    let checks = [
        command("node", &["node_modules/publint/src/cli.js", "pkg", "--strict"]),
        command(
            "node",
            &["node_modules/@arethetypeswrong/cli/dist/index.js", "--pack", "pkg", "--profile", "esm-only"],
        ),
    ];
    check::each(checks)
}

/// Builds the package and the page that uses it.
pub(crate) fn page() -> Result<()> {
    compile()?;
    run(&mut command("npm", &["run", "build", "--workspace", "web"]))
}

/// Packs the package as npm would publish it.
pub(crate) fn pack() -> Result<()> {
    wasm::build()?;
    compile()?;
    fs::copy(root().join("LICENSE"), root().join("pkg/LICENSE"))?;
    run(&mut command("npm", &["pack", "--workspace", "pkg"]))
}
