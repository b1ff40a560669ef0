//! `cloche logits`: what a model computes, to the last digit, to hold it against another implementation.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use cloche_models::forward_logits;
use serde_json::json;

use crate::device::{self, Choice};
use crate::folder;
use crate::report::{print_json, print_line};

/// The options of `cloche logits`.
#[derive(Args)]
pub struct LogitsArgs {
    /// The model folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Token ids, separated by commas.
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true)]
    ids: Vec<u32>,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    device: Choice,
    /// Print `{"shape":[T,V],"logits":[…]}`, row by row; otherwise the likeliest token after each id.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A model that cannot be opened; ids that it does not have, or more than it sees at once.
pub fn run(args: &LogitsArgs) -> Result<()> {
    let device = device::open(args.device)?;
    let model = folder::open(&args.model, &device)?;
    let (vocab_size, context_len) = (model.network.config.vocab_size, model.network.config.context_len);
    if let Some(id) = args.ids.iter().find(|&&id| id as usize >= vocab_size) {
        bail!("ids: found {id}, expected ids below {vocab_size}, the model's vocabulary");
    }
    if args.ids.len() > context_len {
        bail!("ids: found {}, expected at most {context_len}, the model's context", args.ids.len());
    }
    let logits = pollster::block_on(forward_logits(&device, &model.network, &args.ids))?;
    if args.json {
        print_json(&json!({ "shape": [args.ids.len(), vocab_size], "logits": logits }));
        return Ok(());
    }
    for (id, row) in args.ids.iter().zip(logits.chunks(vocab_size)) {
        let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        if let Some((next, logit)) = best {
            print_line(format_args!("after {id}: {next} ({logit:.4})"));
        }
    }
    Ok(())
}
