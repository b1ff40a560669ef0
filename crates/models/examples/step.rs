//! Times one training step of a preset on the CPU: `cargo run --release -p cloche-models --example step [PRESET]`.
//!
//! Prints the best and the median of 50 steps, then where the time goes, by kind of kernel.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cloche_models::config::preset;
use cloche_models::{Pass, logits};
use cloche_nn::loss::{mean, token_losses};
use cloche_nn::optim::{self, Moments};
use cloche_nn::{Params, Weights};
use cloche_tensor::{DType, Device, Graph, Plan, Target};

const STEPS: u32 = 50;

fn main() {
    let name = std::env::args().nth(1).unwrap_or_else(|| "nano".into());
    let preset = preset(&name).unwrap_or_else(|error| panic!("{error}"));
    let (config, training) = (preset.model, preset.training);
    // 1. Record.
    let graph = Graph::new();
    let p = Params::new(&graph);
    let shape = (training.batch_size, config.context_len);
    let (ids, targets) = (graph.input("ids", shape, DType::U32), graph.input("targets", shape, DType::U32));
    let logits = logits(&config, &p, &ids, &Pass::train(&graph, config.dropout));
    let loss = mean(&token_losses(&logits, &targets));
    let settings = optim::Settings::default();
    let stats = optim::step(&p, &loss, &settings);
    // 2. Compile.
    let device = Device::cpu();
    let weights = Weights::init(&device, &p.specs(), 1337).expect("memory for the weights");
    let moments = Moments::new(&device, &p.specs()).expect("memory for the moments");
    let mut states = vec![("params", weights.state())];
    states.extend(moments.states());
    let mut program =
        device.compile(&graph, &[("loss", &loss), ("stats", &stats)], &states).expect("a valid program");
    let cost = program.cost();
    let gpu = Plan::new(&graph, &[("loss", &loss), ("stats", &stats)], Target::GPU).cost();
    // 3. Run.
    let row: Vec<u32> = (0..shape.0 * shape.1).map(|i| (i * i % config.vocab_size) as u32).collect();
    program.write("ids", &row);
    program.write("targets", &row);
    let mut times: Vec<Duration> = (1..=STEPS)
        .map(|step| {
            settings.set(&mut program, step, training.lr);
            let start = Instant::now();
            program.run();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    let (best, median) = (times[0], times[times.len() / 2]);
    let rate = cost.flops as f64 / median.as_secs_f64() / 1e9;
    println!(
        "{name}: best {best:.2?}, median {median:.2?}, {rate:.1} GFLOP/s of {} MFLOP",
        cost.flops / 1_000_000
    );
    println!("{} kernels on the CPU, {} on a GPU", cost.dispatches, gpu.dispatches);
    // 4. Where the time goes: the best of as many runs for each kernel, added up by kind.
    let mut kernels: BTreeMap<String, (usize, f64)> = BTreeMap::new();
    for _ in 0..STEPS {
        for timing in pollster::block_on(program.profile()).expect("the CPU has a clock") {
            let best = kernels.entry(timing.label).or_insert((timing.count, f64::INFINITY));
            best.1 = best.1.min(timing.seconds);
        }
    }
    let mut kinds: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
    for (label, (count, seconds)) in &kernels {
        let kind = kinds.entry(label.split(':').next().unwrap_or(label)).or_default();
        *kind = (kind.0 + count, kind.1 + seconds);
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by(|(_, (_, a)), (_, (_, b))| b.total_cmp(a));
    for (kind, (count, seconds)) in kinds {
        println!("{:>9.3} ms  {count:>4} × {kind}", seconds * 1e3);
    }
}
