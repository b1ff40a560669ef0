//! What the commands need on the machine, each installed when it is missing.

use crate::shell::{command, find_program, output, root, run};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Vite and the test runners need this much of Node.
const NODE: (u32, u32) = (20, 19);

/// The Rust target of the browser modules.
pub(crate) fn wasm_target() -> Result<()> {
    let sysroot =
        output("rustc", &["--print", "sysroot"]).context("rustc is missing: see https://rustup.rs")?;
    if Path::new(&sysroot).join("lib/rustlib/wasm32-unknown-unknown").is_dir() {
        return Ok(());
    }
    let mut add = command("rustup", &["target", "add", "wasm32-unknown-unknown"]);
    run(&mut add)
        .context("install the Rust target wasm32-unknown-unknown, without which no page can be built")
}

/// Node itself, and the packages that the lock file names.
pub(crate) fn node_packages() -> Result<()> {
    let found = output("node", &["--version"]).with_context(|| {
        format!("node is missing: install Node {}.{} or newer from nodejs.org", NODE.0, NODE.1)
    })?;
    let mut parts = found.trim_start_matches('v').split('.').map(|part| part.parse().unwrap_or(0));
    if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < NODE {
        bail!("node is {found}: install Node {}.{} or newer from nodejs.org", NODE.0, NODE.1);
    }
    // npm leaves this file behind when it is done: where it is newer than our lock file, all is in place.
    let age = |path: &str| fs::metadata(root().join(path)).and_then(|meta| meta.modified()).ok();
    if age("node_modules/.package-lock.json") >= age("package-lock.json") {
        return Ok(());
    }
    run(&mut command("npm", &["ci", "--no-audit", "--no-fund"]))
}

/// The browsers and drivers of the tests.
pub(crate) struct Tools {
    /// Chromium, with SwiftShader beside it.
    pub(crate) chromium: PathBuf,
    /// Firefox.
    pub(crate) firefox: PathBuf,
    /// The loader's description of Mesa's software Vulkan driver.
    pub(crate) lavapipe: PathBuf,
    /// The same for SwiftShader, which Node's WebGPU runs on.
    pub(crate) swiftshader: PathBuf,
}

/// Finds the software Vulkan driver, or installs it.
pub(crate) fn lavapipe() -> Result<PathBuf> {
    let find = || {
        let files = fs::read_dir("/usr/share/vulkan/icd.d").ok()?;
        let mut paths = files.filter_map(|file| Some(file.ok()?.path()));
        paths.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lvp_icd")))
    };
    find_or_install(find, "mesa-vulkan-drivers", "Mesa's software Vulkan driver (lavapipe)")
}

/// Finds what the tests drive, or installs it.
pub(crate) fn tools() -> Result<Tools> {
    let lavapipe = lavapipe()?;
    // The loader itself: Mesa's package only recommends it.
    let loader = || find_library("libvulkan.so.1");
    find_or_install(loader, "libvulkan1", "the Vulkan loader")?;
    let chromium = || find_program(&["chromium", "chromium-browser", "google-chrome"]);
    let chromium = find_or_install(chromium, "chromium", "Chromium")?;
    let firefox = || find_program(&["firefox-esr", "firefox"]);
    let firefox = find_or_install(firefox, "firefox-esr", "Firefox")?;
    let beside = ["/usr/lib/chromium", "/usr/lib/chromium-browser", "/opt/google/chrome"];
    let mut icds = beside.iter().map(|folder| Path::new(folder).join("vk_swiftshader_icd.json"));
    let swiftshader = icds.find(|path| path.is_file());
    let swiftshader = swiftshader.with_context(|| format!("no vk_swiftshader_icd.json in {beside:?}"))?;
    Ok(Tools { chromium, firefox, lavapipe, swiftshader })
}

fn find_library(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists())
}

fn find_or_install(find: impl Fn() -> Option<PathBuf>, package: &str, what: &str) -> Result<PathBuf> {
    if let Some(path) = find() {
        return Ok(path);
    }
    let advice = || format!("{what} is missing: install the package {package} (apt-get install {package})");
    find_program(&["apt-get"]).with_context(advice)?;
    apt(&["update", "-qq"]).with_context(advice)?;
    apt(&["install", "-y", "-qq", "--no-install-recommends", package]).with_context(advice)?;
    find().with_context(advice)
}

/// Runs apt-get as root, or through sudo where that asks for no password.
fn apt(args: &[&str]) -> Result<()> {
    let root = output("id", &["-u"]).is_some_and(|id| id == "0");
    let words: Vec<&str> = if root { vec![] } else { vec!["sudo", "-n"] };
    let words = [&words[..], &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"], args].concat();
    run(&mut command(words[0], &words[1..]))
}
