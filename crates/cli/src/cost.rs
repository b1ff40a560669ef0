//! `cloche cost`: what a training step will take, known before anything is allocated.

use anyhow::Result;
use clap::Args;
use cloche_models::config::preset;
use cloche_train::bytes_in_words;
use cloche_train::cost::{self, RunCost};
use indicatif::HumanCount;
use serde_json::json;

use crate::device::{self, Choice};
use crate::report::{print_json, print_line};
use crate::settings::HyperParameters;

/// The options of `cloche cost`.
#[derive(Args)]
pub struct CostArgs {
    /// The model: tiny, nano, mini, gpt2, llama-tiny, llama-nano or llama-mini.
    #[arg(long, value_name = "NAME", default_value = "nano")]
    preset: String,
    /// Tokens of the vocabulary [default: the preset's].
    #[arg(long, value_name = "N")]
    vocab_size: Option<usize>,
    /// The device to plan for.
    #[arg(long, value_enum, default_value_t)]
    device: Choice,
    #[command(flatten)]
    hyper: HyperParameters,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// Settings with which no run can begin; a model that does not fit in memory.
pub fn run(args: &CostArgs) -> Result<()> {
    let preset = preset(&args.preset)?;
    let vocab_size = args.vocab_size.unwrap_or(preset.model.vocab_size);
    let settings = args.hyper.of_preset(preset, vocab_size, None);
    let device = device::open(args.device)?;
    let layers = settings.model.n_layer;
    let chosen = cost::cost(&device, &settings, device::available_bytes(&device));
    let RunCost { cost, recomputed_layers } = chosen.map_err(device::in_bytes)?;
    let kept = cost::cost_recomputing(&device, &settings, 0)?;
    let again = cost::cost_recomputing(&device, &settings, layers)?;
    if args.json {
        print_json(&json!({
            "preset": preset.name,
            "device": device.name(),
            "n_params": settings.model.n_params(),
            "tokens_per_step": settings.tokens_per_step(),
            "peak_bytes": cost.peak_bytes,
            "state_bytes": cost.state_bytes,
            "flops": cost.flops,
            "bytes_moved": cost.bytes_moved,
            "dispatches": cost.dispatches,
            "recomputed_layers": recomputed_layers,
            "none_recomputed": { "peak_bytes": kept.peak_bytes, "flops": kept.flops },
            "all_recomputed": { "peak_bytes": again.peak_bytes, "flops": again.flops },
        }));
        return Ok(());
    }
    print_line(format_args!("{}: {}", preset.name, preset.summary));
    print_line(format_args!("device          {}", device.describe()));
    print_line(format_args!("parameters      {}", HumanCount(settings.model.n_params())));
    print_line(format_args!("tokens a step   {}", HumanCount(settings.tokens_per_step() as u64)));
    let states = bytes_in_words(cost.state_bytes);
    print_line(format_args!(
        "memory          {}, of which {states} persist",
        bytes_in_words(cost.peak_bytes)
    ));
    print_line(format_args!("arithmetic      {:.3} GFLOP a step", cost.flops as f64 * 1e-9));
    print_line(format_args!("memory traffic  {} a step", bytes_in_words(cost.bytes_moved)));
    print_line(format_args!("dispatches      {} a step", cost.dispatches));
    print_line(format_args!(
        "blocks again    {recomputed_layers} of {layers} in the backward pass, to save memory"
    ));
    for (blocks, cost) in [("none", kept), ("all", again)] {
        let memory = bytes_in_words(cost.peak_bytes);
        print_line(format_args!("  {blocks:<13} {memory}, {:.3} GFLOP a step", cost.flops as f64 * 1e-9));
    }
    Ok(())
}
