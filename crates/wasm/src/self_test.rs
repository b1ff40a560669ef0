//! Checks that run where the engine runs: `tests/browser` calls each by its name in Chromium, Firefox and Node.

use crate::error;
use cloche_tensor::ops::quantized_matmul::{GROUP, PANEL};
use cloche_tensor::ops::{OPS, OpEntry, PRELUDE};
use cloche_tensor::{Device, DeviceKind, Graph, check};
use cloche_train::events::Event;
use cloche_train::pretrain::Run;
#[cfg(feature = "stages")]
use cloche_train::reference::stages::{RECORDS, Record, reference_stage};
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

/// The check of numbers for which rows that are multiplied by codes in whole numbers have rules of their own. WGSL has none.
const UNUSUAL: &str = "unusual numbers times codes";

/// The checks of the stages after pre-training, each a small run that is compared in the same way.
#[cfg(feature = "stages")]
const REFERENCE_STAGES: &str = "the reference run of ";

/// The largest difference of a loss from the native one, relative: devices add numbers up in another order.
const LOSS_TOLERANCE: f32 = 1e-3;

/// The names of the checks: every operation on every device, and on each a run of pre-training and of each stage after it.
#[wasm_bindgen(js_name = selfTests)]
pub fn self_tests() -> Vec<String> {
    let mut names: Vec<String> = OPS.iter().map(|op| op.name.to_string()).collect();
    names.push(REFERENCE_RUN.to_string());
    #[cfg(feature = "stages")]
    names.extend(RECORDS.iter().map(|record| format!("{REFERENCE_STAGES}{}", record.stage)));
    let on = |device: &'static str| names.iter().map(move |name| format!("{device}: {name}"));
    DEVICES.iter().flat_map(|(device, _)| on(device)).chain([format!("cpu: {UNUSUAL}")]).collect()
}

/// How many threads share the loops of the CPU device.
#[wasm_bindgen]
pub fn threads() -> usize {
    cloche_tensor::cpu::threads()
}

/// The whole text of every operation's kernels, for a browser's own compiler: adapters that are programs never see those for
/// GPUs otherwise.
#[wasm_bindgen(js_name = shaderTexts)]
pub fn shader_texts() -> Vec<String> {
    const GENERATED: &str = "alias Known1 = array<f32, 64>; alias Known2 = array<f32, 96>;
        fn epilogue(i: u32, v: f32) -> f32 { return v; }";
    let shaders = OPS.iter().filter_map(|op| op.shader);
    shaders.map(|shader| format!("// {}\n{PRELUDE}{GENERATED}\n{}", shader.stem, shader.source)).collect()
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
        None if check == UNUSUAL => check_unusual(&device).await,
        #[cfg(feature = "stages")]
        None if check.starts_with(REFERENCE_STAGES) => {
            let stage = &check[REFERENCE_STAGES.len()..];
            let record = RECORDS.iter().find(|record| record.stage == stage).ok_or_else(unknown)?;
            check_stage(record, &device).await
        }
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

/// One number of a row times the largest code: what is not finite stays so, what is next to nothing comes to no more.
async fn check_unusual(device: &Device) -> Result<String, String> {
    let numbers =
        [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, 1e-40, -1e-40, 1e-20, -1e30, f32::MAX / 128.0];
    for (bits, x) in [4, 8].into_iter().flat_map(|bits| numbers.map(|x| (bits, x))) {
        let graph = Graph::new();
        let row = (0..GROUP).map(|k| if k == 5 { x } else { 0.0 }).collect::<Vec<f32>>();
        let codes = graph.data((1, 1, bits * PANEL), vec![u32::MAX; bits * PANEL]);
        let scales = graph.data((1, 1, PANEL), vec![1.0; PANEL]);
        let y = graph.data((1, GROUP), row).quantized_matmul(&codes, &scales, 1);
        let mut program = device.compile(&graph, &[("y", &y)], &[]).map_err(|e| e.to_string())?;
        program.run();
        let found = program.read("y").await.map_err(|e| e.to_string())?.f32()[0];
        let expected = x * ((1 << (bits - 1)) - 1) as f32;
        let fits = match x.abs() {
            size if !size.is_finite() => !found.is_finite(),
            size if size < 1e-30 => found.abs() <= expected.abs(),
            _ => (found / expected - 1.0).abs() < 1e-6,
        };
        if !fits {
            return Err(format!("{x:e}, codes of {bits} bits: {found:e}, expected {expected:e}"));
        }
    }
    Ok(format!("{} numbers", numbers.len()))
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

/// The first steps of a stage, against those of the native CPU.
#[cfg(feature = "stages")]
async fn check_stage(record: &Record, device: &Device) -> Result<String, String> {
    use cloche_train::events::TuneEvent;
    let mut stage = reference_stage(device, record.stage).await.map_err(|e| e.to_string())?;
    let mut steps = Vec::new();
    while let Some(event) = stage.next().await {
        match event.map_err(|e| e.to_string())? {
            TuneEvent::Step(step) => steps.push(step),
            TuneEvent::Nonfinite { step, .. } => return Err(format!("step {step} is not finite")),
            _ => {}
        }
    }
    let worst = record.difference(&steps)?;
    if worst > LOSS_TOLERANCE {
        let losses: Vec<f32> = steps.iter().map(|step| step.loss).collect();
        let expected = record.losses;
        return Err(format!("steps differ by {worst:.1e}: losses {losses:?}, expected {expected:?}"));
    }
    let rewards = if record.rewards.is_some() { ", the same answers" } else { "" };
    Ok(format!("{} steps, within {worst:.1e} of the native ones{rewards}", steps.len()))
}
