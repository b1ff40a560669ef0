//! What models cost, known before anything is allocated; and what it costs to compute blocks again instead of keeping them.

use cloche_models::bench::{Workload, workloads};
use cloche_models::config::{ModelConfig, PRESETS, preset};
use cloche_models::{Pass, logits, specs};
use cloche_nn::loss::{mean, token_losses};
use cloche_nn::{Params, optim};
use cloche_tensor::{DType, Graph, Plan, Target};

fn training_step(config: &ModelConfig, batch: usize, recomputed: usize, target: Target) -> Plan {
    let graph = Graph::new();
    let p = Params::new(&graph);
    let shape = (batch, config.context_len);
    let (ids, targets) = (graph.input("ids", shape, DType::U32), graph.input("targets", shape, DType::U32));
    let logits = logits(config, &p, &ids, &Pass::train(&graph, config.dropout).recomputing(recomputed));
    let loss = mean(&token_losses(&logits, &targets));
    let stats = optim::step(&p, &loss, &optim::Settings::default());
    Plan::new(&graph, &[("loss", &loss), ("stats", &stats)], target)
}

#[test]
fn a_training_step_takes_at_most_17_dispatches_a_layer_and_12() {
    for Workload { model, batch_size, .. } in workloads() {
        let plan = training_step(&model, batch_size, 0, Target::GPU);
        let found = plan.cost().dispatches;
        println!("{} layers: {found} dispatches", model.n_layer);
        assert!(
            found <= 17 * model.n_layer as u64 + 12,
            "{found} dispatches:\n{}",
            plan.describe().join("\n")
        );
    }
}

#[test]
fn the_parameters_are_those_that_the_configuration_counts() {
    for preset in PRESETS {
        for tied in [true, false] {
            let config = ModelConfig { tied, ..preset.model };
            let counted: usize = specs(&config).iter().map(|s| s.numel()).sum();
            assert_eq!(counted as u64, config.n_params(), "{}", preset.name);
        }
    }
}

/// The figures stand in BENCHMARKS.md.
#[test]
fn computing_blocks_again_saves_over_half_of_mini_for_a_quarter_more_arithmetic() {
    for name in ["mini", "llama-mini"] {
        let preset = preset(name).unwrap();
        let (config, batch) = (preset.model, preset.training.batch_size);
        for (device, target) in [("CPU", Target::CPU), ("GPU", Target::GPU)] {
            let costs: Vec<_> = (0..=config.n_layer)
                .map(|layers| training_step(&config, batch, layers, target).cost())
                .collect();
            for (layers, cost) in costs.iter().enumerate() {
                let (mb, gflop) = (cost.peak_bytes as f64 * 1e-6, cost.flops as f64 * 1e-9);
                println!("{name}, {device}, {layers} blocks again: {mb:.0} MB, {gflop:.0} GFLOP");
            }
            // Each block that is computed again takes less memory, until the peak is elsewhere, and more arithmetic.
            assert!(costs.is_sorted_by_key(|cost| std::cmp::Reverse(cost.peak_bytes)), "{costs:?}");
            assert!(costs.is_sorted_by_key(|cost| cost.flops), "{costs:?}");
            let (kept, again) = (costs[0], costs[config.n_layer]);
            assert!(again.peak_bytes as f64 <= 0.45 * kept.peak_bytes as f64, "{costs:?}");
            assert!(again.flops as f64 <= 1.35 * kept.flops as f64, "{costs:?}");
            assert_eq!(again.state_bytes, kept.state_bytes);
        }
    }
}
