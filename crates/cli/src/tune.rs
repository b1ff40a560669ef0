//! What all stages after pre-training share on a command line: options, the model to begin with, a run that is told and
//! kept, and the folder that it leaves.

mod options;
mod student;

use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::{Result, anyhow, bail};
use cloche_train::checkpoint::Saved;
use cloche_train::events::{Metrics, Reason, TuneDone, TuneEvent};
use cloche_train::learner::Optimization;
use cloche_train::pretrain::MAX_NONFINITE;
use cloche_train::stage::Stage;
use cloche_train::{Error, remarks};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use options::{Plan, Record, TuneArgs};
pub use student::{Kin, Student};

use crate::reader::Reader;
use crate::report::{Report, Sample};
use crate::save::{Keeper, listen_for_interrupt};
use crate::source::Question;

/// The settings of a stage.
pub trait StageSettings: Clone + Serialize + DeserializeOwned {
    /// What the stage is called.
    const STAGE: &'static str;
    /// Steps, rates and rhythm.
    fn optimization(&mut self) -> &mut Optimization;
}

impl StageSettings for cloche_train::sft::Settings {
    const STAGE: &'static str = "sft";
    fn optimization(&mut self) -> &mut Optimization {
        &mut self.optimization
    }
}

impl StageSettings for cloche_train::reward::Settings {
    const STAGE: &'static str = "reward";
    fn optimization(&mut self) -> &mut Optimization {
        &mut self.optimization
    }
}

impl StageSettings for cloche_train::grpo::Settings {
    const STAGE: &'static str = "grpo";
    fn optimization(&mut self) -> &mut Optimization {
        &mut self.optimization
    }
}

impl StageSettings for cloche_train::ppo::Settings {
    const STAGE: &'static str = "ppo";
    fn optimization(&mut self) -> &mut Optimization {
        &mut self.optimization
    }
}

impl StageSettings for cloche_train::dpo::Settings {
    const STAGE: &'static str = "dpo";
    fn optimization(&mut self) -> &mut Optimization {
        &mut self.optimization
    }
}

/// What is known of a run that has ended.
pub struct Outcome {
    /// The last word.
    pub done: TuneDone,
    /// The latest evaluation.
    pub measured: Metrics,
}

/// Runs a stage to its end: tells its events, and keeps its checkpoints.
///
/// # Errors
/// Of the stage; a last checkpoint that cannot be saved.
pub fn follow(
    mut stage: Stage<TuneEvent, Error>,
    out: &Path,
    reader: &Reader,
    questions: &[Question],
    report: &mut Report,
) -> Result<Outcome> {
    let interrupted = listen_for_interrupt();
    let mut keeper = Keeper::new(out);
    let (mut measured, mut end) = (Metrics::default(), None);
    let (mut name, mut remarked) = ("", Vec::new());
    while let Some(event) = pollster::block_on(stage.next()) {
        match event? {
            TuneEvent::Start(start) => {
                name = start.stage;
                report.tune_start(&start);
            }
            TuneEvent::Step(step) => {
                report.tune_step(&step);
                for remark in remarks::of(name)(&step.metrics) {
                    // Once is enough.
                    if !remarked.contains(&remark) {
                        report.remark(step.step, remark);
                        remarked.push(remark);
                    }
                }
            }
            TuneEvent::Eval { step, metrics } => {
                report.measured(step, &metrics);
                measured = metrics;
            }
            TuneEvent::Sample { step, prompt, ids, reward } => {
                let question = questions.get(prompt).map_or(String::new(), Question::asked);
                let text = reader.answer(&ids);
                report.answered(&Sample {
                    step,
                    prompt,
                    ids: &ids,
                    reward,
                    question: &question,
                    text: &text,
                });
            }
            TuneEvent::Nonfinite { step, in_a_row } => report.nonfinite(step, in_a_row),
            TuneEvent::Checkpoint { step, files } => keeper.save(step, files, report),
            TuneEvent::Done(done) => end = Some(done),
        }
        keeper.retry(report);
        if interrupted.load(Ordering::Relaxed) {
            stage.stop();
        }
    }
    keeper.finish(report)?;
    let done = end.ok_or_else(|| anyhow!("the run ended without a word"))?;
    Ok(Outcome { done, measured })
}

/// Tells how a run ended.
///
/// # Errors
/// Where it diverged.
pub fn conclude(stage: &str, out: &Path, outcome: &Outcome, report: &mut Report) -> Result<()> {
    report.tune_done(&outcome.done, &out.display().to_string());
    match outcome.done.reason {
        Reason::Finished => Ok(()),
        Reason::Stopped => {
            report.say(format_args!("to go on: cloche {stage} --out {} --resume", out.display()));
            Ok(())
        }
        Reason::Diverged => bail!(
            "{MAX_NONFINITE} steps in a row had a gradient that was not finite; the last good weights are in {}",
            out.display()
        ),
    }
}

/// Requires that a run has not gone further than it shall.
fn require_ahead<S>(saved: &Option<Saved<S>>, steps: u64) -> Result<()> {
    match saved {
        Some(saved) if saved.state.step > steps => {
            bail!("checkpoint of another run: step is {}, expected at most {steps}", saved.state.step)
        }
        _ => Ok(()),
    }
}
