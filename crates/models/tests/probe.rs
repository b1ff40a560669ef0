//! Looks inside: each against what the model itself computes.

use cloche_models::config::{ModelConfig, preset};
use cloche_models::probe::{BINS, Look, Seen, Spread};
use cloche_models::{Network, Pass, forward_logits, logits, specs};
use cloche_nn::Weights;
use cloche_nn::loss::{mean, token_losses};
use cloche_tensor::{DType, Device, DeviceKind, Graph, Tensor};
use pollster::block_on;

const V: usize = 29;
const T: usize = 11;

/// Two small models, one with grouped queries, with weights that are large enough for decided opinions.
fn models(device: &Device) -> [Network; 2] {
    ["tiny", "llama-tiny"].map(|name| {
        let model = preset(name).unwrap().model;
        let sizes = ModelConfig { vocab_size: V, context_len: 24, d_model: 32, d_ff: 48, d_head: 8, ..model };
        let config = ModelConfig { init_std: 0.3, n_kv_head: if name == "tiny" { 4 } else { 2 }, ..sizes };
        Network::new(config, Weights::init(device, &specs(&config), 7).unwrap())
    })
}

fn ids() -> Vec<u32> {
    (0..T).map(|i| (i * i + 3) as u32 % V as u32).collect()
}

fn look(device: &Device, network: &Network, look: Look) -> Seen {
    block_on(look.at(device, network, &ids())).unwrap()
}

/// Runs tensors of a recording of the model.
fn run(device: &Device, network: &Network, record: impl Fn(&Graph) -> Vec<Tensor>) -> Vec<Vec<f32>> {
    let graph = Graph::new();
    let outputs = record(&graph);
    let names: Vec<String> = (0..outputs.len()).map(|i| i.to_string()).collect();
    let named: Vec<(&str, &Tensor)> = names.iter().map(String::as_str).zip(&outputs).collect();
    let mut program = device.compile(&graph, &named, &network.states()).unwrap();
    program.write("ids", &ids());
    program.run();
    names.iter().map(|name| block_on(program.read(name)).unwrap().f32().to_vec()).collect()
}

fn near(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    let furthest = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(furthest <= tolerance, "{furthest} apart, {tolerance} allowed");
}

fn devices() -> Vec<Device> {
    let gpu = block_on(Device::open(DeviceKind::Gpu));
    assert!(gpu.is_ok() || std::env::var("CI").is_err(), "no adapter");
    [Device::cpu()].into_iter().chain(gpu).collect()
}

#[test]
fn the_next_token_is_what_the_logits_say() {
    for device in devices() {
        for network in models(&device) {
            let all = block_on(forward_logits(&device, &network, &ids())).unwrap();
            let last = &all[(T - 1) * V..];
            let total = last.iter().map(|x| x.exp()).sum::<f32>().ln();
            let want: Vec<f32> = last.iter().map(|x| x - total).collect();
            near(&look(&device, &network, Look::default()).log_probs, &want, 1e-5);
            // The last row of the lens is the model itself, and the first one is not.
            let lens = look(&device, &network, Look { lens: true, ..Look::default() }).log_probs;
            assert_eq!(lens.len(), (network.config.n_layer + 1) * V);
            near(&lens[network.config.n_layer * V..], &want, 1e-5);
            assert!(lens[..V].iter().zip(&want).any(|(a, b)| (a - b).abs() > 0.1), "the embedding knows all");
            for row in lens.chunks(V) {
                near(&[row.iter().map(|x| x.exp()).sum()], &[1.0], 1e-5);
            }
        }
    }
}

#[test]
fn attention_weights_are_those_of_the_kernel() {
    for device in devices() {
        for network in models(&device) {
            let c = network.config;
            let (layer, heads, d) = (1, c.n_head + 2 * c.n_kv_head, c.d_head);
            let found = run(&device, &network, |graph| {
                let input = graph.input("ids", (1, T), DType::U32);
                logits(&c, &network.params(graph), &input, &Pass::eval());
                let qkv = graph.probe("h.1.qkv").unwrap();
                let y = qkv.attention_packed(c.n_head, c.n_kv_head, None);
                vec![qkv, y]
            });
            for head in 0..c.n_head {
                let weights =
                    look(&device, &network, Look { attention: Some((layer, head)), ..Look::default() })
                        .attention;
                let v = c.n_head + c.n_kv_head + head / (c.n_head / c.n_kv_head);
                for (t, row) in weights.chunks(T).enumerate() {
                    near(&[row.iter().sum()], &[1.0], 1e-5);
                    assert!(row[t + 1..].iter().all(|&w| w == 0.0), "position {t} looks ahead");
                    let mixed: Vec<f32> = (0..d)
                        .map(|i| (0..T).map(|s| row[s] * found[0][(s * heads + v) * d + i]).sum())
                        .collect();
                    near(&mixed, &found[1][(t * c.n_head + head) * d..][..d], 1e-4);
                }
            }
        }
    }
}

#[test]
fn gradients_are_those_of_the_mean_loss() {
    for device in devices() {
        for network in models(&device) {
            let found = run(&device, &network, |graph| {
                let input = graph.input("ids", (1, T), DType::U32);
                let p = network.params(graph);
                let y = logits(&network.config, &p, &input, &Pass::eval()).slice(1, 0, T - 1);
                let loss = mean(&token_losses(&y, &input.slice(1, 1, T)));
                graph.grad(&loss, &p.tensors().iter().collect::<Vec<_>>())
            });
            let norm = |dw: &Vec<f32>| dw.iter().map(|x| x * x).sum::<f32>().sqrt();
            let seen = look(&device, &network, Look { gradients: true, ..Look::default() }).gradients;
            let paths: Vec<&str> = network.weights.specs().iter().map(|spec| spec.path.as_str()).collect();
            assert_eq!(seen.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), paths);
            let norms: Vec<f32> = seen.iter().map(|(_, spread)| spread.norm).collect();
            let want: Vec<f32> = found.iter().map(norm).collect();
            assert!(want.iter().any(|&x| x > 0.01), "nothing pulls at anything: {want:?}");
            near(&norms, &want, 1e-4 * want.iter().copied().fold(0.0, f32::max));
        }
    }
}

#[test]
fn spreads_count_everything() {
    let spread = Spread::of(&[-1.0, 0.0, 0.0, 2.0]);
    assert_eq!((spread.norm, spread.low, spread.high), (5f32.sqrt(), -1.0, 2.0));
    assert_eq!((spread.counts[0], spread.counts[10], spread.counts[BINS - 1]), (1, 2, 1));
    assert_eq!(Spread::of(&[3.0; 5]).counts[0], 5, "where all are equal");
    let device = Device::cpu();
    for network in models(&device) {
        let seen = look(&device, &network, Look { weights: true, activations: true, ..Look::default() });
        let counted = |spread: &Spread| spread.counts.iter().sum::<u32>() as usize;
        for (spec, (path, spread)) in network.weights.specs().iter().zip(&seen.weights) {
            assert_eq!((&spec.path, spec.numel()), (path, counted(spread)));
        }
        let names: Vec<&str> = seen.activations.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((names[0], names[1], names.len()), ("embedding", "h.0", network.config.n_layer + 2));
        assert!(seen.activations.iter().all(|(_, spread)| counted(spread) == T * network.config.d_model));
        assert!(seen.gradients.is_empty() && seen.attention.is_empty(), "nobody asked for them");
    }
}
