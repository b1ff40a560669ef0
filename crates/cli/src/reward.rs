//! `cloche reward`: a model learns from comparisons which answers people prefer.

use anyhow::Result;
use clap::Args;
use cloche_models::config::Head;
use cloche_train::reward::{Data, Run, Settings};

use crate::tune::{Record, Student, TuneArgs, conclude, follow};

/// The options of `cloche reward`.
#[derive(Args)]
pub struct RewardArgs {
    #[command(flatten)]
    tune: TuneArgs,
    /// By how much a better answer's reward shall exceed a worse one's [default: 0].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    margin: Option<f32>,
    /// How strongly rewards are drawn to a mean of 0 [default: 0.01].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    centring: Option<f32>,
}

impl RewardArgs {
    fn apply(&self, record: &mut Record<Settings>) {
        let settings = &mut record.settings;
        settings.margin = self.margin.unwrap_or(settings.margin);
        settings.centring = self.centring.unwrap_or(settings.centring);
        // The base has no head that scores: an adapter brings it along.
        if let Some(lora) = &mut record.lora {
            lora.whole = vec!["score".into()];
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Data, settings, a model or a folder with which no run can begin; a device that fails; a model that cannot be saved.
pub fn run(args: &RewardArgs) -> Result<()> {
    let mut report = args.tune.report()?;
    let out = args.tune.out.as_path();
    // 1. What is to be learnt, and by whom: a model with a head that scores.
    let mut plan = args.tune.plan(Settings::usual(), |record| args.apply(record), &report)?;
    let material = plan.record.source()?.comparisons(&plan.record.wanted())?;
    let student =
        Student::open(&mut plan, args.tune.device, &material, &report)?.with_head(Head::Score, &plan)?;
    // 2. Texts become tokens, and a run that fits. So far nothing is written.
    let (reader, context_len) = (&student.reader, student.context_len());
    let data = Data {
        train: reader.rankings(&material.train, context_len, &report)?,
        held_out: reader.rankings(&material.held_out, context_len, &report)?,
    };
    let settings = plan.record.settings.clone();
    let run = Run::new(&student.device, student.network.clone(), settings, data, plan.saved.take())?;
    // 3. From here on the folder is the run's.
    if !args.tune.resume {
        student.begin(out, &plan.record)?;
    }
    // 4. Learn, and leave a model or an adapter.
    let network = run.network();
    let outcome = follow(run.stage(), out, reader, &[], &mut report)?;
    student.leave(out, &plan.record, &network, &outcome)?;
    conclude("reward", out, &outcome, &mut report)
}
