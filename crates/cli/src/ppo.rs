//! `cloche ppo`: a model learns from rewards, of a reward model or of who checks the answers, near to where it began.

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use cloche_models::Network;
use cloche_train::judge::Judge;
use cloche_train::ppo::{Data, Models, Run, Scorer, Settings};

use crate::curation::{absolute, texts};
use crate::folder;
use crate::reader::expect_same_tokens;
use crate::tune::{Record, Student, TuneArgs, conclude, follow};

/// Answers that a reward model reads at once.
const JUDGED: usize = 32;

/// The options of `cloche ppo`.
#[derive(Args)]
pub struct PpoArgs {
    #[command(flatten)]
    tune: TuneArgs,
    /// The folder of a reward model, as `cloche reward` leaves it [default: none; the data knows what is right].
    #[arg(long, value_name = "DIR")]
    judge: Option<PathBuf>,
    /// Learning rate of the critic [default: 3e-4].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    critic_lr: Option<f32>,
    /// What logits are divided by where answers are drawn [default: 1].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    temperature: Option<f32>,
    /// How often the answers of a step are learnt from [default: 4].
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Updates of an epoch [default: 1].
    #[arg(long, value_name = "N")]
    minibatches: Option<usize>,
    /// How far from 1 the ratio of probabilities may go [default: 0.2].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    clip: Option<f32>,
    /// What a nat of divergence from the model at the beginning costs [default: 0.05].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    beta: Option<f32>,
    /// What an answer pays that did not end by itself [default: 1].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    missing_end_penalty: Option<f32>,
    /// Text that is not to be forgotten, whose loss is added: stories, lessons, a .jsonl file, …
    #[arg(long, value_name = "SOURCE")]
    pretraining: Option<String>,
    /// How much its loss counts [default: 1].
    #[arg(long, value_name = "F", requires = "pretraining", allow_negative_numbers = true)]
    pretraining_weight: Option<f32>,
}

impl PpoArgs {
    fn apply(&self, record: &mut Record<Settings>) {
        let settings = &mut record.settings;
        settings.critic_lr = self.critic_lr.unwrap_or(settings.critic_lr);
        settings.temperature = self.temperature.unwrap_or(settings.temperature);
        settings.epochs = self.epochs.unwrap_or(settings.epochs);
        settings.minibatches = self.minibatches.unwrap_or(settings.minibatches);
        settings.clip = self.clip.unwrap_or(settings.clip);
        settings.beta = self.beta.unwrap_or(settings.beta);
        settings.missing_end_penalty = self.missing_end_penalty.unwrap_or(settings.missing_end_penalty);
        if let Some(data) = &self.pretraining {
            record.curation.pretraining = Some(absolute(data));
            settings.pretraining_weight = self.pretraining_weight.unwrap_or(1.0);
        }
        if let Some(path) = &self.judge {
            record.judge = Some(std::path::absolute(path).unwrap_or_else(|_| path.clone()));
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Data, settings, models or a folder with which no run can begin; a device that fails; a model that cannot be saved.
pub fn run(args: &PpoArgs) -> Result<()> {
    let mut report = args.tune.report()?;
    let out = args.tune.out.as_path();
    // 1. What is asked, and whom.
    let mut plan = args.tune.plan(Settings::default(), |record| args.apply(record), &report)?;
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
    let (scorer, critic) = match judge(&plan.record, &student)? {
        Some(network) => {
            let judge = Judge::new(&student.device, &network, JUDGED, context_len)?;
            let critic = pollster::block_on(network.merged(&student.device))?;
            (Scorer::Judge(Box::new(judge)), critic)
        }
        None => {
            let seed = settings.optimization.seed;
            let critic = pollster::block_on(student.network.scoring(&student.device, seed))?;
            (Scorer::Verifier(reader.verifier(&practice.questions)), critic)
        }
    };
    let models = Models { policy: student.network.clone(), reference: student.reference()?, critic };
    let pretraining = match &plan.record.curation.pretraining {
        Some(data) => texts(data, reader, context_len, &plan.record.wanted(), &report)
            .map_err(|error| anyhow!("pretraining: {error}"))?,
        None => Vec::new(),
    };
    let data = Data { prompts: practice.prompts, scorer, pretraining, exam: asked.exam(reader) };
    let run = Run::new(&student.device, models, settings, data, plan.saved.take())?;
    // 3. From here on the folder is the run's.
    if !args.tune.resume {
        student.begin(out, &plan.record)?;
    }
    // 4. Learn, and leave a model or an adapter.
    let network = run.network();
    let outcome = follow(run.stage(), out, reader, &asked.questions, &mut report)?;
    student.leave(out, &plan.record, &network, &outcome)?;
    conclude("ppo", out, &outcome, &mut report)
}

/// The reward model of a run, which must read what the model writes.
fn judge(record: &Record<Settings>, student: &Student) -> Result<Option<Network>> {
    let Some(path) = &record.judge else { return Ok(None) };
    let network = folder::open_judge(path, &student.device)?;
    let why = "the reward model reads the model's own tokens";
    expect_same_tokens(path, &folder::tokenizer(path)?, &student.reader.tokenizer, why)?;
    if network.config.context_len < student.context_len() {
        bail!(
            "{}: found a reward model with a context of {} tokens, expected at least {}",
            path.display(),
            network.config.context_len,
            student.context_len()
        );
    }
    Ok(Some(network))
}
