//! `cloche tokenize`: how a text is split and merged, step by step.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::folder;
use crate::report::{print_json, print_line};

/// The options of `cloche tokenize`.
#[derive(Args)]
pub struct TokenizeArgs {
    /// The model folder whose tokenizer is asked.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The text.
    #[arg(long)]
    text: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A folder without a tokenizer.
pub fn run(args: &TokenizeArgs) -> Result<()> {
    let trace = folder::tokenizer(&args.model)?.trace(&args.text);
    if args.json {
        print_json(&trace);
        return Ok(());
    }
    for piece in &trace.pieces {
        print_line(format_args!("{:?}: {}", piece.text, piece.symbols.join(" ")));
        for step in &piece.steps {
            let merge = format!("{} + {}", step.left, step.right);
            print_line(format_args!("  merge {:<5} {merge:<20} {}", step.rank, step.symbols.join(" ")));
        }
        let ids: Vec<String> = piece.tokens.iter().map(|token| token.id.to_string()).collect();
        print_line(format_args!("  ids {}", ids.join(",")));
    }
    Ok(())
}
