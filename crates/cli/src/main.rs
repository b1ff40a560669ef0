//! Grow a language model from a command line.
//!
//! Modules in reading order: each command is a file, and what several of them need comes first.

mod report;
mod device;
mod kernels;
mod settings;
mod corpus;
mod folder;
mod train;
mod save;
mod source;
mod reader;
mod curation;
mod lora;
mod tune;
mod sft;
mod reward;
mod dpo;
mod grpo;
mod ppo;
mod candidate;
mod distill;
mod evaluate;
mod chat;
mod course;
mod sampling;
mod generate;
mod eval;
mod quantize;
mod logits;
mod tokenize;
mod cost;
mod devices;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Grow a language model: from a text file to a model that speaks.
#[derive(Parser)]
#[command(name = "cloche", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a tokenizer and a model on a text, and leave a Hugging Face folder.
    Train(Box<train::TrainArgs>),
    /// Teach a model to answer from demonstrations (supervised fine-tuning), whole or beside it as an adapter.
    Sft(Box<sft::SftArgs>),
    /// Teach a model which answers people prefer, from comparisons (a reward model).
    Reward(Box<reward::RewardArgs>),
    /// Teach a model from comparisons, without a reward model (direct preference optimisation).
    Dpo(Box<dpo::DpoArgs>),
    /// Let a model learn from rewards, with a critic, near to where it began (PPO).
    Ppo(Box<ppo::PpoArgs>),
    /// Let a model learn from rewards for its own answers, which are checked (GRPO).
    Grpo(Box<grpo::GrpoArgs>),
    /// Let a small model learn from a larger one's logits, or from the best of its answers (distillation).
    Distill(Box<distill::DistillArgs>),
    /// Ask a model questions whose answers can be checked.
    Evaluate(evaluate::EvaluateArgs),
    /// Talk to a model.
    Chat(chat::ChatArgs),
    /// Go the whole way on built-in data, from an empty model to an aligned one, and write a report.
    Course(course::CourseArgs),
    /// Let a model continue a prompt.
    Generate(generate::GenerateArgs),
    /// Measure how well a model predicts a text.
    Eval(eval::EvalArgs),
    /// Round a model's weights, for a folder of a third of the size or less that speaks faster.
    Quantize(quantize::QuantizeArgs),
    /// Print a model's logits for some ids, to hold them against another implementation.
    Logits(logits::LogitsArgs),
    /// Show how a tokenizer splits a text.
    Tokenize(tokenize::TokenizeArgs),
    /// Say what a training step will cost, without allocating anything.
    Cost(cost::CostArgs),
    /// List the devices that can be trained on.
    Devices(devices::DevicesArgs),
}

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<()> {
    match command {
        Command::Train(args) => train::run(&args),
        Command::Sft(args) => sft::run(&args),
        Command::Reward(args) => reward::run(&args),
        Command::Ppo(args) => ppo::run(&args),
        Command::Dpo(args) => dpo::run(&args),
        Command::Grpo(args) => grpo::run(&args),
        Command::Distill(args) => distill::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Chat(args) => chat::run(&args),
        Command::Course(args) => course::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Logits(args) => logits::run(&args),
        Command::Tokenize(args) => tokenize::run(&args),
        Command::Cost(args) => cost::run(&args),
        Command::Devices(args) => devices::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }
}
