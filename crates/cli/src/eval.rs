//! `cloche eval`: how well a model predicts a text.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use cloche_train::data::Windows;
use cloche_train::evaluate::{Evaluator, Score};

use crate::corpus::{IdFile, Texts};
use crate::device::{self, Choice};
use crate::folder::{self, Quantize};
use crate::report::{Report, print_json, print_line};

/// Windows that are computed at once.
const BATCH_SIZE: usize = 8;

/// The options of `cloche eval`.
#[derive(Args)]
pub struct EvalArgs {
    /// The model folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// A UTF-8 text file, a folder of .txt and .md files, or a .jsonl file with a field `text`.
    #[arg(long, value_name = "PATH")]
    data: String,
    /// At most so many batches of 8 windows, spread over the whole text [default: all].
    #[arg(long, value_name = "N")]
    batches: Option<usize>,
    /// Round the weights of linear layers: less memory, and on the CPU more tokens a second, for a little of the quality.
    #[arg(long, value_enum)]
    quantize: Option<Quantize>,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    device: Choice,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A model or a text that cannot be opened, a text of fewer than two tokens.
pub fn run(args: &EvalArgs) -> Result<()> {
    if args.batches == Some(0) {
        bail!("batches: found 0, expected at least 1");
    }
    let device = device::open(args.device)?;
    let tokenizer = folder::tokenizer(&args.model)?;
    let model = folder::open_quantized(&args.model, args.quantize, &device)?;
    let vocab_size = model.network.config.vocab_size;
    if tokenizer.vocab_size() > vocab_size {
        bail!("tokenizer.json: found {} tokens, the model has {vocab_size}", tokenizer.vocab_size());
    }
    let texts = Texts::open(&args.data, 0, 0)?;
    let report = Report::new(args.json);
    let file = IdFile::temporary();
    let (tokens, bytes) = texts.encode_all(&tokenizer, &file, &report)?;
    let windows = Windows::new(&tokens, BATCH_SIZE, model.network.config.context_len, args.batches)?;
    let mut evaluator = Evaluator::new(&device, &model.network, BATCH_SIZE)?;
    let (sum, predicted) = pollster::block_on(evaluator.sum(&windows))?;
    // Of a part of the windows the bytes are not known, but those of a token are, on average.
    let bytes = predicted as f64 * bytes as f64 / tokens.len() as f64;
    let score = Score::new(sum, predicted, bytes.round() as u64);
    if args.json {
        print_json(&score);
        return Ok(());
    }
    print_line(format_args!("tokens          {}", score.tokens));
    print_line(format_args!("nats per token  {:.4}", score.nats_per_token));
    print_line(format_args!("bits per token  {:.4}", score.bits_per_token));
    print_line(format_args!("perplexity      {:.3}", score.perplexity));
    print_line(format_args!("bits per byte   {:.4}", score.bits_per_byte));
    Ok(())
}
