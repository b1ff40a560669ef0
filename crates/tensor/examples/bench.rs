//! How fast the operations are: `cargo run --release -p cloche-tensor --example bench -- [--json] [--device cpu|gpu] [NAME]`.
//!
//! Each operation is first held to f64 on a small size; then it is timed, best and median of several runs, on the CPU
//! device and on the adapter. GFLOP/s and GB/s count what the operation must compute and move, not what a kernel does.

use std::time::{Duration, Instant};

use cloche_gpu::{AdapterClass, Gpu, OpenOptions};
use cloche_tensor::check::{Range, Sample, check};
use cloche_tensor::{DType, Device, Graph, Program, Tensor};

type Build = fn(&[Tensor]) -> Vec<Tensor>;

/// One line of the output: an operation on inputs of these shapes.
struct Case {
    name: String,
    build: Build,
    shapes: Vec<[usize; 2]>,
    /// The same at a size that f64 can check.
    small: Vec<[usize; 2]>,
    flops: f64,
}

const PRODUCTS: [(&str, Build); 3] = [
    ("nn", |x| vec![x[0].matmul(&x[1])]),
    ("nt", |x| vec![x[0].matmul(&x[1].t())]),
    ("tn", |x| vec![x[0].t().matmul(&x[1])]),
];

/// The shapes of a · b, where `layout` says which of them is stored transposed.
fn operands(layout: &str, [m, k, n]: [usize; 3]) -> Vec<[usize; 2]> {
    let [a, b] = [[m, k], [k, n]].map(|[r, c]| (r, c));
    match layout {
        "nt" => vec![[a.0, a.1], [b.1, b.0]],
        "tn" => vec![[a.1, a.0], [b.0, b.1]],
        _ => vec![[a.0, a.1], [b.0, b.1]],
    }
}

fn product(layout: &str, build: Build, dims: [usize; 3]) -> Case {
    let [m, k, n] = dims;
    Case {
        name: format!("matmul {layout} {m}x{k}x{n}"),
        build,
        shapes: operands(layout, dims),
        small: operands(layout, [40, 36, 44]),
        flops: 2.0 * (m * k * n) as f64,
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for size in [256, 512, 1024] {
        cases.extend(PRODUCTS.iter().map(|&(layout, build)| product(layout, build, [size; 3])));
    }
    // A training step of the preset `nano`: query, key and value; its two gradients; feed-forward; output.
    let [nn, nt, tn] = PRODUCTS.map(|(_, build)| build);
    cases.extend([
        product("nn", nn, [768, 128, 384]),
        product("nn", nn, [768, 128, 512]),
        product("nt", nt, [768, 512, 128]),
        product("tn", tn, [128, 768, 512]),
        product("nt", nt, [768, 128, 65]),
        product("nn", nn, [1, 768, 2048]),
        product("nt", nt, [1, 768, 2048]),
    ]);
    let plain = |name: &str, build: Build, shape: [usize; 2], flops: usize| Case {
        name: format!("{name} {}x{}", shape[0], shape[1]),
        build,
        shapes: vec![shape],
        small: vec![[7, 67]],
        flops: (flops * shape[0] * shape[1]) as f64,
    };
    cases.extend([
        plain("softmax", |x| vec![x[0].softmax()], [4096, 512], 8),
        plain("sum rows", |x| vec![x[0].sum(1)], [4096, 512], 1),
        plain("sum columns", |x| vec![x[0].sum(0)], [4096, 512], 1),
        plain("sum all", |x| vec![x[0].sum_all()], [1, 1 << 20], 1),
        plain("gelu", |x| vec![x[0].gelu()], [4096, 512], 12),
    ]);
    cases
}

impl Case {
    fn sample(&self) -> Sample {
        let inputs: Vec<(&[usize], Range)> = self.small.iter().map(|s| (&s[..], Range::Normal)).collect();
        Sample::new(&self.name, &inputs, self.build)
    }

    /// The program, its inputs filled.
    fn program(&self, device: &Device) -> Program {
        let graph = Graph::new();
        let input = |(i, shape): (usize, &[usize; 2])| graph.input(&format!("x{i}"), &shape[..], DType::F32);
        let inputs: Vec<Tensor> = self.shapes.iter().enumerate().map(input).collect();
        let outputs = (self.build)(&inputs);
        let mut program = device.compile(&graph, &[("y", &outputs[0])], &[]).expect("a program");
        for (i, shape) in self.shapes.iter().enumerate() {
            let data: Vec<f32> = (0..shape[0] * shape[1]).map(|j| (j % 251) as f32 / 251.0 - 0.5).collect();
            program.write(&format!("x{i}"), &data);
        }
        program
    }
}

/// Seconds of one run: best and median of at least seven batches of runs, each of at least 20 ms.
fn time(program: &mut Program, device: &Device) -> [f64; 2] {
    let mut batch = |runs: usize| {
        let start = Instant::now();
        for _ in 0..runs {
            program.run();
            pollster::block_on(program.throttle());
        }
        if let Some(gpu) = device.gpu() {
            pollster::block_on(gpu.wait());
        }
        start.elapsed()
    };
    batch(1);
    let mut runs = 1;
    while batch(runs) < Duration::from_millis(20) {
        runs *= 2;
    }
    let mut seconds: Vec<f64> = (0..7).map(|_| batch(runs).as_secs_f64() / runs as f64).collect();
    seconds.sort_by(f64::total_cmp);
    [seconds[0], seconds[seconds.len() / 2]]
}

fn devices(only: Option<&str>) -> Vec<(String, Device)> {
    let mut devices = vec![("cpu".to_string(), Device::cpu())];
    match pollster::block_on(Gpu::open(OpenOptions { allow_software: true, ..Default::default() })) {
        Ok(gpu) => {
            let info = gpu.info();
            let class = if info.class == AdapterClass::Hardware { "hardware" } else { "software" };
            let name = format!("{} ({}, {}, {class})", info.name, info.backend, info.driver);
            devices.push((name, Device::from_gpu(gpu)));
        }
        Err(error) => eprintln!("SKIPPED: no adapter: {error}"),
    }
    devices.retain(|(name, _)| only.is_none_or(|only| (only == "cpu") == (name == "cpu")));
    devices
}

/// The machine's load average over a minute: timings of a busy machine mean little.
fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let json = args.iter().position(|arg| arg == "--json").map(|i| args.remove(i)).is_some();
    let only =
        args.iter().position(|arg| arg == "--device").map(|i| args.drain(i..i + 2).nth(1).expect("a device"));
    for (name, device) in devices(only.as_deref()) {
        if !json {
            println!("\n{name}, load {:.1}", load());
            println!("{:28} {:>10} {:>10} {:>9} {:>8}", "", "best ms", "median ms", "GFLOP/s", "GB/s");
        }
        for case in cases().iter().filter(|case| args.iter().all(|word| case.name.contains(word.as_str()))) {
            if let Err(error) = pollster::block_on(check("bench", &case.sample(), &device)) {
                eprintln!("{error}");
                std::process::exit(1);
            }
            let mut program = case.program(&device);
            let bytes = program.cost().bytes_moved as f64;
            let [best, median] = time(&mut program, &device);
            let (gflops, gbytes) = (case.flops / best / 1e9, bytes / best / 1e9);
            if json {
                println!(
                    "{{\"device\":{name:?},\"case\":{:?},\"best_ms\":{:.4},\"median_ms\":{:.4},\"gflops\":{gflops:.2},\"gbytes\":{gbytes:.2},\"load\":{:.2}}}",
                    case.name,
                    best * 1e3,
                    median * 1e3,
                    load()
                );
            } else {
                println!(
                    "{:28} {:10.3} {:10.3} {gflops:9.1} {gbytes:8.1}",
                    case.name,
                    best * 1e3,
                    median * 1e3
                );
            }
        }
    }
}
