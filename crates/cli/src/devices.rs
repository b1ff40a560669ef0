//! `cloche devices`: what there is to compute on.

use anyhow::Result;
use clap::Args;
use cloche_gpu::{AdapterClass, AdapterInfo, Gpu};
use serde_json::json;

use crate::device::{self, Choice};
use crate::report::{print_json, print_line};

/// The options of `cloche devices`.
#[derive(Args)]
pub struct DevicesArgs {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// None: without an adapter there is the CPU.
pub fn run(args: &DevicesArgs) -> Result<()> {
    let adapters = pollster::block_on(Gpu::adapters());
    let auto = device::open(Choice::Auto)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    if args.json {
        let adapters: Vec<_> = adapters.iter().map(json_of).collect();
        let auto = json!({ "device": auto.name(), "reason": auto.describe() });
        print_json(&json!({ "cpu": { "threads": threads }, "adapters": adapters, "auto": auto }));
        return Ok(());
    }
    print_line(format_args!("cpu   {threads} threads"));
    for adapter in &adapters {
        let features = features(adapter).join(", ");
        let features = if features.is_empty() { "none".to_string() } else { features };
        print_line(format_args!(
            "gpu   {} ({}, {}, {}), optional features: {features}",
            adapter.name,
            class(adapter),
            adapter.backend,
            adapter.driver
        ));
    }
    if adapters.is_empty() {
        print_line("gpu   none: there is no WebGPU adapter on this machine");
    }
    print_line(format_args!("auto  {}", auto.describe()));
    Ok(())
}

fn json_of(adapter: &AdapterInfo) -> serde_json::Value {
    json!({
        "name": adapter.name,
        "vendor": adapter.vendor,
        "backend": adapter.backend,
        "driver": adapter.driver,
        "class": class(adapter),
        "features": features(adapter),
    })
}

fn class(adapter: &AdapterInfo) -> &'static str {
    match adapter.class {
        AdapterClass::Hardware => "hardware",
        AdapterClass::Software | AdapterClass::Scalar => "software",
    }
}

fn features(adapter: &AdapterInfo) -> Vec<&'static str> {
    let features = &adapter.features;
    let known = [
        (features.f16, "shader-f16"),
        (features.subgroups, "subgroups"),
        (features.timestamps, "timestamp-query"),
    ];
    known.into_iter().filter_map(|(there, name)| there.then_some(name)).collect()
}
