//! Adapters: they begin as nothing, learn alone, and are what the formula says. The scalar head beside them.

mod adapter;

use adapter::on_the_gpu;
use cloche_models::config::{ModelConfig, preset};
use cloche_models::{
    Adapter, GenerateSettings, Generator, LoraConfig, Network, Pass, Sampling, forward_logits, logits, score,
    score_specs, specs,
};
use cloche_nn::loss::{mean, token_losses};
use cloche_nn::optim::{self, Moments};
use cloche_nn::{Params, Weights};
use cloche_tensor::rng::Rng;
use cloche_tensor::{DType, Device, Graph, Program, Tensor};
use pollster::block_on;

const IDS: [u32; 8] = [3, 4, 7, 12, 19, 28, 10, 23];
const TARGETS: [u32; 8] = [4, 7, 12, 19, 28, 10, 23, 9];

/// Both architectures, small, with decided opinions; the second has grouped queries and an untied head.
fn models() -> [ModelConfig; 2] {
    let small = |name: &str| {
        let model = preset(name).unwrap().model;
        ModelConfig {
            vocab_size: 29,
            context_len: 8,
            d_model: 32,
            d_ff: 48,
            d_head: 8,
            init_std: 0.3,
            dropout: 0.0,
            ..model
        }
    };
    let llama = ModelConfig { n_kv_head: 2, tied: false, ..small("llama-tiny") };
    [ModelConfig { bias: true, ..small("tiny") }, llama]
}

fn base(device: &Device, config: &ModelConfig) -> Network {
    Network::new(*config, Weights::init(device, &specs(config), 7).unwrap())
}

fn lora(targets: &[&str]) -> LoraConfig {
    LoraConfig {
        rank: 3,
        alpha: 6.0,
        targets: targets.iter().map(|t| t.to_string()).collect(),
        ..Default::default()
    }
}

/// An adapter that has learnt something: no factor is 0.
fn learnt(device: &Device, network: &Network, config: LoraConfig, seed: u64) -> Network {
    let specs = Adapter::specs(&network.config, &config).unwrap();
    let mut rng = Rng::new(seed, 0);
    let numel = Params::from_specs(&Graph::new(), &specs).numel();
    let flat = (0..numel).map(|_| 0.3 * rng.normal()).collect();
    network.with_adapter(Adapter { config, weights: Weights::from_flat(device, &specs, flat).unwrap() })
}

/// Records the training loss of a network on the ids above.
fn loss(network: &Network, graph: &Graph) -> (Params, Tensor) {
    let p = network.params(graph);
    let ids = graph.data((1, IDS.len()), IDS.to_vec());
    let targets = graph.data((1, TARGETS.len()), TARGETS.to_vec());
    let pass = Pass::train(graph, network.config.dropout);
    (p.clone(), mean(&token_losses(&logits(&network.config, &p, &ids, &pass), &targets)))
}

fn scores(device: &Device, network: &Network) -> Vec<f32> {
    let graph = Graph::new();
    let ids = graph.data((2, 4), IDS.to_vec());
    let y = score(&network.config, &network.params(&graph), &ids, &Pass::eval());
    assert_eq!(y.dims(), [2, 4]);
    let mut program = device.compile(&graph, &[("score", &y)], &network.states()).unwrap();
    program.run();
    block_on(program.read("score")).unwrap().f32().to_vec()
}

fn bits(weights: &Weights) -> Vec<u32> {
    block_on(weights.read()).unwrap().flat().iter().map(|x| x.to_bits()).collect()
}

fn a_new_adapter_changes_nothing(device: &Device) {
    for config in models() {
        let base = base(device, &config);
        let targets = LoraConfig { dropout: 0.5, ..lora(&["all-linear"]) };
        let adapted = base.with_adapter(Adapter::new(device, &config, targets, 1).unwrap());
        let before = block_on(forward_logits(device, &base, &IDS)).unwrap();
        assert_eq!(block_on(forward_logits(device, &adapted, &IDS)).unwrap(), before, "{:?}", config.arch);
    }
}

fn steps_change_the_adapter_alone(device: &Device) {
    for config in models() {
        let base = base(device, &config);
        let targets = LoraConfig { dropout: 0.1, ..lora(&["all-linear"]) };
        let adapter = Adapter::new(device, &config, targets, 1).unwrap();
        let network = base.with_adapter(adapter);
        let (frozen, begun) = (bits(&base.weights), bits(network.trained()));
        let before = block_on(forward_logits(device, &base, &IDS)).unwrap();

        let (graph, settings) = (Graph::new(), optim::Settings::default());
        let (p, loss) = loss(&network, &graph);
        let stats = optim::step(&p, &loss, &settings);
        let moments = Moments::new(device, network.trained().specs()).unwrap();
        assert!(moments.m.numel() * 4 < base.weights.state().numel(), "moments of the adapter alone");
        let states = [&network.states()[..], &moments.states()].concat();
        let mut program = device.compile(&graph, &[("loss", &loss), ("stats", &stats)], &states).unwrap();
        program.set_u32("seed", 5);
        for step in 1..=20 {
            settings.set(&mut program, step, 2e-2);
            program.run();
        }
        let losses: Vec<f32> = block_on(program.drain()).unwrap().iter().map(|row| row[0].f32()[0]).collect();
        assert!(losses[19] < 0.5 * losses[0], "{losses:?}");
        assert_eq!(bits(&base.weights), frozen, "{:?}: the base", config.arch);
        assert_ne!(bits(network.trained()), begun);
        // Switched off it is the base again, switched on it is not.
        let off = block_on(forward_logits(device, &network.without_adapter(), &IDS)).unwrap();
        assert_eq!(off, before);
        assert_ne!(block_on(forward_logits(device, &network, &IDS)).unwrap(), before);
    }
}

fn adapters_take_turns_on_one_base(device: &Device) {
    let config = models()[0];
    let base = base(device, &config);
    let networks = [
        base.clone(),
        learnt(device, &base, lora(&["c_attn"]), 1),
        learnt(device, &base, lora(&["mlp.c_proj", "c_fc"]), 2),
    ];
    let say = |network: &Network| {
        let settings =
            GenerateSettings { sampling: Sampling::greedy(), max_tokens: 20, ..Default::default() };
        let mut generator = Generator::new(device, network, 1, settings).unwrap();
        generator.start(&[IDS[..3].to_vec()]).unwrap();
        while block_on(generator.next()).unwrap().is_some() {}
        generator.tokens(0).to_vec()
    };
    let first = networks.each_ref().map(say);
    assert!(first[0] != first[1] && first[1] != first[2] && first[0] != first[2]);
    assert_eq!(networks.each_ref().map(say), first);
}

fn micro_batches_make_the_step_of_the_batch(device: &Device) {
    let config = models()[0];
    let after = |micro: bool| {
        let base = base(device, &config);
        let network = base.with_adapter(Adapter::new(device, &config, lora(&["c_attn"]), 1).unwrap());
        let moments = Moments::new(device, network.trained().specs()).unwrap();
        let (graph, settings) = (Graph::new(), optim::Settings::default());
        let (p, loss) = loss(&network, &graph);
        let run =
            |graph: &Graph, outputs: &[(&str, &Tensor)], extra: &[(&str, &cloche_tensor::State)], times| {
                let states = [&network.states()[..], &moments.states(), extra].concat();
                let mut program: Program = device.compile(graph, outputs, &states).unwrap();
                settings.set(&mut program, 1, 1e-2);
                (0..times).for_each(|_| program.run());
            };
        if micro {
            let grads = optim::zero_grads(device, network.trained().specs()).unwrap();
            optim::accumulate(&p, &(&loss * 0.5));
            run(&graph, &[("loss", &loss)], &[("grads", &grads)], 2);
            let graph = Graph::new();
            let stats = optim::apply(&graph, &p, &settings);
            run(&graph, &[("stats", &stats)], &[("grads", &grads)], 1);
        } else {
            let stats = optim::step(&p, &loss, &settings);
            run(&graph, &[("stats", &stats)], &[], 1);
        }
        block_on(network.trained().read()).unwrap().flat().to_vec()
    };
    let (whole, micro) = (after(false), after(true));
    assert!(whole.iter().zip(&micro).all(|(a, b)| (a - b).abs() < 1e-6));
}

fn a_scalar_head_scores_every_position(device: &Device) {
    for config in models() {
        let specs = score_specs(&config);
        assert_eq!(
            specs.last().map(|s| (s.path.as_str(), s.shape.to_vec())),
            Some(("score.weight", vec![1, 32]))
        );
        assert!(specs.iter().all(|s| !s.path.starts_with("lm_head")));
        let judge = Network::new(config, Weights::init(device, &specs, 7).unwrap());
        let own = scores(device, &judge);
        // The head may come with an adapter, on a base that has none. The draw of a parameter depends on its path alone.
        let with_head = LoraConfig { whole: vec!["score".into()], ..lora(&["all-linear"]) };
        let adapter = Adapter::new(device, &config, with_head, 7).unwrap();
        let borrowed = base(device, &config).with_adapter(adapter);
        assert_eq!(scores(device, &borrowed), own, "{:?}", config.arch);
    }
}

fn all(device: &Device) {
    a_new_adapter_changes_nothing(device);
    steps_change_the_adapter_alone(device);
    adapters_take_turns_on_one_base(device);
    micro_batches_make_the_step_of_the_batch(device);
    a_scalar_head_scores_every_position(device);
}

#[test]
fn adapters_on_the_cpu() {
    all(&Device::cpu());
}

#[test]
fn adapters_on_the_gpu() {
    on_the_gpu(all);
}

#[test]
fn gradients_of_an_adapter_equal_central_differences() {
    let device = Device::cpu64();
    for config in models() {
        let network = learnt(&device, &base(&device, &config), lora(&["all-linear"]), 3);
        let graph = Graph::new();
        let (p, loss) = loss(&network, &graph);
        let own = p.trained();
        assert!(own.specs().iter().all(|s| s.path.contains(".lora_")));
        let tensors = own.tensors();
        let grads = graph.grad(&loss, &tensors.iter().collect::<Vec<_>>());
        let paths: Vec<String> = own.specs().into_iter().map(|s| s.path).collect();
        let mut outputs: Vec<(&str, &Tensor)> = vec![("loss", &loss)];
        outputs.extend(paths.iter().map(String::as_str).zip(&grads));
        let mut program = device.compile(&graph, &outputs, &network.states()).unwrap();
        program.run();
        let start = block_on(network.trained().read()).unwrap();

        for (i, spec) in own.specs().iter().enumerate() {
            let grad = block_on(program.read_f64(&spec.path)).unwrap();
            let mut rng = Rng::new(11, i as u64);
            // Small, for the loss is far from straight; what an f32 keeps of a step is measured.
            let direction: Vec<f32> = grad.iter().map(|_| rng.normal() / 65536.0).collect();
            let (mut losses, mut moved) = ([0.0; 2], [vec![], vec![]]);
            for (k, sign) in [1.0, -1.0].into_iter().enumerate() {
                let mut flat = start.flat().to_vec();
                let place = &mut flat[spec.offset..spec.end()];
                place.iter_mut().zip(&direction).for_each(|(x, d)| *x += sign * d);
                moved[k] = place.to_vec();
                network.trained().state().write(&flat.into());
                program.run();
                losses[k] = block_on(program.read_f64("loss")).unwrap()[0];
            }
            network.trained().write(&start);
            program.run();
            let steps = moved[0].iter().zip(&moved[1]).map(|(a, b)| *a as f64 - *b as f64);
            let expected: f64 = grad.iter().zip(steps).map(|(g, d)| g * d).sum();
            let found = losses[0] - losses[1];
            let size = grad.iter().map(|g| g * g).sum::<f64>().sqrt() / 32768.0;
            assert!(size > 1e-10, "{}: no gradient", spec.path);
            assert!(
                (found - expected).abs() < 1e-4 * size,
                "{}: {found:e}, expected {expected:e}",
                spec.path
            );
        }
    }
}

#[test]
fn an_adapter_drops_inputs_in_training_only() {
    let device = Device::cpu();
    let config = models()[0];
    let all = LoraConfig { dropout: 0.5, ..lora(&["all-linear"]) };
    let network = learnt(&device, &base(&device, &config), all, 3);
    let graph = Graph::new();
    let ids = graph.input("ids", (1, IDS.len()), DType::U32);
    let p = network.params(&graph);
    let record = |pass: &Pass| logits(&config, &p, &ids, pass);
    let (train, eval) = (record(&Pass::train(&graph, 0.0)), record(&Pass::eval()));
    let off = logits(&config, &p.without_adapter(), &ids, &Pass::train(&graph, 0.0));
    let mut program = device
        .compile(&graph, &[("train", &train), ("eval", &eval), ("off", &off)], &network.states())
        .unwrap();
    program.write("ids", &IDS[..]);
    let mut run = |seed, step| {
        program.set_u32("seed", seed);
        program.set_u32("step", step);
        program.run();
        ["train", "eval", "off"].map(|name| block_on(program.read(name)).unwrap().f32().to_vec())
    };
    let first = run(1, 1);
    assert_ne!(first[0], first[1]);
    assert_ne!(run(1, 2)[0], first[0]);
    assert_ne!(run(2, 1)[0], first[0]);
    assert_eq!(run(1, 1), first);
    assert_eq!(run(2, 2)[1..], first[1..]);
    // In the same program the base can be recorded too: the reference that an adapter is held to.
    assert_eq!(first[2], block_on(forward_logits(&device, &network.without_adapter(), &IDS)).unwrap());
    assert_ne!(first[2], first[1]);
}

#[test]
fn what_matches_nothing_is_refused_by_name() {
    let [gpt2, llama] = models();
    let message =
        |model: &ModelConfig, config: LoraConfig| Adapter::specs(model, &config).unwrap_err().to_string();
    let good = || lora(&["c_attn"]);
    for (config, expected) in [
        (
            lora(&["c_attn", "q_proj"]),
            "targets: \"q_proj\" matches nothing, the model has c_attn, c_proj, c_fc, score, or all-linear",
        ),
        (
            lora(&["_attn"]),
            "targets: \"_attn\" matches nothing, the model has c_attn, c_proj, c_fc, score, or all-linear",
        ),
        (lora(&[]), "targets: found nothing, expected at least one name"),
        (
            LoraConfig { rank: 0, ..good() },
            "rank: found 0, expected 1 to 32, the width of transformer.h.0.attn.c_attn",
        ),
        (
            LoraConfig { rank: usize::MAX, ..good() },
            "rank: found 18446744073709551615, expected 1 to 32, the width of transformer.h.0.attn.c_attn",
        ),
        (LoraConfig { alpha: f32::NAN, ..good() }, "alpha: found NaN, expected a number above 0"),
        (LoraConfig { dropout: 1.0, ..good() }, "dropout: found 1, expected at least 0 and less than 1"),
        (
            LoraConfig { whole: vec!["v_head".into()], ..good() },
            "whole: \"v_head\" matches nothing, the model has wte, wpe, ln_1, c_attn, c_proj, ln_2, c_fc, ln_f, score",
        ),
    ] {
        assert_eq!(message(&gpt2, config), expected);
    }
    assert_eq!(
        message(&llama, lora(&["c_attn"])),
        "targets: \"c_attn\" matches nothing, the model has q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, \
         down_proj, lm_head, score, or all-linear"
    );
}

#[test]
fn targets_are_ends_of_paths() {
    let [gpt2, llama] = models();
    let adapted = |model: &ModelConfig, targets: &[&str]| {
        let specs = Adapter::specs(model, &lora(targets)).unwrap();
        let layer = |path: &str| path.strip_suffix(".lora_A.weight").map(str::to_string);
        specs.iter().filter_map(|s| layer(&s.path)).collect::<Vec<_>>()
    };
    let n = gpt2.n_layer;
    assert_eq!(adapted(&gpt2, &["c_proj"]).len(), 2 * n);
    assert_eq!(adapted(&gpt2, &["attn.c_proj"]).len(), n);
    assert_eq!(adapted(&gpt2, &["c_attn", "attn.c_attn"]).len(), n, "a layer is adapted once");
    assert_eq!(adapted(&gpt2, &["transformer.h.1.mlp.c_fc"]), ["transformer.h.1.mlp.c_fc"]);
    assert_eq!(adapted(&gpt2, &["h.0.mlp.c_fc"]), ["transformer.h.0.mlp.c_fc"]);
    assert_eq!(adapted(&gpt2, &["all-linear"]).len(), 4 * n);
    assert_eq!(adapted(&llama, &["all-linear"]).len(), 7 * llama.n_layer, "heads are not among them");
    assert_eq!(adapted(&llama, &["lm_head"]), ["lm_head"]);

    let specs = Adapter::specs(&gpt2, &lora(&["c_attn"])).unwrap();
    let shape = |i: usize| (specs[i].path.as_str(), specs[i].shape.to_vec());
    assert_eq!(shape(0), ("transformer.h.0.attn.c_attn.lora_A.weight", vec![3, 32]));
    assert_eq!(shape(1), ("transformer.h.0.attn.c_attn.lora_B.weight", vec![96, 3]));
}
