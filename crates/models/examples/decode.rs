//! Times decoding: `cargo run --release -p cloche-models --example decode [gpu] [PRESET…]`, on the CPU where `gpu` is not said.
//!
//! A token is made by reading every weight once, so its time is held against a plain read of as many bytes, by the same
//! threads, in turns with the tokens; on a GPU, against half a copy of memory. First the tokens of the key/value cache are held to the model without one.

mod asked;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use cloche_models::config::preset;
use cloche_models::{
    GenerateSettings, Generator, Network, Precision, Sampling, Token, forward_logits, specs,
};
use cloche_nn::{Kind, ParamSpec, Weights};
use cloche_tensor::bench::large_cases;
use cloche_tensor::cpu::split_rows;
use cloche_tensor::{Device, Program};

/// Tokens of each sequence that are timed.
const TOKENS: usize = 40;

fn main() {
    let (device, mut names) = asked::device_and_presets();
    let on_gpu = device.gpu().is_some();
    if names.is_empty() {
        names = vec!["nano".into(), "gpt2".into()];
    }
    for name in names {
        let config = preset(&name).unwrap_or_else(|error| panic!("{error}")).model;
        let weights = Weights::init(&device, &specs(&config), 1337).expect("memory for the weights");
        let whole = Network::new(config, weights);
        for precision in [None, Some(Precision::Int8), Some(Precision::Int4)] {
            let network = match precision {
                None => whole.clone(),
                Some(precision) => {
                    pollster::block_on(whole.quantized(&device, precision)).expect("widths of whole groups")
                }
            };
            let bytes = bytes_read(&network);
            let shown = precision.map_or("f32".into(), |precision| format!("{precision:?}"));
            println!("{name}, {shown}: {:.1} MB of weights", bytes as f64 / 1e6);
            validate(&device, &network);
            for batch in [1, 8] {
                match on_gpu {
                    true => time_gpu(&device, &network, batch, bytes),
                    false => time(&device, &network, batch, bytes),
                }
            }
        }
    }
}

/// The bytes of all parameters but tables of which a few rows are read. A tied embedding is read whole, as output matrix,
/// unless that has been quantised.
fn bytes_read(network: &Network) -> usize {
    let specs = network.weights.specs();
    let whole = |s: &&ParamSpec| match s.kind {
        Kind::Embedding => network.config.tied && network.quantized.is_none() && s.path.contains("wte"),
        _ => true,
    };
    let quantized = network.quantized.as_ref().map_or(0, |quantized| quantized.bytes());
    4 * specs.iter().filter(whole).map(ParamSpec::numel).sum::<usize>() + quantized
}

fn generator(device: &Device, network: &Network, batch: usize, max_tokens: usize) -> Generator {
    let settings =
        GenerateSettings { sampling: Sampling::greedy(), max_tokens, slide: false, ..Default::default() };
    let mut generator = Generator::new(device, network, batch, settings).expect("memory for the cache");
    generator.start(&[vec![1, 5, 9]]).expect("a prompt of known tokens");
    generator
}

/// The next tokens, on a GPU several of them; `None` behind the last.
fn next(generator: &mut Generator) -> Option<Vec<Token>> {
    pollster::block_on(generator.next()).expect("a device that decodes")
}

/// Each token's log-probability, as the cache yields it, is that of the model without a cache.
fn validate(device: &Device, network: &Network) {
    let mut generator = generator(device, network, 1, 8);
    let tokens: Vec<Token> = std::iter::from_fn(|| next(&mut generator)).flatten().collect();
    assert_eq!(tokens.len(), 8, "as many tokens as asked for");
    let ids = generator.tokens(0);
    let logits = pollster::block_on(forward_logits(device, network, ids)).expect("memory for the logits");
    let rows: Vec<&[f32]> = logits.chunks_exact(network.config.vocab_size).collect();
    for (i, token) in tokens.iter().enumerate() {
        let row = rows[ids.len() - tokens.len() + i - 1];
        let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
        let without = f64::from(row[token.id as usize]) - sum.ln();
        let apart = (f64::from(token.log_prob) - without).abs();
        assert!(apart < 1e-4, "token {i}: {} with a cache, {without} without", token.log_prob);
    }
}

fn time(device: &Device, network: &Network, batch: usize, bytes: usize) {
    let mut generator = generator(device, network, batch, TOKENS + 3);
    // The first tokens read the prompt and touch every page.
    (0..3).for_each(|_| drop(next(&mut generator)));
    let memory: Vec<u64> = (0..bytes as u64 / 8).collect();
    let (mut steps, mut reads) = (Vec::new(), Vec::new());
    for _ in 0..TOKENS {
        steps.push(clocked(|| drop(black_box(next(&mut generator)))));
        reads.push(clocked(|| _ = black_box(read(&memory))));
    }
    let program = generator.decode_program();
    println!("  batch {batch}: {} dispatches a token", program.cost().dispatches);
    for (name, clock) in [("by the clock", 0), ("processor time of each thread", 1)] {
        let [(best, median), (floor, floor_median)] = [&steps, &reads].map(|times| {
            let mut times: Vec<f64> = times.iter().map(|pair| pair[clock]).collect();
            times.sort_unstable_by(f64::total_cmp);
            (times[0], times[times.len() / 2])
        });
        let (rate, speed) = (batch as f64 / best, bytes as f64 / best / 1e9);
        println!(
            "    {name}: best {:.2} ms, median {:.2} ms; {rate:.1} tokens/s, {speed:.1} GB/s; reading {:.2}, {:.2} ms; {:.2}×, {:.2}×",
            best * 1e3,
            median * 1e3,
            floor * 1e3,
            floor_median * 1e3,
            best / floor,
            median / floor_median,
        );
    }
    show_kernels(program);
}

/// The same on a GPU, which makes several tokens before they are read.
fn time_gpu(device: &Device, network: &Network, batch: usize, bytes: usize) {
    let copy =
        large_cases().into_iter().find(|case| case.name.starts_with("copy")).expect("a copy is measured");
    let mut copy = pollster::block_on(copy.open(device, false)).expect("room for it");
    let speed = copy.bytes / least(&pollster::block_on(copy.time(0.2)));
    let mut generator = generator(device, network, batch, 4 * TOKENS);
    (0..2).for_each(|_| drop(next(&mut generator)));
    let mut times = Vec::new();
    while times.len() < 16 {
        let start = Instant::now();
        let Some(tokens) = next(&mut generator) else { break };
        let tokens = tokens.len() / batch;
        times.push(start.elapsed().as_secs_f64() / tokens as f64);
    }
    let (best, floor) = (least(&times), bytes as f64 / speed);
    times.sort_unstable_by(f64::total_cmp);
    let program = generator.decode_program();
    println!("  batch {batch}: {} dispatches a token", program.cost().dispatches);
    println!(
        "    best {:.3} ms, median {:.3} ms; {:.1} tokens/s; reading at {:.0} GB/s takes {:.3} ms, {:.0} % of the best",
        best * 1e3,
        times[times.len() / 2] * 1e3,
        batch as f64 / best,
        speed / 1e9,
        floor * 1e3,
        100.0 * floor / best,
    );
    show_kernels(program);
}

fn least(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

/// Where the time of one token goes.
fn show_kernels(program: &mut Program) {
    let mut kinds: BTreeMap<String, (usize, f64)> = BTreeMap::new();
    for timing in pollster::block_on(program.profile()).expect("a device with a clock") {
        let kind = timing.label.split(':').next().unwrap_or_default().to_string();
        let sum = kinds.entry(kind).or_default();
        *sum = (sum.0 + timing.count, sum.1 + timing.seconds);
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by(|(_, (_, a)), (_, (_, b))| b.total_cmp(a));
    let shown = kinds.iter().take(5).map(|(kind, (n, s))| format!("{:.2} ms {n} × {kind}", s * 1e3));
    println!("    {}", shown.collect::<Vec<_>>().join(", "));
}

/// Seconds by the clock, and of processor time divided by the threads, which says on a busy machine what a free one would
/// take.
fn clocked(work: impl FnOnce()) -> [f64; 2] {
    let (began, before) = (Instant::now(), processor_seconds());
    work();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    [began.elapsed().as_secs_f64(), (processor_seconds() - before) / threads as f64]
}

/// Of all threads, as Linux counts it; 0 elsewhere.
fn processor_seconds() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanoseconds = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e9
}

/// All words, by the threads of the CPU device, each reading in four places at once: the fastest read that was found.
fn read(memory: &[u64]) -> u64 {
    const PIECE: usize = 1 << 18;
    let mut sums = vec![0; memory.len().div_ceil(PIECE)];
    split_rows((&mut sums, 1), PIECE, |first, sums| {
        for (i, sum) in sums.iter_mut().enumerate() {
            let piece = &memory[(first + i) * PIECE..];
            let piece = &piece[..piece.len().min(PIECE)];
            let quarters: Vec<&[u64]> = piece.chunks(piece.len().div_ceil(4)).collect();
            let rest = &quarters[3];
            let n = rest.len();
            let [a, b, c] = [0, 1, 2].map(|quarter| &quarters[quarter][..n]);
            *sum = (0..n).fold(0, |sum, i| sum ^ a[i] ^ b[i] ^ c[i] ^ rest[i]);
        }
    });
    sums.into_iter().fold(0, |sum, word| sum ^ word)
}
