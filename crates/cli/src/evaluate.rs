//! `cloche evaluate`: how many questions a model answers, once or in several tries; whether its answers are better than
//! another's; how well a reward model knows which are.

mod scores;
mod ranking;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use cloche_models::Sampling;
use cloche_tensor::Device;
use cloche_text::{Message, Role, Turns};
use serde_json::{Value, json};

use crate::candidate::{Asking, Candidate, Judge};
use crate::device::{self, Choice};
use crate::folder;
use crate::report::{Report, print_json, print_line};
use crate::source::{Question, Source, Wanted};
use scores::Score;

/// The options of `cloche evaluate`.
#[derive(Args)]
pub struct EvaluateArgs {
    /// The model folder; a reward model is asked which of two answers people prefer.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The folder of an adapter to the model.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// What to ask, of what no run trains on: lessons, manners, preferences, or a task's name, perhaps with :DIFFICULTY; or
    /// the path of a .jsonl file.
    #[arg(long, value_name = "NAME|PATH")]
    task: String,
    /// The difficulty of a task [default: 1].
    #[arg(long, value_name = "N")]
    difficulty: Option<u32>,
    /// Questions.
    #[arg(long, value_name = "N", default_value_t = 200)]
    n: usize,
    /// Draw so many answers to each question, for pass@k and the vote of the majority; otherwise one answer of the
    /// likeliest tokens.
    #[arg(long, value_name = "K")]
    samples: Option<usize>,
    /// What logits are divided by where answers are drawn.
    #[arg(long, value_name = "F", default_value_t = 1.0)]
    temperature: f32,
    /// Show so many questions with their answers before each question.
    #[arg(long, value_name = "N", default_value_t = 0)]
    shots: usize,
    /// The folder of another model, which answers the same: how often this one's answers are worth more, ties counting half.
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// The folder of an adapter to the other model.
    #[arg(long, value_name = "DIR", requires = "against")]
    against_adapter: Option<PathBuf>,
    /// The folder of a reward model that says what answers are worth [default: none; the data knows what is right].
    #[arg(long, value_name = "DIR", requires = "against")]
    judge: Option<PathBuf>,
    /// The most tokens of an answer [default: half as many again as the longest right one].
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Ask a task's questions as turns of a conversation.
    #[arg(long)]
    turns: bool,
    /// Which questions.
    #[arg(long, value_name = "N", default_value_t = 1337)]
    seed: u64,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    device: Choice,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A model that cannot be opened, questions that do not exist or do not fit.
pub fn run(args: &EvaluateArgs) -> Result<()> {
    args.check()?;
    let report = Report::new(args.json);
    let device = device::open(args.device)?;
    if folder::is_judge(&args.model, args.adapter.as_deref())? {
        let model = folder::open_judge_with(&args.model, args.adapter.as_deref(), &device)?;
        let ranked = ranking::rank(args, &device, &model, &report)?;
        let facts = [("comparisons", json!(ranked.n)), ("reliability", json!(ranked.bins))];
        args.tell(&facts, &ranked.scores);
    } else {
        let (n, scores) = args.answer(&device, &report)?;
        let facts = [("n", json!(n)), ("samples", json!(args.tries())), ("shots", json!(args.shots))];
        args.tell(&facts, &scores);
    }
    Ok(())
}

impl EvaluateArgs {
    fn check(&self) -> Result<()> {
        for (name, found, most) in [("n", self.n, 1 << 20), ("samples", self.tries(), 1024)] {
            if !(1..=most).contains(&found) {
                bail!("{name}: found {found}, expected 1 to {most}");
            }
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            bail!("temperature: found {}, expected a number above 0", self.temperature);
        }
        if self.shots > 0 && self.file().is_some() {
            bail!("shots: found {}, expected 0 with a file, whose records are all asked", self.shots);
        }
        Ok(())
    }

    fn tries(&self) -> usize {
        self.samples.unwrap_or(1)
    }

    /// Lets the model answer, and the other one where there is another: the number of questions, and what it came to.
    fn answer(&self, device: &Device, report: &Report) -> Result<(usize, Vec<Score>)> {
        let k = self.tries();
        let sampling = match self.samples {
            None => Sampling::greedy(),
            Some(_) => Sampling { temperature: self.temperature, seed: self.seed, ..Sampling::default() },
        };
        let asking = Asking { tries: k, max_tokens: self.max_tokens, sampling };
        // 1. Questions that are held out, with examples before them that are not. Of a file there are none: all is asked.
        let mut material = self.source()?.questions(&self.wanted())?;
        material.practice.truncate(self.shots);
        let shown =
            |question: Question| Question { prompt: after(&material.practice, &question.prompt), ..question };
        let questions = material.exam.into_iter().map(shown).collect();
        // 2. Who answers and who judges. Both models get the questions that fit into the context of either.
        let open = |path: &Path, adapter: &Option<PathBuf>| {
            Candidate::open(device, path, adapter.as_deref(), self.turns)
        };
        let model = open(&self.model, &self.adapter)?;
        let against = self.against.as_deref().map(|path| open(path, &self.against_adapter)).transpose()?;
        let mut judge = Judge::open(device, self.judge.as_deref(), self.turns)?;
        let mut questions = model.fitting(questions, &asking, report)?;
        if let Some(against) = &against {
            questions = against.fitting(questions, &asking, report)?;
        }
        // 3. Every question in `k` tries, and how well the model predicts the right answers.
        let said = model.ask(device, &questions, &asking, report)?;
        let mut scores = scores::of_tries(k, &questions, &said.texts, &said.verdicts);
        if let Some(loss) = model.loss_of_right_answers(device, &questions)? {
            scores.push(Score::plain("answer_perplexity", loss.perplexity));
            scores.push(Score::plain("answer_bits_per_byte", loss.bits_per_byte));
        }
        // 4. The same asked of the other one.
        if let Some(against) = against {
            let other = against.ask(device, &questions, &asking, report)?;
            let ours = judge.rewards(&questions, &said)?;
            let theirs = judge.rewards(&questions, &other)?;
            scores.extend(scores::of_comparison(k, &ours, &theirs));
        }
        Ok((questions.len(), scores))
    }

    fn tell(&self, facts: &[(&str, Value)], scores: &[Score]) {
        if self.json {
            let mut object = scores::fields(scores);
            object.insert("task".into(), json!(self.task));
            object.extend(facts.iter().map(|(name, fact)| (name.to_string(), fact.clone())));
            return print_json(&Value::Object(object));
        }
        for (name, fact) in facts.iter().filter(|(_, fact)| fact.is_number()) {
            print_line(format_args!("{name:<24} {fact}"));
        }
        scores.iter().for_each(|score| print_line(score.line()));
    }

    /// The file to ask from, where it is one.
    fn file(&self) -> Option<&Path> {
        let path = Path::new(&self.task);
        (path.extension().is_some_and(|end| end == "jsonl")).then_some(path)
    }

    fn wanted(&self) -> Wanted {
        let held_out = self.file().map(Path::to_path_buf);
        Wanted { examples: self.shots, exam: self.n, seed: self.seed, held_out }
    }

    fn source(&self) -> Result<Source> {
        let named =
            self.file().map(|path| Source::File(path.into())).or_else(|| Source::built_in(&self.task));
        match named {
            Some(_) if self.difficulty.is_some() => {
                bail!("difficulty: found {:?}, which has none; expected a task", self.task)
            }
            Some(source) => Ok(source),
            None => match self.difficulty {
                Some(difficulty) => Source::task(&format!("{}:{difficulty}", self.task)),
                None => Source::task(&self.task),
            },
        }
    }
}

/// A prompt after some questions that are answered: lines of text, or turns of a conversation.
fn after(shots: &[Question], prompt: &Turns) -> Turns {
    match prompt {
        Turns::Text(prompt) => {
            let lines: String =
                shots.iter().map(|shot| format!("{}{}\n", shot.asked(), shot.answer)).collect();
            Turns::Text(lines + prompt)
        }
        Turns::Messages(messages) => {
            let mut all = Vec::new();
            for shot in shots {
                all.extend(shot.prompt.clone().into_messages(Role::User));
                all.push(Message::new(Role::Assistant, shot.answer.clone()));
            }
            // Only the first message of all may be the system's.
            let is_system = |message: &Message| message.role == Role::System;
            all.extend(messages.iter().cloned());
            all.retain(|message| !is_system(message));
            let system = messages.iter().filter(|message| is_system(message)).cloned();
            Turns::Messages(system.chain(all).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shots_come_before_the_question() {
        let wanted = Wanted { examples: 2, exam: 1, seed: 1, held_out: None };
        let sums = Source::task("addition").unwrap().questions(&wanted).unwrap();
        let Turns::Text(text) = after(&sums.practice, &sums.exam[0].prompt) else { panic!() };
        assert_eq!(text.lines().count(), 3);
        assert!(text.starts_with(&format!("{}{}\n", sums.practice[0].asked(), sums.practice[0].answer)));
        let lessons = Source::Lessons.questions(&Wanted { examples: 9, ..wanted }).unwrap();
        let Turns::Messages(messages) = after(&lessons.practice, &lessons.exam[0].prompt) else { panic!() };
        assert!(messages.len() >= 19 && messages.iter().skip(1).all(|message| message.role != Role::System));
    }
}
