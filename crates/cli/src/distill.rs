//! `cloche distill`: a small model learns from a larger one, by its logits or by the best of its answers.

mod samples;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use cloche_models::{Base, Network};
use cloche_nn::loss::distill::Divergence;
use cloche_tensor::Device;
use cloche_train::distill::{self, Data};
use cloche_train::learner::Optimization;
use cloche_train::sft;
use serde::{Deserialize, Serialize};

use crate::candidate::Candidate;
use crate::device;
use crate::folder;
use crate::reader::expect_same_tokens;
use crate::tune::{Kin, Plan, Record, StageSettings, Student, TuneArgs, conclude, follow};

/// Questions that are answered several times, where nothing else is said: drawing takes longer than learning.
const QUESTIONS: usize = 1000;

/// The options of `cloche distill`.
#[derive(Args)]
pub struct DistillArgs {
    #[command(flatten)]
    tune: TuneArgs,
    /// The folder of the model to learn from [default, with --samples: the model itself].
    #[arg(long, value_name = "DIR")]
    teacher: Option<PathBuf>,
    /// The folder of an adapter to the teacher.
    #[arg(long, value_name = "DIR", requires = "teacher")]
    teacher_adapter: Option<PathBuf>,
    /// What logits are divided by: those of both models, or those from which answers are drawn [default: 1].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    temperature: Option<f32>,
    /// Which way the divergence of both models is measured [default: forward].
    #[arg(long, value_enum, value_name = "NAME", conflicts_with = "samples")]
    divergence: Option<Way>,
    /// The share of the loss that asks for the tokens of the data, and not for the teacher's logits [default: 0].
    #[arg(long, value_name = "F", allow_negative_numbers = true, conflicts_with = "samples")]
    targets: Option<f32>,
    /// Learn from answers: draw so many to each question of the data, keep the best, and learn to say it. Without it the
    /// teacher's logits on the texts of the data are learnt.
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// The folder of a reward model that says which answer is best [default: none; the data knows what is right].
    #[arg(long, value_name = "DIR", requires = "samples")]
    judge: Option<PathBuf>,
    /// The least reward of an answer that is kept [default: above 0 where the data knows; with --judge, any].
    #[arg(long, value_name = "F", allow_negative_numbers = true, requires = "samples")]
    least: Option<f32>,
}

/// Which way a divergence is measured.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Way {
    /// From the teacher: the student covers all that the teacher might say.
    Forward,
    /// From the student: the student says only what the teacher might say.
    Reverse,
}

/// What a run depends on, besides its data: how the student learns, from whom, and from what.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Method {
    /// How the student learns.
    #[serde(flatten)]
    learning: distill::Settings,
    /// The folder of the teacher; without one it is the model itself.
    teacher: Option<PathBuf>,
    /// The folder of an adapter to the teacher.
    teacher_adapter: Option<PathBuf>,
    /// SHA-256 of the teacher.
    teacher_sha256: String,
    /// Answers to each question, of which the best teaches; 0 where logits teach.
    samples: usize,
    /// What an answer is worth at least that teaches.
    least: Option<f32>,
}

impl StageSettings for Method {
    const STAGE: &'static str = "distill";
    fn optimization(&mut self) -> &mut Optimization {
        &mut self.learning.optimization
    }
}

impl DistillArgs {
    fn apply(&self, record: &mut Record<Method>) {
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let method = &mut record.settings;
        for (place, given) in [
            (&mut method.teacher, &self.teacher),
            (&mut method.teacher_adapter, &self.teacher_adapter),
            (&mut record.judge, &self.judge),
        ] {
            *place = given.as_ref().map(absolute).or_else(|| place.take());
        }
        let learning = &mut method.learning;
        learning.temperature = self.temperature.unwrap_or(learning.temperature);
        learning.targets = self.targets.unwrap_or(learning.targets);
        learning.divergence = match self.divergence {
            None => learning.divergence,
            Some(Way::Forward) => Divergence::Forward,
            Some(Way::Reverse) => Divergence::Reverse,
        };
        method.samples = self.samples.unwrap_or(method.samples);
        method.least = self.least.or(method.least);
        if method.samples > 0 && !self.tune.resume && self.tune.examples.is_none() {
            record.examples = QUESTIONS;
        }
    }

    /// Requires that there is somebody to learn from.
    fn check(&self, record: &Record<Method>) -> Result<()> {
        let method = &record.settings;
        match self.samples {
            Some(n) if !(1..=1024).contains(&n) => bail!("samples: found {n}, expected 1 to 1024"),
            _ => {}
        }
        if method.least.is_some_and(|least| !least.is_finite()) {
            bail!("least: found {}, expected a finite number", method.least.unwrap_or_default());
        }
        if method.teacher.is_none() && method.samples == 0 {
            bail!(
                "teacher: found nothing, expected --teacher with a folder, or --samples of the model's own answers"
            );
        }
        if method.teacher.is_none() && record.init.is_some() {
            bail!("teacher: found nothing, expected --teacher with a folder: a new model has no answers");
        }
        Ok(method.learning.validate()?)
    }
}

fn defaults() -> Method {
    Method { learning: distill::Settings::usual(), ..Method::default() }
}

/// Runs the command.
///
/// # Errors
/// Data, settings, models or a folder with which no run can begin; a device that fails; a model that cannot be saved.
pub fn run(args: &DistillArgs) -> Result<()> {
    let mut report = args.tune.report()?;
    let out = args.tune.out.as_path();
    // 1. What is to be learnt, from whom, and by whom.
    let mut plan = args.tune.plan(defaults(), |record| args.apply(record), &report)?;
    args.check(&plan.record)?;
    let by_logits = plan.record.settings.samples == 0;
    let (source, wanted) = (plan.record.source()?, plan.record.wanted());
    let mut material = if by_logits { source.demonstrations(&wanted)? } else { source.questions(&wanted)? };
    let device = device::open(args.tune.device)?;
    let teacher = open_teacher(&device, &mut plan)?;
    let kin = teacher.as_ref().map(|teacher| kin(&plan.record, teacher)).transpose()?;
    let student = Student::open_on(device, &mut plan, &material, kin, &report)?;
    // 2. Texts become tokens, and a run that fits. So far nothing is written.
    let (reader, context_len) = (&student.reader, student.context_len());
    let max_tokens = student.max_tokens(&plan.record, &material);
    let asked = reader.prompts(std::mem::take(&mut material.exam), context_len, max_tokens, &report)?;
    if !by_logits {
        let kept = if args.tune.resume { samples::kept(out)? } else { None };
        material.train = match kept {
            Some(demonstrations) => demonstrations,
            None => {
                let itself = Candidate { network: student.network.clone(), reader: reader.clone() };
                let (who, questions) =
                    (teacher.as_ref().unwrap_or(&itself), std::mem::take(&mut material.practice));
                samples::draw(&student.device, &plan.record, who, questions, &mut report)?
            }
        };
    }
    let train = reader.examples(&material.train, context_len, &report)?;
    let held_out = reader.examples(&material.held_out, context_len, &report)?;
    let exam = asked.exam(reader);
    let learning = &mut plan.record.settings.learning;
    learning.stop_ids.clone_from(&reader.stop_ids);
    let (learning, network, saved) = (learning.clone(), student.network.clone(), plan.saved.take());
    let (network, stage) = match &teacher {
        Some(teacher) if by_logits => {
            let teacher = alike(&plan.record, teacher, &student)?;
            let saved = saved.map(|saved| saved.with_settings(learning.clone()));
            let data = Data { train, held_out, exam };
            let run = distill::Run::new(&student.device, network, teacher, learning, data, saved)?;
            (run.network(), run.stage())
        }
        _ => {
            let distill::Settings { optimization, stop_ids, .. } = learning;
            let settings = sft::Settings { optimization, stop_ids, ..Default::default() };
            let saved = saved.map(|saved| saved.with_settings(settings.clone()));
            let data = sft::Data { train, held_out, exam, ..Default::default() };
            let run = sft::Run::new(&student.device, network, settings, data, saved)?;
            (run.network(), run.stage())
        }
    };
    // 3. From here on the folder is the run's.
    if !args.tune.resume {
        student.begin(out, &plan.record)?;
    }
    if !by_logits {
        samples::keep(out, &material.train)?;
    }
    // 4. Learn, and leave a model or an adapter.
    let outcome = follow(stage, out, reader, &asked.questions, &mut report)?;
    student.leave(out, &plan.record, &network, &outcome)?;
    conclude("distill", out, &outcome, &mut report)
}

/// Opens the teacher of a plan, where there is one, and notes in the plan what it was.
fn open_teacher(device: &Device, plan: &mut Plan<Method>) -> Result<Option<Candidate>> {
    let (turns, method) = (plan.record.turns, &mut plan.record.settings);
    let Some(path) = &method.teacher else { return Ok(None) };
    let mut teacher = Candidate::open(device, path, method.teacher_adapter.as_deref(), turns)?;
    folder::expect_whole(path, &teacher.network)?;
    if teacher.network.adapter.is_some() {
        teacher.network = pollster::block_on(teacher.network.merged(device))?;
    }
    let name = path.display().to_string();
    let base = Base::new(name, &pollster::block_on(teacher.network.weights.read())?);
    if plan.saved.is_some() && base.fingerprint != method.teacher_sha256 {
        bail!(
            "{}: found a teacher with SHA-256 {:.12}…, the run was begun with {:.12}…",
            base.name,
            base.fingerprint,
            method.teacher_sha256
        );
    }
    method.teacher_sha256 = base.fingerprint;
    Ok(Some(teacher))
}

/// What a new student would have of its teacher.
fn kin(record: &Record<Method>, teacher: &Candidate) -> Result<Kin> {
    let Method { teacher: path, teacher_adapter: adapter, .. } = &record.settings;
    let path = path.as_deref().unwrap_or(Path::new("."));
    let config = teacher.network.config;
    let place = adapter.as_deref().filter(|path| path.join("tokenizer.json").is_file()).unwrap_or(path);
    Ok(Kin { config, tokenizer: folder::tokenizer(place)? })
}

/// The teacher's network, whose logits mean the student's tokens.
fn alike(record: &Record<Method>, teacher: &Candidate, student: &Student) -> Result<Network> {
    let path = record.settings.teacher.as_deref().unwrap_or(Path::new("."));
    let why =
        "logits can only be learnt of a teacher with the model's vocabulary; --samples learns from texts";
    expect_same_tokens(path, &teacher.reader.tokenizer, &student.reader.tokenizer, why)?;
    Ok(teacher.network.clone())
}
