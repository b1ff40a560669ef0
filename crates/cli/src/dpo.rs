//! `cloche dpo`: a model learns from comparisons, without a reward model.

use anyhow::Result;
use clap::{Args, ValueEnum};
use cloche_train::dpo::{Data, Loss, Run, Settings};

use crate::tune::{Record, Student, TuneArgs, conclude, follow};

/// The options of `cloche dpo`.
#[derive(Args)]
pub struct DpoArgs {
    #[command(flatten)]
    tune: TuneArgs,
    /// How dearly the model pays for leaving what it was [default: 0.1].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    beta: Option<f32>,
    /// What is asked of the margin between the two answers [default: sigmoid].
    #[arg(long, value_enum, value_name = "NAME")]
    loss: Option<Objective>,
    /// The share of comparisons that are taken to be the wrong way round [default: 0].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    label_smoothing: Option<f32>,
    /// How much the tokens of the preferred answers count besides, as in fine-tuning [default: 0].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    sft_weight: Option<f32>,
    /// Let the model read all comparisons as it was before the first step, which saves time where they come again.
    #[arg(long)]
    precompute: bool,
}

/// What can be asked of the margin.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Objective {
    /// As of a reward model.
    Sigmoid,
    /// A margin that is reached and not exceeded.
    Ipo,
    /// A margin of at least 1.
    Hinge,
}

impl DpoArgs {
    fn apply(&self, record: &mut Record<Settings>) {
        let settings = &mut record.settings;
        settings.beta = self.beta.unwrap_or(settings.beta);
        settings.label_smoothing = self.label_smoothing.unwrap_or(settings.label_smoothing);
        settings.sft_weight = self.sft_weight.unwrap_or(settings.sft_weight);
        settings.precompute |= self.precompute;
        settings.loss = match self.loss {
            None => settings.loss,
            Some(Objective::Sigmoid) => Loss::Sigmoid,
            Some(Objective::Ipo) => Loss::Ipo,
            Some(Objective::Hinge) => Loss::Hinge,
        };
    }
}

/// Runs the command.
///
/// # Errors
/// Data, settings, a model or a folder with which no run can begin; a device that fails; a model that cannot be saved.
pub fn run(args: &DpoArgs) -> Result<()> {
    let mut report = args.tune.report()?;
    let out = args.tune.out.as_path();
    // 1. What is to be learnt, and by whom.
    let mut plan = args.tune.plan(Settings::usual(), |record| args.apply(record), &report)?;
    let material = plan.record.source()?.comparisons(&plan.record.wanted())?;
    let student = Student::open(&mut plan, args.tune.device, &material, &report)?;
    // 2. Texts become tokens, and a run that fits. So far nothing is written.
    let (reader, context_len) = (&student.reader, student.context_len());
    let max_tokens = student.max_tokens(&plan.record, &material);
    let asked = reader.prompts(material.exam, context_len, max_tokens, &report)?;
    let data = Data {
        train: reader.pairs(&material.train, context_len, &report)?,
        held_out: reader.pairs(&material.held_out, context_len, &report)?,
        exam: asked.exam(reader),
    };
    plan.record.settings.stop_ids.clone_from(&reader.stop_ids);
    let settings = plan.record.settings.clone();
    // The base of an adapter is its reference already.
    let reference = if plan.record.lora.is_none() { Some(student.reference()?) } else { None };
    let network = student.network.clone();
    let run = Run::new(&student.device, network, reference, settings, data, plan.saved.take())?;
    // 3. From here on the folder is the run's.
    if !args.tune.resume {
        student.begin(out, &plan.record)?;
    }
    // 4. Learn, and leave a model or an adapter.
    let network = run.network();
    let outcome = follow(run.stage(), out, reader, &asked.questions, &mut report)?;
    student.leave(out, &plan.record, &network, &outcome)?;
    conclude("dpo", out, &outcome, &mut report)
}
