//! Every stage that diverges stops, and leaves its last good weights.

mod class;
mod every;

use class::{checkpoint, finish};
use cloche_tensor::Device;
use cloche_train::checkpoint::MANIFEST;
use cloche_train::events::{Reason, TuneEvent};
use cloche_train::learner::Optimization;
use cloche_train::pretrain::MAX_NONFINITE;
use every::STAGES;

#[test]
fn a_stage_that_diverges_stops_with_its_last_good_weights() {
    for (name, begin) in STAGES {
        let device = Device::cpu();
        let optimization = Optimization {
            steps: 100,
            batch_size: 2,
            lr: 1e30,
            min_lr: 1e30,
            warmup_steps: 0,
            eval_every: 0,
            checkpoint_every: 1,
            ..Default::default()
        };
        let events = finish(begin(&device, optimization));
        let done = events.last().unwrap();
        let TuneEvent::Done(done) = done else { panic!("{name}: {done:?}") };
        assert_eq!(done.reason, Reason::Diverged, "{name}");
        let mut bad = events.iter().filter_map(|event| match event {
            TuneEvent::Nonfinite { in_a_row, .. } => Some(*in_a_row),
            _ => None,
        });
        assert_eq!(bad.next_back(), Some(MAX_NONFINITE), "{name}");
        // The last checkpoint holds what the one before the last ten steps held, and nothing but numbers. Where a step has
        // several updates, the first of the very first step's is good while the step as a whole is not.
        let good = (done.step - u64::from(MAX_NONFINITE)).max(1);
        let [last, before] = [done.step, good].map(|step| checkpoint(&events, step));
        for ((file, bytes), (_, expected)) in last.iter().zip(&before) {
            if file.ends_with("safetensors") {
                assert!(bytes == expected, "{name}: {file} has changed since step {good}");
            }
        }
        let mut tensors = cloche_nn::checkpoint::Checkpoint::from_bytes(
            last.iter().filter(|(file, _)| file == "model.safetensors").cloned().collect(),
        )
        .unwrap();
        let names: Vec<String> = tensors.names().map(str::to_string).collect();
        assert!(!names.is_empty() && last.iter().any(|(file, _)| file == MANIFEST), "{name}");
        for tensor in names {
            let (_, numbers) = tensors.tensor(&tensor).unwrap();
            assert!(numbers.iter().all(|x| x.is_finite()), "{name}: {tensor}");
        }
    }
}
