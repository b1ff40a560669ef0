//! Checks that run where the engine runs: `tests/browser` calls each by its name in Chromium, Firefox and Node.

use crate::error;
use cloche_tensor::ops::{OPS, OpEntry};
use cloche_tensor::{Device, DeviceKind, check};
use std::cell::RefCell;
use wasm_bindgen::prelude::*;

/// A device under test.
const DEVICES: [(&str, DeviceKind); 2] = [("cpu", DeviceKind::Cpu), ("webgpu", DeviceKind::Gpu)];

thread_local! {
    /// Opened by the first check that needs it: an adapter gives one device only.
    static OPEN: RefCell<Vec<(&'static str, Device)>> = const { RefCell::new(Vec::new()) };
}

/// The names of the checks: every operation on every device.
#[wasm_bindgen(js_name = selfTests)]
pub fn self_tests() -> Vec<String> {
    let ops =
        DEVICES.iter().flat_map(|(device, _)| OPS.iter().map(move |op| format!("{device}: {}", op.name)));
    ops.collect()
}

/// Runs one check; resolves to a remark, rejects with what was wrong.
#[wasm_bindgen(js_name = selfTest)]
pub async fn self_test(name: String) -> Result<String, JsValue> {
    let unknown = || error("UNKNOWN_CHECK", &format!("there is no check named {name:?}"));
    let (device, op) = name.split_once(": ").ok_or_else(unknown)?;
    let device = open(device).await?;
    let op = OPS.iter().find(|entry| entry.name == op).ok_or_else(unknown)?;
    check_op(op, &device).await.map_err(|text| error("CHECK_FAILED", &text))
}

async fn open(name: &str) -> Result<Device, JsValue> {
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
