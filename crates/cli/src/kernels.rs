//! Which kernels a graphics device runs fastest, measured once and remembered from command to command.
//!
//! They stand in one file of the user's cache, `kernels.json`, by adapter and version of the program. With other kernels sums are
//! made in another order, so a run that goes on after tuning may differ in the last bits from one that was never stopped.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use cloche_tensor::{Choices, Device, Tuned};
use cloche_train::cost::tune_kernels;
use cloche_train::settings::Settings;
use serde_json::{Map, Value};

use crate::report::Report;

/// Lets a device use what was remembered of it. What cannot be read was never remembered.
pub fn recall(device: &Device) {
    if let (Some(key), Some(known)) = (key(device), remembered()) {
        let numbers = known.get(&key).and_then(Value::as_array).cloned().unwrap_or_default();
        let numbers: Vec<f64> = numbers.iter().filter_map(Value::as_f64).collect();
        device.choose(Choices::of(&numbers));
    }
}

/// Measures the kernels of a run and remembers the fastest.
///
/// # Errors
/// Settings that do not fit; a device that fails or does some work rightly by no kernel.
pub fn tune(device: &Device, settings: &Settings, report: &mut Report) -> Result<()> {
    let Some(key) = key(device) else {
        report.note("kernels: on the CPU there is nothing to choose");
        return Ok(());
    };
    report.begin("kernels");
    let at = |done, total| {
        report.at(format_args!("kernels: {done} of {total} pieces of work measured"));
        true
    };
    let found = pollster::block_on(tune_kernels(device, settings, at));
    report.end();
    let found = found?;
    for warning in found.iter().flat_map(Tuned::warnings) {
        report.warn(warning);
    }
    let faster: Vec<f64> = found.iter().map(Tuned::gain).filter(|&gain| gain > 1.0).collect();
    let best = faster.iter().copied().fold(1.0, f64::max);
    report.note(format_args!(
        "kernels: {} pieces of work, of which {} have a faster kernel than the usual one now (up to {best:.2} times as fast)",
        found.len(),
        faster.len()
    ));
    let mut known = remembered().unwrap_or_default();
    known.insert(key, device.choices().numbers().into());
    if let Err(error) = remember(&known) {
        report.warn(format_args!("what was measured cannot be kept for later: {error}"));
    }
    Ok(())
}

/// The adapter, and the version of the program that knows its kernels. Nothing on the CPU.
fn key(device: &Device) -> Option<String> {
    let info = device.gpu()?.info();
    let version = env!("CARGO_PKG_VERSION");
    Some(format!("{version}, {}, {}, {}, {:?}", info.name, info.driver, info.backend, info.class))
}

fn remembered() -> Option<Map<String, Value>> {
    let text = std::fs::read_to_string(file().ok()?).ok()?;
    serde_json::from_str(&text).ok()
}

/// Replaces the file in one act, so that another command never reads half of it.
fn remember(known: &Map<String, Value>) -> Result<()> {
    let file = file()?;
    let named = |error: std::io::Error| anyhow!("{}: {error}", file.display());
    let folder = file.parent().expect("a file in a folder");
    std::fs::create_dir_all(folder).map_err(named)?;
    let unfinished = folder.join(format!("kernels.{}.json", std::process::id()));
    std::fs::write(&unfinished, serde_json::to_string(known)?).map_err(named)?;
    std::fs::rename(&unfinished, &file).map_err(named)
}

/// Where the system keeps what a program can find out again.
fn file() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = |folder| set("HOME").map(|home| home.join(folder));
    let cache = set("XDG_CACHE_HOME").or_else(|| match std::env::consts::OS {
        "windows" => set("LOCALAPPDATA"),
        "macos" => home("Library/Caches"),
        _ => home(".cache"),
    });
    let cache = cache.ok_or_else(|| anyhow!("neither XDG_CACHE_HOME nor HOME says where"))?;
    Ok(cache.join("cloche/kernels.json"))
}
