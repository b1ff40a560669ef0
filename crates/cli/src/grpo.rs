//! `cloche grpo`: a model learns from rewards for its own answers, which are checked and not learnt.

use anyhow::Result;
use clap::Args;
use cloche_train::grpo::{Data, Run, Settings};

use crate::tune::{Record, Student, TuneArgs, conclude, follow};

/// The options of `cloche grpo`.
#[derive(Args)]
pub struct GrpoArgs {
    #[command(flatten)]
    tune: TuneArgs,
    /// Answers to each question [default: 8].
    #[arg(long, value_name = "N")]
    group: Option<usize>,
    /// What logits are divided by where answers are drawn [default: 1].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    temperature: Option<f32>,
    /// Updates from the answers of one step [default: 1].
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Answers that are drawn or learnt from at once [default: 64].
    #[arg(long, value_name = "N")]
    micro_batch: Option<usize>,
    /// How far below 1 the ratio of probabilities may go [default: 0.2].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    clip_low: Option<f32>,
    /// How far above 1 the ratio of probabilities may go [default: 0.2].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    clip_high: Option<f32>,
    /// What a nat of divergence from the model at the beginning costs; 0 for nothing [default: 0].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    beta: Option<f32>,
}

impl GrpoArgs {
    fn apply(&self, record: &mut Record<Settings>) {
        let settings = &mut record.settings;
        settings.group = self.group.unwrap_or(settings.group);
        settings.temperature = self.temperature.unwrap_or(settings.temperature);
        settings.epochs = self.epochs.unwrap_or(settings.epochs);
        settings.micro_batch = self.micro_batch.unwrap_or(settings.micro_batch);
        settings.clip_low = self.clip_low.unwrap_or(settings.clip_low);
        settings.clip_high = self.clip_high.unwrap_or(settings.clip_high);
        settings.beta = self.beta.unwrap_or(settings.beta);
    }
}

/// Runs the command.
///
/// # Errors
/// Data, settings, a model or a folder with which no run can begin; a device that fails; a model that cannot be saved.
pub fn run(args: &GrpoArgs) -> Result<()> {
    let mut report = args.tune.report()?;
    let out = args.tune.out.as_path();
    // 1. What is asked, and whom.
    let mut plan = args.tune.plan(Settings::usual(), |record| args.apply(record), &report)?;
    let material = plan.record.source()?.questions(&plan.record.wanted())?;
    let student = Student::open(&mut plan, args.tune.device, &material, &report)?;
    // 2. Texts become tokens, and a run that fits. So far nothing is written.
    let (reader, context_len) = (&student.reader, student.context_len());
    let max_tokens = student.max_tokens(&plan.record, &material);
    let practice = reader.prompts(material.practice, context_len, max_tokens, &report)?;
    let asked = reader.prompts(material.exam, context_len, max_tokens, &report)?;
    plan.record.settings.max_tokens = max_tokens;
    plan.record.settings.stop_ids.clone_from(&reader.stop_ids);
    let settings = plan.record.settings.clone();
    let verifier = reader.verifier(&practice.questions);
    let reference = if settings.beta > 0.0 { Some(student.reference()?) } else { None };
    let data = Data { prompts: practice.prompts, verifier, reference, exam: asked.exam(reader) };
    let run = Run::new(&student.device, student.network.clone(), settings, data, plan.saved.take())?;
    // 3. From here on the folder is the run's.
    if !args.tune.resume {
        student.begin(out, &plan.record)?;
    }
    // 4. Learn, and leave a model or an adapter.
    let network = run.network();
    let outcome = follow(run.stage(), out, reader, &asked.questions, &mut report)?;
    student.leave(out, &plan.record, &network, &outcome)?;
    conclude("grpo", out, &outcome, &mut report)
}
