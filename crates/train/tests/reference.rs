//! The fixed runs of all stages: what they came to when they were recorded, on every device.

use cloche_tensor::{Device, DeviceKind};
use cloche_train::events::{TuneEvent, TuneStep};
use cloche_train::reference::stages::{RECORDS, reference_stage};
use pollster::block_on;

fn steps(device: &Device, stage: &str) -> Vec<TuneStep> {
    let mut stage = block_on(reference_stage(device, stage)).unwrap();
    let mut steps = Vec::new();
    while let Some(event) = block_on(stage.next()) {
        if let TuneEvent::Step(step) = event.unwrap() {
            steps.push(step);
        }
    }
    steps
}

fn holds(device: &Device, tolerance: f32) {
    let mut wrong = Vec::new();
    for record in &RECORDS {
        let steps = steps(device, record.stage);
        // What to write down where a run is meant to change.
        let losses: Vec<f32> = steps.iter().map(|step| step.loss).collect();
        let grad_norms: Vec<f32> = steps.iter().map(|step| step.grad_norm).collect();
        let rewards: Vec<f32> = steps.iter().filter_map(|step| step.metrics.get("reward")).collect();
        println!("{}: losses {losses:?}, grad_norms {grad_norms:?}, rewards {rewards:?}", record.stage);
        match record.difference(&steps) {
            Ok(difference) if difference <= tolerance => {}
            Ok(difference) => wrong.push(format!("{}: {difference:e} from the record", record.stage)),
            Err(text) => wrong.push(format!("{}: {text}", record.stage)),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_stage_comes_to_what_was_recorded() {
    holds(&Device::cpu(), 1e-5);
}

#[test]
fn a_gpu_comes_to_the_same() {
    match block_on(Device::open(DeviceKind::Gpu)) {
        Ok(device) => holds(&device, 1e-3),
        Err(error) => {
            assert!(std::env::var("CI").is_err(), "no adapter: {error}");
            eprintln!("SKIPPED: no adapter: {error}");
        }
    }
}

/// What the records would not show: a run that learns nothing, or answers that are all alike.
#[test]
fn the_records_are_worth_comparing() {
    for record in &RECORDS {
        assert!(
            record.grad_norms.iter().all(|norm| *norm > 1e-2),
            "{}: {:?}",
            record.stage,
            record.grad_norms
        );
        let rewards = record.rewards.unwrap_or([0.0, 0.5, 1.0]);
        assert!(rewards[0] != rewards[1] || rewards[1] != rewards[2], "{}: {rewards:?}", record.stage);
    }
}
