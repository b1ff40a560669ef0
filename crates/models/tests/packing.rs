//! Several documents in a row, one behind the other, against the same documents in rows of their own: losses and gradients
//! are equal within rounding, whatever stands beside a document.

mod adapter;

use adapter::on_the_gpu;
use std::path::PathBuf;

use cloche_models::config::ModelConfig;
use cloche_models::{Pass, logits, specs};
use cloche_nn::loss::{IGNORE_INDEX, token_losses};
use cloche_nn::{Params, Weights};
use cloche_tensor::check::compare;
use cloche_tensor::rng::Rng;
use cloche_tensor::{DType, Device, Graph, Tensor};
use pollster::block_on;

/// Rounding of f32, over sums of some hundred terms.
const TOLERANCE: f64 = 1e-5;

/// Tokens, targets, and where documents begin, of `(rows, width)` positions.
struct Table {
    shape: (usize, usize),
    x: Vec<u32>,
    y: Vec<u32>,
    begin: Vec<u32>,
    position: Vec<u32>,
}

impl Table {
    /// Each of `rows` holds these documents from its beginning on; what is left of it is a document of its own.
    fn new(width: usize, rows: &[&[&[u32]]]) -> Table {
        let n = rows.len() * width;
        let (mut x, mut y) = (vec![7; n], vec![IGNORE_INDEX; n]);
        let (mut begin, mut position) = (vec![0; n], vec![0; n]);
        for (row, documents) in rows.iter().enumerate() {
            let mut first = 0;
            for document in documents.iter() {
                for (t, ids) in document.windows(2).enumerate() {
                    let at = row * width + first + t;
                    (x[at], y[at], begin[at], position[at]) = (ids[0], ids[1], first as u32, t as u32);
                }
                first += document.len() - 1;
            }
            for t in first..width {
                (begin[row * width + t], position[row * width + t]) = (first as u32, (t - first) as u32);
            }
        }
        Table { shape: (rows.len(), width), x, y, begin, position }
    }

    /// The loss of each target, and the gradient of their sum by each parameter.
    fn run(&self, device: &Device, config: &ModelConfig, weights: &Weights, packed: bool) -> Vec<Vec<f64>> {
        let graph = Graph::new();
        let p = Params::from_specs(&graph, weights.specs());
        let input = |name| graph.input(name, self.shape, DType::U32);
        let (x, y) = (input("x"), input("y"));
        let pass = match packed {
            true => Pass::eval().documents(&input("begin"), &input("position")),
            false => Pass::eval(),
        };
        let losses = token_losses(&logits(config, &p, &x, &pass), &y);
        let tensors = p.tensors();
        let grads = graph.grad(&losses.sum_all(), &tensors.iter().collect::<Vec<_>>());
        let names: Vec<String> = weights.specs().iter().map(|spec| spec.path.clone()).collect();
        let mut outputs: Vec<(&str, &Tensor)> = vec![("losses", &losses)];
        outputs.extend(names.iter().map(String::as_str).zip(&grads));
        let mut program = device.compile(&graph, &outputs, &[("params", weights.state())]).unwrap();
        let inputs = [("x", &self.x), ("y", &self.y), ("begin", &self.begin), ("position", &self.position)];
        for (name, data) in inputs {
            if program.has(name) {
                program.write(name, data);
            }
        }
        program.run();
        let read =
            |name: &str| block_on(program.read(name)).unwrap().f32().iter().map(|&x| x as f64).collect();
        let mut found: Vec<Vec<f64>> = outputs.iter().map(|(name, _)| read(name)).collect();
        let counts: Vec<bool> = self.y.iter().map(|&y| y != IGNORE_INDEX).collect();
        let mut at = 0..;
        found[0].retain(|_| counts[at.next().unwrap()]);
        found
    }
}

fn packed_equals_padded(device: &Device) {
    for name in ["gpt2", "llama", "llama-tied"] {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name);
        let json = std::fs::read_to_string(folder.join("config.json")).unwrap();
        let config = ModelConfig { context_len: 100, ..ModelConfig::from_hf_json(&json).unwrap() };
        let weights = Weights::init(device, &specs(&config), 5).unwrap();
        let mut rng = Rng::new(9, 0);
        let documents: Vec<Vec<u32>> = [34, 2, 41, 26, 70, 12]
            .map(|n| (0..n).map(|_| rng.below(config.vocab_size as u64) as u32).collect())
            .into();
        let d: Vec<&[u32]> = documents.iter().map(Vec::as_slice).collect();
        // In this order both tables count their targets.
        let rows: [&[&[u32]]; 6] = [&[d[0]], &[d[1]], &[d[2]], &[d[3]], &[d[4]], &[d[5]]];
        let padded = Table::new(72, &rows).run(device, &config, &weights, false);
        let packed = Table::new(100, &[&d[..4], &d[4..]]).run(device, &config, &weights, true);
        let names = std::iter::once("losses").chain(weights.specs().iter().map(|spec| spec.path.as_str()));
        for ((name, want), found) in names.zip(&padded).zip(&packed) {
            // Only the rows of tokens and positions that were there have a gradient, and biases of keys none at all.
            let nothing = want.iter().chain(found).all(|x| x.abs() < 1e-5);
            let same = compare(want, found, TOLERANCE);
            assert!(nothing || same.is_ok(), "{:?}, {name}: {same:?}", config.arch);
        }
        assert_eq!(padded[0].len(), documents.iter().map(|ids| ids.len() - 1).sum::<usize>());
        // Without the borders the losses are others: the comparison can fail. One device that shows it is enough.
        if device.gpu().is_some() {
            continue;
        }
        let blurred = Table::new(100, &[&d[..4], &d[4..]]).run(device, &config, &weights, false);
        assert!(compare(&padded[0], &blurred[0], 1e-3).is_err(), "{:?}", config.arch);
    }
}

#[test]
fn packed_equals_padded_on_the_cpu() {
    packed_equals_padded(&Device::cpu());
}

#[test]
fn packed_equals_padded_on_the_adapter() {
    on_the_gpu(packed_equals_padded);
}
