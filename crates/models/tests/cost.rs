//! What models cost, known before anything is allocated.

use cloche_models::config::{ModelConfig, PRESETS, preset};
use cloche_models::{Pass, logits, specs};
use cloche_nn::loss::{mean, token_losses};
use cloche_nn::{Params, optim};
use cloche_tensor::{DType, Graph, Plan, Target};

fn training_step(config: &ModelConfig, batch: usize, target: Target) -> Plan {
    let graph = Graph::new();
    let p = Params::new(&graph);
    let shape = (batch, config.context_len);
    let (ids, targets) = (graph.input("ids", shape, DType::U32), graph.input("targets", shape, DType::U32));
    let logits = logits(config, &p, &ids, &Pass::train(&graph, config.dropout));
    let loss = mean(&token_losses(&logits, &targets));
    let stats = optim::step(&p, &loss, &optim::Settings::default());
    Plan::new(&graph, &[("loss", &loss), ("stats", &stats)], target)
}

#[test]
fn a_training_step_of_nano_takes_at_most_20_dispatches_a_layer() {
    let plan = training_step(&preset("nano").unwrap().model, 12, Target::GPU);
    let found = plan.cost().dispatches;
    assert!(found <= 20 * 4 + 15, "{found} dispatches:\n{}", plan.describe().join("\n"));
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
