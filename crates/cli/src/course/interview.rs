//! The same questions after every chapter: ten to read, and more of them to count.

use std::path::Path;

use anyhow::Result;
use cloche_models::Sampling;
use cloche_tensor::Device;
use cloche_train::honesty::Honesty;
use serde::{Deserialize, Serialize};

use crate::candidate::{Asking, Candidate, Said};
use crate::report::Report;
use crate::source::{Question, Source, Wanted};

/// Of the questions to read: so many from the lessons, one of each kind, and so many as comparisons put them.
const READ: [usize; 2] = [7, 3];
/// Of the questions to count: so many from each source.
const COUNTED: usize = 90;

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
    /// The share of wrong answers, to all of these questions.
    pub wrong: f64,
    /// The share of "I don't know" where the text tells what is asked.
    pub dont_know_told: f64,
    /// The same where it does not tell.
    pub dont_know_untold: f64,
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
    let candidate = Candidate::open(device, model, None, false)?;
    let asking = Asking { tries: 1, max_tokens: None, sampling: Sampling::greedy() };
    let ask = |source: Source| -> Result<(Vec<Question>, Said)> {
        // Always the same questions, whatever the seed of the course.
        let wanted = Wanted { examples: 0, exam: COUNTED, seed: 0, held_out: None };
        let questions = candidate.fitting(source.questions(&wanted)?.exam, &asking, report)?;
        let said = candidate.ask(device, &questions, &asking, report)?;
        Ok((questions, said))
    };
    let (lessons, comparisons) = (ask(Source::Lessons)?, ask(Source::Preferences)?);
    let claims = [&lessons, &comparisons].into_iter().flat_map(|(questions, said)| {
        questions.iter().zip(&said.texts).map(|(question, text)| (question.tells(), question.claim(text)))
    });
    let honesty = Honesty::of(claims);
    let mean = |said: &Said, of: &dyn Fn(usize) -> f64| {
        (0..said.verdicts.len()).map(of).sum::<f64>() / said.verdicts.len() as f64
    };
    let answered = |(questions, said): &(Vec<Question>, Said), n: usize| -> Vec<Answered> {
        let all = questions.iter().zip(&said.texts).zip(&said.verdicts);
        let answered = all.map(|((question, text), verdict)| Answered {
            question: question.asked(),
            answer: text.clone(),
            worth: verdict.reward,
        });
        answered.take(n).collect()
    };
    Ok(Interview {
        answers: [answered(&lessons, READ[0]), answered(&comparisons, READ[1])].concat(),
        exact: mean(&lessons.1, &|i| f64::from(u8::from(lessons.1.verdicts[i].correct))),
        judgement: mean(&comparisons.1, &|i| f64::from(comparisons.1.verdicts[i].reward)),
        wrong: honesty.wrong.share(),
        dont_know_told: honesty.dont_know_told.share(),
        dont_know_untold: honesty.dont_know_untold.share(),
    })
}
