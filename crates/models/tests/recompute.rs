//! Blocks whose activations are computed again in the backward pass, against the same blocks kept: nothing that is learnt
//! differs, not by a bit.

mod adapter;

use adapter::on_the_gpu;
use cloche_models::config::{ModelConfig, preset};
use cloche_models::{Network, Pass, logits, specs};
use cloche_nn::Weights;
use cloche_nn::loss::{mean, token_losses};
use cloche_nn::optim::{self, Moments};
use cloche_tensor::{DType, Device, Graph};
use pollster::block_on;

const SHAPE: (usize, usize) = (3, 16);

/// Both architectures with dropout, in sizes that no kernel prefers; the second has grouped queries and an untied head.
fn models() -> [ModelConfig; 2] {
    let small = |name: &str| ModelConfig {
        vocab_size: 29,
        context_len: SHAPE.1,
        n_layer: 3,
        dropout: 0.2,
        ..preset(name).unwrap().model
    };
    let llama = ModelConfig { n_kv_head: 2, tied: false, ..small("llama-tiny") };
    [ModelConfig { bias: true, ..small("tiny") }, llama]
}

/// The bits of three losses, of the gradient's norms, and of the weights and moments after them.
fn trained(device: &Device, config: &ModelConfig, layers: usize, accumulate: bool) -> Vec<u32> {
    let graph = Graph::new();
    let network = Network::new(*config, Weights::init(device, &specs(config), 7).unwrap());
    let moments = Moments::new(device, &specs(config)).unwrap();
    let grads = optim::zero_grads(device, &specs(config)).unwrap();
    let p = network.params(&graph);
    let (x, y) = (graph.input("x", SHAPE, DType::U32), graph.input("y", SHAPE, DType::U32));
    let pass = Pass::train(&graph, config.dropout).recomputing(layers);
    let loss = mean(&token_losses(&logits(config, &p, &x, &pass), &y));
    let settings = optim::Settings::default();
    let mut outputs = vec![("loss", &loss)];
    let stats = match accumulate {
        true => {
            optim::accumulate(&p, &loss);
            None
        }
        false => Some(optim::step(&p, &loss, &settings)),
    };
    outputs.extend(stats.iter().map(|stats| ("stats", stats)));
    let mut states = network.states();
    states.extend(moments.states());
    states.push(("grads", &grads));
    let mut program = device.compile(&graph, &outputs, &states).unwrap();
    let ids: Vec<u32> = (0..SHAPE.0 * SHAPE.1).map(|i| (i * i * 7 % 29) as u32).collect();
    program.write("x", &ids[..]);
    program.write("y", &ids.iter().map(|id| (id + 3) % 29).collect::<Vec<u32>>()[..]);
    let mut found = Vec::new();
    for step in 1..=3 {
        settings.set(&mut program, step, 1e-2);
        program.set_u32("seed", 11);
        program.set_u32("step", step);
        program.run();
        for (name, _) in &outputs {
            found.extend(block_on(program.read(name)).unwrap().f32().to_vec());
        }
    }
    for (_, state) in &states {
        found.extend(block_on(state.read()).unwrap().f32().to_vec());
    }
    found.iter().map(|x| x.to_bits()).collect()
}

fn assert_equal_to_the_bit(device: &Device) {
    for config in models() {
        for accumulate in [false, true] {
            let kept = trained(device, &config, 0, accumulate);
            assert!(kept.iter().all(|&x| f32::from_bits(x).is_finite()));
            for layers in 1..=config.n_layer {
                let again = trained(device, &config, layers, accumulate);
                let differing = again.iter().zip(&kept).filter(|(a, b)| a != b).count();
                assert_eq!(differing, 0, "{:?}, {layers} blocks again, {accumulate}", config.arch);
            }
        }
    }
}

#[test]
fn blocks_computed_again_change_no_bit() {
    assert_equal_to_the_bit(&Device::cpu());
}

#[test]
fn nor_on_an_adapter() {
    on_the_gpu(assert_equal_to_the_bit);
}
