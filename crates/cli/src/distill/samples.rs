//! Demonstrations that nobody wrote: the best of several answers to each question.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use cloche_models::Sampling;
use cloche_tensor::Device;
use cloche_text::{Message, Record as Demonstration, Records, Role, Shape, Turns};
use cloche_train::distill::best_of;

use super::Method;
use crate::candidate::{Asking, Candidate, Judge};
use crate::folder::write_file;
use crate::report::Report;
use crate::source::Question;
use crate::tune::Record;

/// The file that keeps what was drawn, so that a run that goes on need not draw again.
const FILE: &str = "demonstrations.jsonl";

/// Lets somebody answer each question several times, and keeps the best answer where it is worth enough.
///
/// # Errors
/// A reward model that cannot be opened or cannot read the answers; answers of which none is kept; a lost device.
pub fn draw(
    device: &Device,
    record: &Record<Method>,
    who: &Candidate,
    questions: Vec<Question>,
    report: &mut Report,
) -> Result<Vec<Demonstration>> {
    let method = &record.settings;
    let seed = method.learning.optimization.seed;
    let sampling = Sampling { temperature: method.learning.temperature, seed, ..Sampling::default() };
    let asking = Asking { tries: method.samples, max_tokens: record.max_tokens, sampling };
    let mut judge = Judge::open(device, record.judge.as_deref(), record.turns)?;
    // 1. Answers, and what they are worth.
    let questions = who.fitting(questions, &asking, report)?;
    report.begin(&format!("drawing {} answers to each of {} questions", method.samples, questions.len()));
    let said = who.ask(device, &questions, &asking, report)?;
    report.end();
    let mut rewards = judge.rewards(&questions, &said)?;
    // 2. What was cut off shows nobody how to end, and what is empty shows nothing.
    for ((reward, answer), text) in rewards.iter_mut().zip(&said.answers).zip(&said.texts) {
        if !who.reader.is_whole(answer) || text.trim().is_empty() {
            *reward = f32::NEG_INFINITY;
        }
    }
    let least = method.least.unwrap_or(match judge {
        Judge::Truth => f32::MIN_POSITIVE,
        Judge::Model(_) => f32::MIN,
    });
    // 3. The best of each question.
    let best = best_of(method.samples, &said.answers, &rewards, least);
    if best.is_empty() {
        bail!(
            "samples: found no answer that has ended and is worth enough among {} to {} questions, expected at least one: \
             draw more, ask for less with --least, or teach the model a little first",
            said.answers.len(),
            questions.len()
        );
    }
    let kept = format!(
        "{} of {} questions have an answer among {} that is good enough to learn from",
        best.len(),
        questions.len(),
        said.answers.len()
    );
    report.remark(0, &kept);
    let demonstration = |question: &Question, answer: String| Demonstration::Completion {
        completion: match question.prompt {
            Turns::Text(_) => Turns::Text(answer),
            Turns::Messages(_) => Turns::Messages(vec![Message::new(Role::Assistant, answer)]),
        },
        prompt: question.prompt.clone(),
    };
    let shown = best
        .into_iter()
        .map(|answer| demonstration(&questions[answer.index], who.reader.answer(&answer.ids)));
    Ok(shown.collect())
}

/// The demonstrations that a run keeps in its folder, if it has come to that.
///
/// # Errors
/// A file that is not what we write.
pub fn kept(folder: &Path) -> Result<Option<Vec<Demonstration>>> {
    let path = folder.join(FILE);
    let file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| anyhow!("{}: {error}", path.display()))?,
    };
    let records = Records::new(BufReader::new(file), path.display().to_string());
    Ok(Some(records.expecting(&[Shape::Completion]).collect::<Result<_, _>>()?))
}

/// Keeps demonstrations in the folder of a run.
///
/// # Errors
/// What the system says.
pub fn keep(folder: &Path, demonstrations: &[Demonstration]) -> Result<()> {
    let lines: String = demonstrations.iter().map(|shown| shown.to_json() + "\n").collect();
    write_file(folder, FILE, lines.as_bytes())
}
