//! Checks that run where the engine runs: `tests/browser` calls each by its name in Chromium, Firefox and Node.

use crate::error;
use cloche_tensor::ops::{OPS, OpEntry};
use cloche_tensor::{Device, DeviceKind, check};
use cloche_train::events::Event;
use cloche_train::pretrain::Run;
use cloche_train::reference::{LOSSES, reference_run};
use std::cell::RefCell;
use wasm_bindgen::prelude::*;

/// A device under test.
const DEVICES: [(&str, DeviceKind); 2] = [("cpu", DeviceKind::Cpu), ("webgpu", DeviceKind::Gpu)];

thread_local! {
    /// Opened by the first check that needs it: an adapter gives one device only.
    static OPEN: RefCell<Vec<(&'static str, Device)>> = const { RefCell::new(Vec::new()) };
}

/// The check that trains a small model and compares its losses with those of the native CPU.
const REFERENCE_RUN: &str = "the reference run";

/// The largest difference of a loss from the native one, relative: devices add numbers up in another order.
const LOSS_TOLERANCE: f32 = 1e-3;

/// The names of the checks: every operation on every device, and a training run on each.
#[wasm_bindgen(js_name = selfTests)]
pub fn self_tests() -> Vec<String> {
    let names = || OPS.iter().map(|op| op.name).chain([REFERENCE_RUN]);
    DEVICES.iter().flat_map(|(device, _)| names().map(move |name| format!("{device}: {name}"))).collect()
}

/// Runs one check; resolves to a remark, rejects with what was wrong.
#[wasm_bindgen(js_name = selfTest)]
pub async fn self_test(name: String) -> Result<String, JsValue> {
    let unknown = || error("UNKNOWN_CHECK", &format!("there is no check named {name:?}"));
    let (device, check) = name.split_once(": ").ok_or_else(unknown)?;
    let device = open(device).await?;
    let outcome = match OPS.iter().find(|op| op.name == check) {
        Some(op) => check_op(op, &device).await,
        None if check == REFERENCE_RUN => check_losses(&device).await,
        None => return Err(unknown()),
    };
    outcome.map_err(|text| error("CHECK_FAILED", &text))
}

/// The device of this name, opened once.
pub(crate) async fn open(name: &str) -> Result<Device, JsValue> {
    let found =
        OPEN.with_borrow(|open| open.iter().find(|(n, _)| *n == name).map(|(_, device)| device.clone()));
    if let Some(device) = found {
        return Ok(device);
    }
    let row = DEVICES.iter().find(|(n, _)| *n == name);
    let &(name, kind) = row.ok_or_else(|| error("UNKNOWN_CHECK", &format!("there is no device {name:?}")))?;
    let device = Device::open(kind).await.map_err(|e| error("NO_WEBGPU", &e.to_string()))?;
    OPEN.with_borrow_mut(|open| open.push((name, device.clone())));
    Ok(device)
}

/// The harness of the native tests, on this device.
async fn check_op(op: &OpEntry, device: &Device) -> Result<String, String> {
    let samples = (op.samples)();
    let mut wrong = Vec::new();
    for sample in &samples {
        wrong.extend(check::check(op.name, sample, device).await.err());
    }
    match &wrong[..] {
        [] => Ok(format!("{} samples", samples.len())),
        [first, ..] => Err(format!("{} of {} samples, the first: {first}", wrong.len(), samples.len())),
    }
}

/// The first losses of a seeded run, against those of the native CPU.
async fn check_losses(device: &Device) -> Result<String, String> {
    let (settings, corpus) = reference_run().map_err(|e| e.to_string())?;
    let mut stage = Run::new(device, settings, corpus, None).map_err(|e| e.to_string())?.stage();
    let mut losses = Vec::new();
    while let Some(event) = stage.next().await {
        match event.map_err(|e| e.to_string())? {
            Event::Step(step) => losses.push(step.loss),
            Event::Nonfinite { step, .. } => return Err(format!("step {step} is not finite")),
            _ => {}
        }
    }
    if losses.len() != LOSSES.len() {
        return Err(format!("{} steps, expected {}", losses.len(), LOSSES.len()));
    }
    let error = |(found, expected): (&f32, &f32)| (found - expected).abs() / expected;
    let worst = losses.iter().zip(&LOSSES).map(error).fold(0.0, f32::max);
    if worst > LOSS_TOLERANCE {
        return Err(format!("losses differ by {worst:.1e} relative: {losses:?}, expected {LOSSES:?}"));
    }
    Ok(format!("{} losses, within {worst:.1e} of the native ones", losses.len()))
}
