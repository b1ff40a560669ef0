//! How a reward model orders answers, and whether it is as sure as it is right.

use anyhow::{Result, bail};
use cloche_tensor::Device;
use cloche_train::calibration::{Bin, calibration_error, reliability};
use cloche_train::judge::Judge;
use cloche_train::rate::Rate;

use super::EvaluateArgs;
use super::scores::Score;
use crate::folder::{self, Model};
use crate::reader::Reader;
use crate::report::Report;

/// Answers that are judged at once.
const BATCH_SIZE: usize = 32;

/// Parts of the confidence from ½ to 1.
const BINS: usize = 10;

/// What a reward model comes to.
pub struct Ranked {
    /// Comparisons.
    pub n: usize,
    /// Accuracy, margin and calibration.
    pub scores: Vec<Score>,
    /// Confidence and accuracy side by side.
    pub bins: Vec<Bin>,
}

/// Lets a reward model compare answers that people have compared.
///
/// # Errors
/// Data without comparisons; a tokenizer that is not the model's; a lost device.
pub fn rank(args: &EvaluateArgs, device: &Device, model: &Model, report: &Report) -> Result<Ranked> {
    if args.against.is_some() || args.judge.is_some() || args.samples.is_some() || args.shots > 0 {
        bail!(
            "{}: found a model that scores answers, expected one that gives them with --against, --judge, --samples and \
             --shots",
            args.model.display()
        );
    }
    let tokenizer = folder::tokenizer_of(&args.model, args.adapter.as_deref(), model)?;
    let reader = Reader::new(tokenizer, args.turns)?;
    let material = args.source()?.comparisons(&args.wanted())?;
    let network = &model.network;
    let context_len = network.config.context_len;
    let rankings = reader.rankings(&material.held_out, context_len, report)?;
    let mut judge = Judge::new(device, network, BATCH_SIZE, context_len)?;
    let [better, worse] = pollster::block_on(judge.compare(&rankings))?;
    let margins: Vec<f32> = better.iter().zip(&worse).map(|(better, worse)| better - worse).collect();
    let bins = reliability(&margins, BINS);
    let scores = vec![
        Score::rate("accuracy", Rate::of_wins(&better, &worse)),
        Score::mean("margin", &margins.iter().map(|&margin| margin as f64).collect::<Vec<_>>()),
        Score::plain("calibration_error", calibration_error(&bins) as f64),
    ];
    Ok(Ranked { n: margins.len(), scores, bins })
}
