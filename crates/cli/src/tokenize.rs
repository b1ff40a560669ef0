//! `cloche tokenize`: how a text is split and merged, step by step; or what of a record a model learns, token by token.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use cloche_text::{Encoded, Tokenizer};
use serde::Serialize;

use crate::curation::Learn;
use crate::folder;
use crate::reader::Reader;
use crate::report::{print_json, print_line};
use crate::source::{Source, Wanted};

/// The options of `cloche tokenize`.
#[derive(Args)]
pub struct TokenizeArgs {
    /// The model folder whose tokenizer is asked.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The text.
    #[arg(long, required_unless_present = "data", conflicts_with = "data")]
    text: Option<String>,
    /// Show each token of these records, and which of them are learnt: a .jsonl file, or what is built in, as for
    /// cloche sft.
    #[arg(long, value_name = "PATH|KIND")]
    data: Option<String>,
    /// How many records are shown.
    #[arg(long, value_name = "N", default_value_t = 3, requires = "data")]
    records: usize,
    /// What is learnt: the assistant's answers, or all tokens of a record.
    #[arg(long, value_enum, default_value_t, requires = "data")]
    learn: Learn,
    /// Take prompts and answers that are plain strings for turns of a conversation.
    #[arg(long, requires = "data")]
    turns: bool,
    /// Which of the built-in records.
    #[arg(long, value_name = "N", default_value_t = 1337, requires = "data")]
    seed: u64,
    /// Print one JSON object, or one for each record.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A folder without a tokenizer; records that cannot be read.
pub fn run(args: &TokenizeArgs) -> Result<()> {
    let tokenizer = folder::tokenizer(&args.model)?;
    match (&args.text, &args.data) {
        (Some(text), _) => show_merges(&tokenizer, text, args.json),
        (_, Some(data)) => show_masks(args, tokenizer, data)?,
        _ => {}
    }
    Ok(())
}

fn show_merges(tokenizer: &Tokenizer, text: &str, json: bool) {
    let trace = tokenizer.trace(text);
    if json {
        return print_json(&trace);
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
}

/// A token of a record.
#[derive(Serialize)]
struct Marked {
    id: u32,
    text: String,
    learn: bool,
}

/// A record, token by token.
#[derive(Serialize)]
struct Mask {
    record: usize,
    tokens: Vec<Marked>,
}

fn show_masks(args: &TokenizeArgs, tokenizer: Tokenizer, data: &str) -> Result<()> {
    let reader = Reader::new(tokenizer, args.turns)?;
    let reader = if args.learn == Learn::All { reader.learning_everything() } else { reader };
    let wanted = Wanted { examples: args.records, exam: 0, seed: args.seed, held_out: None };
    let records = Source::open(data)?.whole(&wanted)?;
    for (number, record) in records.iter().take(args.records).enumerate() {
        let Encoded { ids, mut learn } = reader.encoded(record)?;
        // Nothing comes before the first token, so it cannot be learnt.
        learn.iter_mut().take(1).for_each(|learn| *learn = false);
        let marked =
            |(id, learn): (&u32, bool)| Marked { id: *id, text: reader.tokenizer.token_text(*id), learn };
        let mask = Mask { record: number, tokens: ids.iter().zip(learn).map(marked).collect() };
        if args.json {
            print_json(&mask);
            continue;
        }
        let n_learn = mask.tokens.iter().filter(|token| token.learn).count();
        print_line(format_args!("record {number}: {} tokens, {n_learn} of them to learn", mask.tokens.len()));
        for token in &mask.tokens {
            let learn = if token.learn { "learn" } else { "" };
            print_line(format_args!("  {learn:<5} {:>6} {:?}", token.id, token.text));
        }
    }
    Ok(())
}
