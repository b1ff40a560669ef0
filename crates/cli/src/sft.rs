//! `cloche sft`: a model learns to answer from demonstrations.

use anyhow::Result;
use clap::Args;
use cloche_train::learner::Optimization;
use cloche_train::sft::{Data, Run, Settings};

use crate::tune::{Student, TuneArgs, conclude, follow};

/// The options of `cloche sft`.
#[derive(Args)]
pub struct SftArgs {
    #[command(flatten)]
    tune: TuneArgs,
}

/// The settings where nothing else is said: a few hundred steps, at a rate for models as small as those grown here.
fn defaults() -> Settings {
    let optimization = Optimization { lr: 1e-3, min_lr: 1e-4, ..Optimization::default() };
    Settings { optimization, ..Settings::default() }
}

/// Runs the command.
///
/// # Errors
/// Data, settings, a model or a folder with which no run can begin; a device that fails; a model that cannot be saved.
pub fn run(args: &SftArgs) -> Result<()> {
    let mut report = args.tune.report()?;
    let out = args.tune.out.as_path();
    // 1. What is to be learnt, and by whom.
    let mut plan = args.tune.plan(defaults(), |_| {}, &report)?;
    let material = plan.record.source()?.demonstrations(&plan.record.wanted())?;
    let student = Student::open(&mut plan, args.tune.device, &material, &report)?;
    // 2. Texts become tokens, and a run that fits. So far nothing is written.
    let (reader, context_len) = (&student.reader, student.context_len());
    let max_tokens = student.max_tokens(&plan.record, &material);
    let asked = reader.prompts(material.exam, context_len, max_tokens, &report)?;
    let data = Data {
        train: reader.examples(&material.train, context_len, &report)?,
        held_out: reader.examples(&material.held_out, context_len, &report)?,
        exam: asked.exam(reader),
    };
    plan.record.settings.stop_ids.clone_from(&reader.stop_ids);
    let settings = plan.record.settings.clone();
    let run = Run::new(&student.device, student.network.clone(), settings, data, plan.saved.take())?;
    // 3. From here on the folder is the run's.
    if !args.tune.resume {
        student.begin(out, &plan.record)?;
    }
    // 4. Learn, and leave a model or an adapter.
    let network = run.network();
    let outcome = follow(run.stage(), out, reader, &asked.questions, &mut report)?;
    student.leave(out, &plan.record, &network, &outcome)?;
    conclude("sft", out, &outcome, &mut report)
}
