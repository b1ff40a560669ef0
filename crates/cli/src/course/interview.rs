//! The same questions after every chapter: ten to read, and more of them to count.

use std::path::Path;
use std::rc::Rc;

use anyhow::Result;
use cloche_models::Sampling;
use cloche_tensor::Device;
use cloche_train::rollout::{Rollouts, verify};
use serde::{Deserialize, Serialize};

use crate::folder;
use crate::reader::Reader;
use crate::report::Report;
use crate::source::{Source, Wanted};

/// Of the questions to read: so many from the lessons, one of each kind, and so many as comparisons put them.
const READ: [usize; 2] = [7, 3];
/// Of the questions to count, the same.
const COUNTED: [usize; 2] = [90, 90];
/// Questions that are answered at once.
const BATCH_SIZE: usize = 30;

/// What a model said.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Interview {
    /// Answers to the questions to read.
    pub answers: Vec<Answered>,
    /// The share of lessons that were answered to the letter.
    pub exact: f64,
    /// What answers to the questions of comparisons are worth: 1 for a right one, 0 for none, −1 for a wrong one, half a
    /// point more where it is polite, half a point less where it is rude.
    pub judgement: f64,
}

/// A question, and what was said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answered {
    /// What was asked.
    pub question: String,
    /// What the model said, with the likeliest token each time.
    pub answer: String,
    /// What that is worth.
    pub worth: f32,
}

/// Asks the model in a folder. No run has trained on any of the questions.
///
/// # Errors
/// A model that cannot be opened, or cannot read the questions.
pub fn interview(model: &Path, device: &Device, report: &Report) -> Result<Interview> {
    let network = folder::open(model, device)?.network;
    let reader = Rc::new(Reader::new(folder::tokenizer(model)?, false)?);
    let asked = |source: Source, n: usize| -> Result<Vec<(Answered, bool)>> {
        // Always the same questions, whatever the seed of the course.
        let wanted = Wanted { examples: 0, exam: n, seed: 0, held_out: None };
        let questions = source.questions(&wanted)?.exam;
        let max_tokens = reader.answer_tokens(&questions);
        let asked = reader.prompts(questions, network.config.context_len, max_tokens, report)?;
        let mut rollouts = Rollouts::new(device, &network, BATCH_SIZE.min(n), max_tokens, &reader.stop_ids)?;
        let prompts: Vec<_> = asked.prompts.iter().collect();
        let answers = pollster::block_on(rollouts.answer(&prompts, Sampling::greedy()))?;
        let verdicts = verify(&mut reader.verifier(&asked.questions), &answers)?;
        let answered =
            asked.questions.iter().zip(&answers).zip(verdicts).map(|((question, answer), verdict)| {
                let answer = reader.answer(&answer.ids);
                (Answered { question: question.asked(), answer, worth: verdict.reward }, verdict.correct)
            });
        Ok(answered.collect())
    };
    let lessons = asked(Source::Lessons, COUNTED[0])?;
    let comparisons = asked(Source::Preferences, COUNTED[1])?;
    let exact = lessons.iter().filter(|(_, correct)| *correct).count() as f64 / lessons.len() as f64;
    let worth: f64 = comparisons.iter().map(|(answered, _)| f64::from(answered.worth)).sum();
    let judgement = worth / comparisons.len() as f64;
    let read = lessons.into_iter().take(READ[0]).chain(comparisons.into_iter().take(READ[1]));
    Ok(Interview { answers: read.map(|(answered, _)| answered).collect(), exact, judgement })
}
