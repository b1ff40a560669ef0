//! Times many answers: `cargo run --release -p cloche-models --example batching [gpu] [PRESET]`, on the CPU and of `nano` where
//! nothing is said.
//!
//! The same prompts are continued chunk by chunk, where each chunk waits for its longest sequence, and by continuous batching,
//! in turns. First both are held to the same tokens.

mod asked;

use std::time::Instant;

use cloche_models::config::{ModelConfig, preset};
use cloche_models::{Batcher, GenerateSettings, Generator, Network, specs};
use cloche_nn::Weights;
use cloche_tensor::Device;
use cloche_tensor::rng::Rng;

/// Prompts that are answered.
const PROMPTS: usize = 64;

/// Times that each is timed.
const ROUNDS: usize = 5;

/// A prompt, and how many tokens are wanted behind it.
type Wanted = (Vec<u32>, usize);

fn main() {
    let (device, mut names) = asked::device_and_presets();
    let name = names.pop().unwrap_or("nano".into());
    let model = preset(&name).unwrap_or_else(|error| panic!("{error}")).model;
    // Prompts and answers fit whole.
    let config = ModelConfig { context_len: model.context_len.max(192), ..model };
    let weights = Weights::init(&device, &specs(&config), 1337).expect("memory for the weights");
    let network = Network::new(config, weights);
    let (vocab_size, mut rng) = (config.vocab_size as u64, Rng::new(1337, 0));
    let mut prompt = |n| (0..n).map(|_| rng.below(vocab_size) as u32).collect::<Vec<u32>>();
    let prompts: Vec<Vec<u32>> = (0..PROMPTS).map(|_| prompt(30)).collect();
    // Lengths as if each token beyond the eighth were the last with the same probability: 32 on average.
    let mut rng = Rng::new(1337, 1);
    let mut geometric = || 8 + (-24.0 * (1.0 - rng.uniform()).ln()) as usize;
    let varied: Vec<Wanted> = prompts.iter().map(|ids| (ids.clone(), geometric().min(128))).collect();
    let equal: Vec<Wanted> = prompts.iter().map(|ids| (ids.clone(), 32)).collect();
    let short: Vec<Wanted> = prompts.iter().map(|ids| (ids.clone(), 1)).collect();
    println!("{name} on {}, {PROMPTS} prompts of 30 tokens", device.describe());
    compare("8 slots, 8 to 128 tokens", &device, &network, 8, &varied);
    compare("8 slots, 32 tokens each", &device, &network, 8, &equal);
    compare("64 slots, 32 tokens each", &device, &network, 64, &equal);
    compare("64 slots, the first token only", &device, &network, 64, &short);
}

fn compare(what: &str, device: &Device, network: &Network, slots: usize, wanted: &[Wanted]) {
    let settings = GenerateSettings { slide: false, ..Default::default() };
    let mut generator =
        Generator::new(device, network, slots, settings.clone()).expect("memory for the cache");
    let mut batcher = Batcher::new(device, network, slots, settings).expect("memory for the cache");
    // 1. The first chunk has the same noise. This also compiles what is timed below.
    let (first, all) = (chunks(&mut generator, slots, wanted), at_once(&mut batcher, wanted));
    let same = first.iter().zip(&all).take(slots).all(|(a, b)| a == b);
    assert!(same, "other tokens than those of a generator");
    // 2. In turns.
    let n: usize = wanted.iter().map(|(_, n)| n).sum();
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        times[0].push(clocked(|| drop(chunks(&mut generator, slots, wanted))));
        times[1].push(clocked(|| drop(at_once(&mut batcher, wanted))));
    }
    println!("  {what}: {n} tokens");
    for (name, clock) in [("by the clock", 0), ("processor time", 1)] {
        let [chunks, batcher] = times.each_ref().map(|times| {
            let mut times: Vec<f64> = times.iter().map(|pair| pair[clock]).collect();
            times.sort_unstable_by(f64::total_cmp);
            (times[0], times[times.len() / 2])
        });
        println!(
            "    {name}: chunks {:.1} ms, continuous {:.1} ms (best), {:.1} and {:.1} (median); {:.2}×, {:.2}×; {:.0} and {:.0} tokens/s",
            chunks.0 * 1e3,
            batcher.0 * 1e3,
            chunks.1 * 1e3,
            batcher.1 * 1e3,
            chunks.0 / batcher.0,
            chunks.1 / batcher.1,
            n as f64 / chunks.0,
            n as f64 / batcher.0,
        );
    }
}

/// The wanted tokens of each prompt, by a generator that waits for the longest of each chunk.
fn chunks(generator: &mut Generator, slots: usize, wanted: &[Wanted]) -> Vec<Vec<u32>> {
    let mut texts = Vec::new();
    for chunk in wanted.chunks(slots) {
        generator.settings.max_tokens = chunk.iter().map(|(_, n)| *n).max().unwrap_or(0);
        let prompts: Vec<Vec<u32>> = chunk.iter().map(|(ids, _)| ids.clone()).collect();
        generator.start(&prompts).expect("known tokens");
        while pollster::block_on(generator.next()).expect("a device that decodes").is_some() {}
        let text = |(row, (ids, n)): (usize, &Wanted)| generator.tokens(row)[ids.len()..][..*n].to_vec();
        texts.extend(chunk.iter().enumerate().map(text));
    }
    texts
}

/// The same by a batcher.
fn at_once(batcher: &mut Batcher, wanted: &[Wanted]) -> Vec<Vec<u32>> {
    batcher.clear();
    for (ids, n) in wanted {
        batcher.settings.max_tokens = *n;
        batcher.push(ids.clone()).expect("known tokens");
    }
    while pollster::block_on(batcher.next()).expect("a device that decodes").is_some() {}
    let mut ended = batcher.take_ended();
    ended.sort_unstable_by_key(|ended| ended.sequence);
    ended.into_iter().map(|ended| ended.tokens[ended.n_prompt..].to_vec()).collect()
}

/// Seconds by the clock, and of processor time of all threads, as Linux counts it; 0 elsewhere.
fn clocked(work: impl FnOnce()) -> [f64; 2] {
    let (began, before) = (Instant::now(), processor_seconds());
    work();
    [began.elapsed().as_secs_f64(), processor_seconds() - before]
}

fn processor_seconds() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanoseconds = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e9
}
