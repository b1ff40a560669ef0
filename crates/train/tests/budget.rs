//! Runs under a memory budget: the fewest blocks are computed again that it takes, what is learnt stays the same to the bit,
//! and a budget that is too small says what is enough.

mod runs;

use cloche_models::config::{ModelConfig, preset};
use cloche_tensor::Device;
use cloche_train::Error;
use cloche_train::cost::{BUDGET, cost, cost_recomputing};
use cloche_train::events::Event;
use cloche_train::pretrain::Run;
use cloche_train::reference::reference_run;
use cloche_train::settings::Settings;
use runs::{checkpoints, finish, losses};

/// A GPT-2 and a Llama, each with dropout, the second also accumulating.
fn settings() -> [Settings; 2] {
    let small = |name: &str| {
        let mut settings = Settings::from_preset(preset(name).unwrap(), 128);
        let model = ModelConfig { dropout: 0.2, n_layer: 4, context_len: 32, ..settings.model };
        settings.steps = 4;
        Settings { model, eval_every: 0, eval_batches: 1, ..settings }
    };
    [small("tiny"), Settings { grad_accumulation: 2, ..small("llama-tiny") }]
}

fn bytes(settings: &Settings, layers: usize) -> u64 {
    cost_recomputing(&Device::cpu(), settings, layers).unwrap().peak_bytes
}

#[test]
fn the_fewest_blocks_are_computed_again_that_the_memory_asks_for() {
    for settings in settings() {
        let all = settings.model.n_layer;
        let needed: Vec<u64> = (0..=all).map(|layers| bytes(&settings, layers)).collect();
        assert!(needed.is_sorted_by(|a, b| a >= b) && needed[all] < needed[0] * 7 / 10, "{needed:?}");
        for memory in [needed[0], needed[0] - 1, needed[1], needed[1] - 1, needed[2], needed[all]] {
            let expected = needed.iter().position(|&needed| needed <= memory).unwrap();
            let budgeted = Settings { memory_budget: Some(memory), ..settings.clone() };
            let found = cost(&Device::cpu(), &budgeted, None).unwrap();
            assert_eq!((found.recomputed_layers, found.cost.peak_bytes), (expected, needed[expected]));
            // The machine's own limit says the same, and the tighter one of both counts.
            assert_eq!(cost(&Device::cpu(), &settings, Some(memory)).unwrap(), found);
            assert_eq!(cost(&Device::cpu(), &budgeted, Some(needed[0])).unwrap(), found);
        }
        assert_eq!(cost(&Device::cpu(), &settings, None).unwrap().recomputed_layers, 0);
    }
}

#[test]
fn a_budget_too_small_says_what_is_enough() {
    let [settings, _] = settings();
    let needed = bytes(&settings, settings.model.n_layer);
    let under = |budget, available| {
        let settings = Settings { memory_budget: Some(budget), ..settings.clone() };
        cost(&Device::cpu(), &settings, available).map_err(|error| error.to_string())
    };
    match cost(&Device::cpu(), &Settings { memory_budget: Some(1_000), ..settings.clone() }, None) {
        // Exactly what it says is enough.
        Err(Error::Memory { what: BUDGET, needed: said, available: 1_000 }) => assert_eq!(said, needed),
        other => panic!("{other:?}"),
    }
    let error = under(needed - 1, None).unwrap_err();
    assert!(error.starts_with("memory_budget: the smallest plan needs "), "{error}");
    assert_eq!(under(needed, None).unwrap().cost.peak_bytes, needed);
    let error = under(needed * 2, Some(needed - 1)).unwrap_err();
    assert!(error.starts_with("model needs ") && error.ends_with(" are available"), "{error}");
}

#[test]
fn a_run_under_a_budget_learns_the_same_to_the_bit() {
    let (_, corpus) = reference_run().unwrap();
    for settings in settings() {
        let told = |budget| {
            let settings = Settings { memory_budget: budget, ..settings.clone() };
            let events = finish(Run::new(&Device::cpu(), settings, corpus.clone(), None).unwrap());
            let Event::Start(start) = events[0].clone() else { panic!("no start") };
            // Weights and moments; the settings beside them differ by the budget.
            let mut files = checkpoints(&events).pop().expect("it ends with one").1.clone();
            files.retain(|(name, _)| name.ends_with(".safetensors"));
            (start, losses(&events), files)
        };
        let (start, kept, files) = told(None);
        let smallest = bytes(&settings, settings.model.n_layer);
        let (tight, again, same) = told(Some(smallest));
        assert!(start.recomputed_layers == 0 && tight.recomputed_layers > settings.model.n_layer / 2);
        assert_eq!(tight.peak_bytes, smallest);
        assert!(tight.peak_bytes < start.peak_bytes && tight.flops_per_step > start.flops_per_step);
        assert_eq!((again, !same.is_empty()), (kept, true));
        assert!(files == same, "weights and moments differ");
    }
}
