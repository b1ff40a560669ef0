//! What PPO and GRPO share: the answers of a step as rows, and what models say of each of their tokens.

use std::ops::Range;

use cloche_models::{Network, Pass, Sampling, logits, score};
use cloche_nn::loss;
use cloche_tensor::rng::{Rng, stream_id};
use cloche_tensor::{DType, Device, Graph, Program};

use crate::error::Error;
use crate::examples::{Example, Prompt, Rows, fingerprint};
use crate::rollout::Answer;
use crate::settings::{SettingsError, require};

/// How the answers of a step are drawn: at this temperature, from noise that is a function of seed and step.
pub(crate) fn sampling(temperature: f32, seed: u64, step: u64) -> Sampling {
    let seed = Rng::new(seed ^ stream_id("rollouts"), step).next_u64();
    Sampling { temperature, seed, ..Sampling::default() }
}

/// The width of rows that hold every prompt with an answer of `max_tokens`.
pub(crate) fn width_of(prompts: &[Prompt], max_tokens: usize, context_len: usize) -> usize {
    let longest = prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(1);
    (longest + max_tokens - 1).next_multiple_of(8).min(context_len)
}

/// What tells one set of prompts, and texts beside them, from another, for checkpoints.
pub(crate) fn fingerprint_of(prompts: &[Prompt], texts: &[Example]) -> String {
    let unmarked =
        |prompt: &Prompt| Example { learn: vec![false; prompt.ids.len()], ids: prompt.ids.clone() };
    fingerprint(prompts.iter().map(unmarked).collect::<Vec<_>>().iter().chain(texts))
}

/// Requires that numbers which say how answers are drawn can be meant.
pub(crate) fn check_drawing(temperature: f32, max_tokens: usize, epochs: u64) -> Result<(), SettingsError> {
    let warm = temperature > 0.0 && temperature.is_finite();
    require("temperature", temperature, warm, "a finite number above 0")?;
    require("max_tokens", max_tokens, max_tokens > 0, "at least 1")?;
    require("epochs", epochs, (1..=64).contains(&epochs), "1 to 64")
}

/// Requires that a number is finite and not negative.
pub(crate) fn check_size(name: &'static str, x: f32) -> Result<(), SettingsError> {
    require(name, x, x >= 0.0 && x.is_finite(), "a finite number, at least 0")
}

/// How many tokens the answers have together.
pub(crate) fn n_tokens(answers: &[Answer]) -> usize {
    answers.iter().map(|answer| answer.ids.len()).sum()
}

/// Mean and standard deviation (of a sample, n − 1).
pub(crate) fn spread(numbers: &[f32]) -> (f32, f32) {
    let n = numbers.len() as f64;
    let mean = numbers.iter().map(|&x| x as f64).sum::<f64>() / n;
    let squares = numbers.iter().map(|&x| (x as f64 - mean).powi(2)).sum::<f64>();
    (mean as f32, (squares / (n - 1.0).max(1.0)).sqrt() as f32)
}

/// The share of answers that had no room to end by themselves.
pub(crate) fn truncated(answers: &[Answer]) -> f32 {
    answers.iter().filter(|answer| !answer.ended).count() as f32 / answers.len() as f32
}

/// Fills rows with answers: their own tokens are the targets.
pub(crate) fn fill(rows: &mut Rows, answers: &[Answer]) {
    let examples: Vec<Example> = answers.iter().map(Answer::example).collect();
    rows.fill(examples.iter());
}

/// Where the tokens of an answer stand among the targets of its row.
fn places(answer: &Answer) -> Range<usize> {
    let from = answer.prompt.len() - 1;
    from..from + answer.ids.len()
}

/// One number for each token of each answer, put to the places of the tokens: `(B, T)`, 0 elsewhere.
pub(crate) fn laid_out<'a>(
    rows: &Rows,
    answers: &[Answer],
    numbers: impl Iterator<Item = &'a [f32]>,
) -> Vec<f32> {
    let mut laid_out = vec![0.0; rows.x.len()];
    for ((row, answer), numbers) in laid_out.chunks_exact_mut(rows.width).zip(answers).zip(numbers) {
        row[places(answer)].copy_from_slice(numbers);
    }
    laid_out
}

/// A model that says one number of each token of an answer, and learns nothing.
pub(crate) struct Reader {
    program: Program,
    rows: Rows,
}

impl Reader {
    /// Reads ln π of each token, `shape` being `(B, T)`.
    pub fn log_probs(
        device: &Device,
        network: &Network,
        (rows, width): (usize, usize),
    ) -> Result<Reader, Error> {
        let graph = Graph::new();
        let x = graph.input("x", (rows, width), DType::U32); // (B, T)
        let y = graph.input("y", (rows, width), DType::U32); // (B, T)
        let logits = logits(&network.config, &network.params(&graph), &x, &Pass::eval()); // (B, T, V)
        let read = loss::token_log_probs(&logits, &y); // (B, T)
        let program = device.compile(&graph, &[("read", &read)], &network.states())?;
        Ok(Reader { program, rows: Rows::new(rows, width) })
    }

    /// Reads a score model's number before each token: what a critic expects of an answer that has come so far.
    pub fn values(
        device: &Device,
        network: &Network,
        (rows, width): (usize, usize),
    ) -> Result<Reader, Error> {
        let graph = Graph::new();
        let x = graph.input("x", (rows, width), DType::U32); // (B, T)
        let read = score(&network.config, &network.params(&graph), &x, &Pass::eval()); // (B, T)
        let program = device.compile(&graph, &[("read", &read)], &network.states())?;
        Ok(Reader { program, rows: Rows::new(rows, width) })
    }

    /// The numbers of all answers, as many at once as there are rows.
    pub async fn read(&mut self, answers: &[Answer]) -> Result<Vec<Vec<f32>>, Error> {
        let width = self.rows.width;
        let mut numbers = Vec::with_capacity(answers.len());
        for chunk in answers.chunks(self.rows.x.len() / width) {
            fill(&mut self.rows, chunk);
            self.program.write("x", &self.rows.x);
            if self.program.has("y") {
                self.program.write("y", &self.rows.y);
            }
            self.program.run();
            let read = self.program.read("read").await?;
            let read = read.f32().chunks_exact(width).zip(chunk);
            numbers.extend(read.map(|(row, answer)| row[places(answer)].to_vec()));
        }
        Ok(numbers)
    }
}
