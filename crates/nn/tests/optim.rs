//! The optimizer on a problem with a known answer, and the two ways to make a step.

use cloche_nn::optim::{self, Moments, Settings};
use cloche_nn::{Init, Params, Weights};
use cloche_tensor::{DType, Device, Graph, Program, Tensor};
use pollster::block_on;

/// loss = Σ (w − target)², for a matrix and a bias.
fn quadratic(graph: &Graph) -> (Params, Tensor) {
    let p = Params::new(graph);
    let w = p.param("weight", (3, 4), Init::Normal { std: 1.0 });
    let b = p.param("bias", (5,), Init::Ones);
    let target = graph.input("target", (3, 4), DType::F32);
    let error = w - target;
    (p, (&error * &error).sum_all() + (&b * &b).sum_all())
}

fn program(settings: &Settings) -> (Program, Weights) {
    let (device, graph) = (Device::cpu(), Graph::new());
    let (p, loss) = quadratic(&graph);
    let stats = optim::step(&p, &loss, settings);
    let weights = Weights::init(&device, &p.specs(), 3).unwrap();
    let moments = Moments::new(&device, &p.specs()).unwrap();
    let states = [&[("params", weights.state())][..], &moments.states()].concat();
    (device.compile(&graph, &[("loss", &loss), ("stats", &stats)], &states).unwrap(), weights)
}

#[test]
fn the_minimum_is_found() {
    let settings = Settings { weight_decay: 0.0, ..Default::default() };
    let (mut program, weights) = program(&settings);
    let target: Vec<f32> = (0..12).map(|i| i as f32 / 10.0).collect();
    program.write("target", &target);
    for step in 1..=600 {
        settings.set(&mut program, step, 0.02);
        program.run();
    }
    let found = block_on(weights.read()).unwrap();
    for (w, t) in found.get("weight").unwrap().iter().zip(&target) {
        assert!((w - t).abs() < 0.01, "{w}, expected {t}");
    }
    assert!(found.get("bias").unwrap().iter().all(|b| b.abs() < 0.01));
}

/// A matrix, an embedding and a bias of ones after a step whose loss has no gradient: only the decay moves anything.
fn decayed(decay_embeddings: bool) -> [f32; 3] {
    let (device, graph) = (Device::cpu(), Graph::new());
    let p = Params::new(&graph);
    let parameters = [
        p.param("weight", (3, 4), Init::Ones),
        p.embedding("table", (3, 4), Init::Ones),
        p.param("bias", (5,), Init::Ones),
    ];
    let loss = parameters.into_iter().map(|x| (x * 0.0).sum_all()).reduce(|a, b| a + b).unwrap();
    let settings = Settings { weight_decay: 0.5, decay_embeddings, ..Default::default() };
    let stats = optim::step(&p, &loss, &settings);
    let weights = Weights::init(&device, &p.specs(), 1).unwrap();
    let moments = Moments::new(&device, &p.specs()).unwrap();
    let states = [&[("params", weights.state())][..], &moments.states()].concat();
    let mut program = device.compile(&graph, &[("stats", &stats)], &states).unwrap();
    settings.set(&mut program, 1, 0.1);
    program.run();
    let found = block_on(weights.read()).unwrap();
    ["weight", "table", "bias"].map(|path| found.get(path).unwrap()[0])
}

#[test]
fn matrices_decay_and_vectors_do_not() {
    assert_eq!(decayed(true), [0.95, 0.95, 1.0]); // 1 − lr · weight_decay
    assert_eq!(decayed(false), [0.95, 1.0, 1.0]);
}
