//! Every operation's samples on every device, and its gradients against central differences.

use cloche_gpu::{AdapterClass, Gpu, OpenOptions};
use cloche_tensor::Device;
use cloche_tensor::check::{check, check_gradient, merged_steps};
use cloche_tensor::ops::OPS;

/// Runs all samples and reports all failures together. `CLOCHE_OP` limits the run to one operation.
fn run_all(f: impl AsyncFn(&str, &cloche_tensor::check::Sample) -> Result<(), String>) {
    let only = std::env::var("CLOCHE_OP").ok();
    let mut failures = Vec::new();
    let mut passed = 0;
    for op in OPS.iter().filter(|op| only.as_deref().is_none_or(|name| name == op.name)) {
        for sample in (op.samples)() {
            match pollster::block_on(f(op.name, &sample)) {
                Ok(()) => passed += 1,
                Err(error) => failures.push(error),
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} samples fail:\n{}",
        failures.len(),
        passed + failures.len(),
        failures.join("\n")
    );
}

/// Kernels that nobody records: the planner puts them in the place of others.
const MERGED: [&str; 6] =
    ["attention_cached", "attention_turned", "norm_row", "parts_row", "gated_row", "quantized_row"];

#[test]
fn what_only_the_planner_uses_runs_in_its_samples() {
    for op in OPS.iter().filter(|op| MERGED.contains(&op.name)) {
        for sample in (op.samples)() {
            let steps = merged_steps(&sample);
            // The product of a prepared row by a quantised matrix bears one name.
            let runs =
                steps.iter().any(|step| [op.name, "quantized_row"].iter().any(|name| step.starts_with(name)));
            assert!(runs, "{}, {}: {}", op.name, sample.name, steps.join(", "));
        }
    }
}

#[test]
fn gradients_equal_central_differences() {
    run_all(async |op, sample| check_gradient(op, sample).await);
}

#[test]
fn the_cpu_equals_f64() {
    run_all(async |op, sample| check(op, sample, &Device::cpu()).await);
}

/// Runs all samples on the adapter, with the kernels of one family; or those for adapters that offer nothing beyond the
/// standard's least.
fn run_gpu(class: AdapterClass, default_limits: bool) {
    let options = OpenOptions { allow_software: true, class: Some(class), default_limits };
    let device = match pollster::block_on(Gpu::open(options)) {
        Ok(gpu) => Device::from_gpu(gpu),
        Err(error) => {
            assert!(std::env::var("CI").is_err(), "no adapter: {error}");
            eprintln!("SKIPPED: no adapter: {error}");
            return;
        }
    };
    run_all(async |op, sample| check(op, sample, &device).await);
}

#[test]
fn kernels_for_gpus_equal_f64() {
    run_gpu(AdapterClass::Hardware, false);
}

#[test]
fn kernels_for_cpu_adapters_equal_f64() {
    run_gpu(AdapterClass::Software, false);
}

#[test]
fn kernels_for_cpu_adapters_without_subgroups_equal_f64() {
    run_gpu(AdapterClass::Software, true);
}

#[test]
fn kernels_for_scalar_adapters_equal_f64() {
    run_gpu(AdapterClass::Scalar, false);
}
