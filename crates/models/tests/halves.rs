//! Gradients of activations that are kept in half precision, against those of activations kept as they are.

mod adapter;

use adapter::on_the_gpu;
use cloche_models::config::{ModelConfig, preset};
use cloche_models::{Pass, logits, specs};
use cloche_nn::loss::{mean, token_losses};
use cloche_nn::{Params, Weights};
use cloche_tensor::{Cost, DType, Device, Graph, Tensor};
use pollster::block_on;

const SHAPE: (usize, usize) = (2, 64);

/// The largest error of a tensor's gradient that rounding to 11 bits makes, relative to the largest number in it. Found: 3.6e-4.
const TOLERANCE: f32 = 1e-3;

/// Both architectures with dropout; the second has grouped queries and an untied head.
fn models() -> [ModelConfig; 2] {
    let small = |name: &str| ModelConfig {
        vocab_size: 61,
        context_len: SHAPE.1,
        n_layer: 3,
        dropout: 0.2,
        ..preset(name).unwrap().model
    };
    let llama = ModelConfig { n_kv_head: 2, tied: false, ..small("llama-tiny") };
    [ModelConfig { bias: true, ..small("tiny") }, llama]
}

/// What a run computes: the loss, and the gradient of each parameter.
type Found = Vec<Named>;

/// A tensor by its name.
type Named = (String, Vec<f32>);

fn gradients(device: &Device, config: &ModelConfig, halves: bool, recomputed: usize) -> (Found, Cost) {
    let graph = Graph::new();
    if halves {
        graph.keep_halves();
    }
    let weights = Weights::init(device, &specs(config), 7).unwrap();
    let p = Params::new(&graph);
    let (x, y) = (graph.input("x", SHAPE, DType::U32), graph.input("y", SHAPE, DType::U32));
    let pass = Pass::train(&graph, config.dropout).recomputing(recomputed);
    let loss = mean(&token_losses(&logits(config, &p, &x, &pass), &y));
    let tensors = p.tensors();
    let grads = graph.grad(&loss, &tensors.iter().collect::<Vec<_>>());
    let paths: Vec<String> = p.specs().iter().map(|s| s.path.clone()).collect();
    let mut outputs: Vec<(&str, &Tensor)> = vec![("loss", &loss)];
    outputs.extend(paths.iter().map(String::as_str).zip(&grads));
    let mut program = device.compile(&graph, &outputs, &[("params", weights.state())]).unwrap();
    let ids: Vec<u32> = (0..SHAPE.0 * SHAPE.1).map(|i| (i * i * 7 % 61) as u32).collect();
    program.write("x", &ids[..]);
    program.write("y", &ids.iter().map(|id| (id + 3) % 61).collect::<Vec<u32>>()[..]);
    program.set_u32("seed", 11);
    program.set_u32("step", 1);
    let mut run = || -> Found {
        program.run();
        let read = |name: &str| block_on(program.read(name)).unwrap().f32().to_vec();
        outputs.iter().map(|(name, _)| (name.to_string(), read(name))).collect()
    };
    let (found, again) = (run(), run());
    assert_eq!(found, again, "two runs differ");
    (found, program.cost())
}

/// The largest difference of each tensor, relative to its largest number; the largest of them all.
fn farthest(found: &Found, expected: &Found) -> f32 {
    let distance = |((_, a), (name, b)): (&Named, &Named)| {
        let largest = b.iter().fold(0f32, |most, x| most.max(x.abs()));
        let apart = a.iter().zip(b).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(apart.is_finite() && largest > 0.0, "{name}");
        apart / largest
    };
    found.iter().zip(expected).map(distance).fold(0.0, f32::max)
}

fn gradients_are_nearly_those_of_f32(device: &Device) {
    for config in models() {
        let (exact, whole) = gradients(device, &config, false, 0);
        let [(found, cost), (again, less)] = [0, 2].map(|layers| gradients(device, &config, true, layers));
        for (found, recomputed) in [(&found, 0), (&again, 2)] {
            // The forward pass reads nothing that was rounded.
            assert_eq!(found[0], exact[0], "{:?}", config.arch);
            let error = farthest(found, &exact);
            assert!((1e-6..TOLERANCE).contains(&error), "{:?}, {recomputed} again: {error}", config.arch);
        }
        assert!(cost.peak_bytes < whole.peak_bytes && cost.dispatches > whole.dispatches);
        assert!(less.peak_bytes < cost.peak_bytes);
        // Where a device computes other last bits than the CPU, a number may fall on the other side of a tie, and is off by one
        // in 2048.
        let error = farthest(&found, &gradients(&Device::cpu(), &config, true, 0).0);
        assert!(error < TOLERANCE / 2.0, "{:?}: {error} from the CPU", config.arch);
    }
}

#[test]
fn gradients_of_halves() {
    gradients_are_nearly_those_of_f32(&Device::cpu());
}

#[test]
fn gradients_of_halves_on_an_adapter() {
    on_the_gpu(gradients_are_nearly_those_of_f32);
}
