//! `cloche sft`: a model learns to answer from demonstrations.

use anyhow::Result;
use clap::Args;
use cloche_train::packing::Filling;
use cloche_train::sft::{Data, Run, Settings};

use crate::curation::CurationArgs;
use crate::report::Report;
use crate::tune::{Record, Student, TuneArgs, conclude, follow};

/// The options of `cloche sft`.
#[derive(Args)]
pub struct SftArgs {
    #[command(flatten)]
    tune: TuneArgs,
    #[command(flatten)]
    curation: CurationArgs,
    /// Let examples share rows as long as the model's context, as many as fit, instead of padding each to the longest. The
    /// batch size then counts rows.
    #[arg(long)]
    packing: bool,
}

impl SftArgs {
    fn apply(&self, record: &mut Record<Settings>) {
        self.curation.apply(&mut record.curation);
        record.settings.packing |= self.packing;
    }
}

/// Runs the command.
///
/// # Errors
/// Data, settings, a model or a folder with which no run can begin; a device that fails; a model that cannot be saved.
pub fn run(args: &SftArgs) -> Result<()> {
    let mut report = args.tune.report()?;
    let out = args.tune.out.as_path();
    // 1. What is to be learnt, and by whom.
    let mut plan = args.tune.plan(Settings::usual(), |record| args.apply(record), &report)?;
    let (curation, wanted) = (plan.record.curation.clone(), plan.record.wanted());
    let mut material = plan.record.source()?.demonstrations(&wanted)?;
    curation.without_duplicates(&mut material, &report)?;
    let student = Student::open(&mut plan, args.tune.device, &material, &report)?;
    // 2. Texts become tokens, and a run that fits. So far nothing is written.
    let (reader, context_len) = (&student.reader, student.context_len());
    curation.within_lengths(&mut material, reader, &report)?;
    let max_tokens = student.max_tokens(&plan.record, &material);
    let asked = reader.prompts(material.exam, context_len, max_tokens, &report)?;
    let train = reader.examples(&material.train, context_len, &report)?;
    let data = Data {
        train: curation.chosen(&student, train, &report)?,
        mix: curation.mixed(reader, context_len, &wanted, &report)?,
        held_out: reader.examples(&material.held_out, context_len, &report)?,
        exam: asked.exam(reader),
    };
    plan.record.settings.stop_ids.clone_from(&reader.stop_ids);
    let settings = plan.record.settings.clone();
    let run = Run::new(&student.device, student.network.clone(), settings, data, plan.saved.take())?;
    if plan.record.settings.packing {
        tell_packing(&run.filling(), &report);
    }
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

/// Tells how much of the rows is empty.
fn tell_packing(filling: &Filling, report: &Report) {
    let percent = |share: f32| 100.0 * share;
    report.note(format_args!(
        "{} examples share {} rows of {} tokens, {:.1} % of which are padding; in rows of their own, of {} tokens, it would be \
         {:.1} %",
        filling.examples,
        filling.rows,
        filling.width,
        percent(filling.padding()),
        filling.padded_width,
        percent(filling.padding_apart()),
    ));
}
