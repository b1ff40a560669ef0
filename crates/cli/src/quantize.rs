//! `cloche quantize`: a model with rounded weights, in a folder of its own.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use clap::Args;
use cloche_models::QuantizedModel;
use indicatif::DecimalBytes;
use serde_json::json;

use crate::device::{self, Choice};
use crate::folder::{self, Quantize};
use crate::report::{print_json, print_line};
use crate::save;

/// The options of `cloche quantize`.
#[derive(Args)]
pub struct QuantizeArgs {
    /// The model folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// An adapter, which becomes a part of the model before its weights are rounded.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// How exact the weights of linear layers are to be.
    #[arg(long, value_enum, default_value_t = Quantize::Int8)]
    to: Quantize,
    /// Where the quantised model goes.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace the model that lies there.
    #[arg(long)]
    overwrite: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A model that cannot be opened, is quantised already, or has a layer whose width is no multiple of the group that shares a
/// scale; a folder that holds something else.
pub fn run(args: &QuantizeArgs) -> Result<()> {
    if let Some(path) =
        [Some(&args.model), args.adapter.as_ref()].into_iter().flatten().find(|path| same(path, &args.out))
    {
        bail!("out: found {}, expected another folder than what is read", path.display());
    }
    if !args.overwrite {
        save::require_free_or(&args.out, "--overwrite replaces it")?;
    }
    if folder::is_judge(&args.model, args.adapter.as_deref())? {
        bail!("{}: found a reward model, expected a model that makes words", args.model.display());
    }
    let device = device::open(Choice::Cpu)?;
    let model = folder::open_with(&args.model, args.adapter.as_deref(), &device)?;
    folder::expect_whole(&args.model, &model.network)?;
    let tokenizer = folder::tokenizer_of(&args.model, args.adapter.as_deref(), &model)?;
    let config = &model.network.config;
    let whole = 4 * config.n_params();
    // The weights as they are read back, and their codes three times: on the device, read back, and as a file.
    device::require_memory(&device, "quantising the model", whole.saturating_mul(2))?;
    let quantized = pollster::block_on(model.network.quantized(&device, args.to.precision()))
        .map_err(|error| anyhow!("quantize: {error}"))?;
    let stored = pollster::block_on(QuantizedModel::read(&quantized))?.expect("it has just been quantised");
    let files = stored.files(&model.generation.tokens)?;

    folder::create(&args.out)?;
    if args.overwrite {
        save::clear(&args.out)?;
    }
    // What speaks of a model comes before its weights: a folder is whole as soon as these are there.
    folder::write_speech(&args.out, config, &tokenizer, &model.generation)?;
    let card_of = args.adapter.as_ref().unwrap_or(&args.model).join("README.md");
    if card_of.is_file() {
        let card =
            std::fs::read_to_string(&card_of).map_err(|error| anyhow!("{}: {error}", card_of.display()))?;
        let card = format!("{card}\nThe weights of its linear layers are rounded to {}.\n", args.to.name());
        folder::write_file(&args.out, "README.md", card.as_bytes())?;
    }
    let mut bytes = 0;
    for (name, content) in files.iter().rev() {
        folder::write_file(&args.out, name, content)?;
        bytes += content.len() as u64;
    }
    let out = args.out.display();
    if args.json {
        print_json(&json!({
            "event": "done", "out": out.to_string(), "precision": args.to.name(), "bytes": bytes, "whole_bytes": whole,
        }));
        return Ok(());
    }
    let share = 100.0 * bytes as f64 / whole as f64;
    print_line(format_args!(
        "{} in {}, {share:.0} % of the {} of whole weights: {out}",
        DecimalBytes(bytes),
        args.to.name(),
        DecimalBytes(whole)
    ));
    Ok(())
}

/// Whether two paths are one folder.
fn same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
