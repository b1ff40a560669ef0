//! `cloche evaluate`: how many questions a model answers, once or in several tries.

use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Result, bail};
use clap::Args;
use cloche_models::Sampling;
use cloche_text::{Message, Role, Turns};
use cloche_train::rollout::{Rollouts, Verdict, verify};
use serde_json::{Map, Value, json};

use crate::device::{self, Choice};
use crate::folder;
use crate::reader::Reader;
use crate::report::{Report, print_json, print_line};
use crate::source::{Question, Source, Wanted};

/// Questions that are answered at once.
const BATCH_SIZE: usize = 32;

/// The options of `cloche evaluate`.
#[derive(Args)]
pub struct EvaluateArgs {
    /// The model folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The folder of an adapter to the model.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// What to ask, of what no run trains on: lessons, manners, preferences, or a task's name, perhaps with :DIFFICULTY.
    #[arg(long, value_name = "NAME")]
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
    let k = args.samples.unwrap_or(1);
    for (name, found, most) in [("n", args.n, 1 << 20), ("samples", k, 1024)] {
        if !(1..=most).contains(&found) {
            bail!("{name}: found {found}, expected 1 to {most}");
        }
    }
    if !(args.temperature > 0.0 && args.temperature.is_finite()) {
        bail!("temperature: found {}, expected a number above 0", args.temperature);
    }
    let report = Report::new(args.json);
    let source = args.source()?;
    let device = device::open(args.device)?;
    let adapter = args.adapter.as_deref();
    let model = folder::open_with(&args.model, adapter, &device)?;
    let tokenizer = folder::tokenizer_of(&args.model, adapter, &model)?;
    let reader = Rc::new(Reader::new(tokenizer, args.turns)?);
    // 1. Questions that are held out, with examples before them that are not.
    let wanted = Wanted { examples: args.shots, exam: args.n, seed: args.seed, held_out: None };
    let material = source.questions(&wanted)?;
    let max_tokens = args.max_tokens.unwrap_or_else(|| reader.answer_tokens(&material.exam)).max(1);
    let shown =
        |question: Question| Question { prompt: after(&material.practice, &question.prompt), ..question };
    let questions = material.exam.into_iter().map(shown).collect();
    let asked = reader.prompts(questions, model.network.config.context_len, max_tokens, &report)?;
    // 2. Every question in `k` tries, one after the other.
    let prompts: Vec<_> = asked.prompts.iter().flat_map(|prompt| std::iter::repeat_n(prompt, k)).collect();
    let batch = prompts.len().min(BATCH_SIZE);
    let mut rollouts = Rollouts::new(&device, &model.network, batch, max_tokens, &reader.stop_ids)?;
    let sampling = match args.samples {
        None => Sampling::greedy(),
        Some(_) => Sampling { temperature: args.temperature, seed: args.seed, ..Sampling::default() },
    };
    let answers = pollster::block_on(rollouts.answer(&prompts, sampling))?;
    let verdicts = verify(&mut reader.verifier(&asked.questions), &answers)?;
    // 3. What they came to.
    let said: Vec<String> = answers.iter().map(|answer| reader.answer(&answer.ids)).collect();
    let scores = scores(k, &said, &verdicts);
    if args.json {
        let mut object = Map::from_iter([
            ("task".to_string(), json!(args.task)),
            ("n".to_string(), json!(asked.prompts.len())),
            ("samples".to_string(), json!(k)),
            ("shots".to_string(), json!(args.shots)),
        ]);
        object.extend(scores.into_iter().map(|(name, x)| (name, json!(x))));
        print_json(&Value::Object(object));
        return Ok(());
    }
    print_line(format_args!("questions        {}", asked.prompts.len()));
    for (name, x) in scores {
        print_line(format_args!("{:<16} {x:.4}", name.replace('_', " ")));
    }
    Ok(())
}

impl EvaluateArgs {
    fn source(&self) -> Result<Source> {
        match Source::built_in(&self.task) {
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

/// Numbers by name, from `k` tries at each question, one after the other.
fn scores(k: usize, said: &[String], verdicts: &[Verdict]) -> Vec<(String, f64)> {
    let n = (said.len() / k) as f64;
    let mean = |of: &dyn Fn(&[String], &[Verdict]) -> f64| {
        let each = said.chunks(k).zip(verdicts.chunks(k));
        each.map(|(said, verdicts)| of(said, verdicts)).sum::<f64>() / n
    };
    let correct = |verdicts: &[Verdict]| verdicts.iter().filter(|verdict| verdict.correct).count();
    let reward = |_: &[String], v: &[Verdict]| v.iter().map(|v| v.reward as f64).sum::<f64>() / k as f64;
    let mut scores = vec![("mean_reward".to_string(), mean(&reward))];
    let doubling = std::iter::successors(Some(1), |tries| Some(tries * 2)).take_while(|tries| *tries < k);
    for tries in doubling.chain([k]) {
        scores.push((format!("pass@{tries}"), mean(&|_, v| pass(k, correct(v), tries))));
    }
    if k > 1 {
        scores.push(("majority".to_string(), mean(&|said, v| f64::from(u8::from(majority(said, v))))));
    }
    scores
}

/// The chance that one of `tries` is right, drawn from `n` of which `c` are: 1 − C(n − c, tries) / C(n, tries), by Chen
/// et al. 2021, <https://arxiv.org/abs/2107.03374>.
fn pass(n: usize, c: usize, tries: usize) -> f64 {
    let wrong = (0..tries).map(|i| (n - c).saturating_sub(i) as f64 / (n - i) as f64);
    1.0 - wrong.product::<f64>()
}

/// Whether the answer that was given most often is right; of several, the one that came first. Wang et al. 2022
/// (self-consistency), <https://arxiv.org/abs/2203.11171>.
fn majority(said: &[String], verdicts: &[Verdict]) -> bool {
    let votes = |text: &str| said.iter().filter(|other| other.trim() == text).count();
    let mut best = (0, false);
    for (text, verdict) in said.iter().zip(verdicts) {
        let votes = votes(text.trim());
        if votes > best.0 {
            best = (votes, verdict.correct);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passing_is_counted_without_bias() {
        assert_eq!([pass(4, 0, 2), pass(4, 4, 1), pass(4, 1, 4)], [0.0, 1.0, 1.0]);
        assert!((pass(4, 1, 1) - 0.25).abs() < 1e-12 && (pass(4, 2, 2) - 5.0 / 6.0).abs() < 1e-12);
    }

    #[test]
    fn the_majority_decides_and_the_first_of_equals() {
        let votes = |said: &[&str], right: &str| {
            let said: Vec<String> = said.iter().map(|text| text.to_string()).collect();
            let verdict = |text: &String| Verdict { reward: 0.0, correct: text.trim() == right };
            let verdicts: Vec<Verdict> = said.iter().map(verdict).collect();
            majority(&said, &verdicts)
        };
        assert!(votes(&["1", "2 ", "2", "3"], "2"));
        assert!(!votes(&["1", "2", "2", "3"], "1"));
        assert!(votes(&["3", "1"], "3"));
    }

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
