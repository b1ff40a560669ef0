//! A reward model at work: it reads many answers at once and gives each a number.
//!
//! The same judge tells a reward model how well it does on comparisons that are held out, tells PPO what an answer is
//! worth, and picks the best of n answers.

use cloche_models::{Network, Pass};
use cloche_nn::loss::preference::RankedPairs;
use cloche_tensor::{DType, Device, Graph, LOG_NUMEL, LOG_RUNS, Program, Tensor};

use crate::error::Error;
use crate::examples::{Ranking, check_texts};
use crate::rollout::Answer;
use crate::settings::{SettingsError, require};

/// Judges texts with a network that has a score head, batch by batch.
pub struct Judge {
    program: Program,
    texts: Texts,
    vocab_size: usize,
}

impl Judge {
    /// Prepares to judge `batch` texts at once, or as many as a program logs, each of at most `width` tokens. Texts are
    /// judged by the weights that the network has at that time.
    ///
    /// # Errors
    /// A network without a score head; a device that cannot hold the program.
    pub fn new(device: &Device, network: &Network, batch: usize, width: usize) -> Result<Judge, Error> {
        expect_head(network)?;
        let batch = batch.min(LOG_NUMEL);
        let graph = Graph::new();
        let p = network.params(&graph);
        let rewards = read(&graph, (batch, width), |x| {
            cloche_models::score(&network.config, &p, x, &Pass::eval()) // (B, T)
        });
        let program = device.compile(&graph, &[("rewards", &rewards)], &network.states())?;
        Ok(Judge { program, texts: Texts::new(batch, width), vocab_size: network.config.vocab_size })
    }

    /// The reward of each text, prompt and answer together.
    ///
    /// # Errors
    /// A text that is empty, too long or has an unknown token; a lost device.
    pub async fn score(&mut self, texts: &[&[u32]]) -> Result<Vec<f32>, Error> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        check_texts(texts, self.vocab_size, self.texts.width)?;
        let mut rewards = Vec::with_capacity(texts.len());
        let mut chunks = texts.chunks(self.texts.last.len()).enumerate().peekable();
        while let Some((number, chunk)) = chunks.next() {
            self.texts.fill(chunk.iter().copied());
            self.texts.write(&mut self.program);
            self.program.run();
            self.program.throttle().await;
            // As many runs at once as the log holds: reading each by itself would wait for the device each time.
            if (number + 1).is_multiple_of(LOG_RUNS) || chunks.peek().is_none() {
                self.program.drain().await?.iter().for_each(|row| rewards.extend_from_slice(row[0].f32()));
            }
        }
        rewards.truncate(texts.len());
        Ok(rewards)
    }

    /// The rewards of the better and of the worse answer of every pair that the rankings imply.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub async fn compare(&mut self, rankings: &[Ranking]) -> Result<[Vec<f32>; 2], Error> {
        let answers = rankings.iter().flat_map(|ranking| &ranking.answers);
        let rewards = self.score(&answers.map(|answer| answer.ids.as_slice()).collect::<Vec<_>>()).await?;
        let sizes: Vec<usize> = rankings.iter().map(|ranking| ranking.answers.len()).collect();
        let RankedPairs { better, worse, .. } = RankedPairs::new(&sizes);
        Ok([better, worse].map(|places| places.iter().map(|&i| rewards[i as usize]).collect()))
    }

    /// The reward of each answer to its prompt.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub async fn rate(&mut self, answers: &[Answer]) -> Result<Vec<f32>, Error> {
        let texts: Vec<Vec<u32>> = answers.iter().map(|answer| answer.example().ids).collect();
        let heard = texts.iter().zip(answers).map(|(text, answer)| self.heard(text, answer.ended));
        self.score(&heard.collect::<Vec<_>>()).await
    }

    /// As much of a text as is heard where it does not fit: of an answer that was cut off its beginning, and all but the
    /// last token of one that has just filled a context, in which that is drawn and never read.
    pub fn heard<'a>(&self, text: &'a [u32], ended: bool) -> &'a [u32] {
        let most = self.texts.width;
        if ended && text.len() > most + 1 { text } else { &text[..text.len().min(most)] }
    }
}

/// Requires that a network can judge.
pub(crate) fn expect_head(network: &Network) -> Result<(), SettingsError> {
    let adapter = network.adapter.iter().flat_map(|adapter| adapter.weights.specs());
    let found = network.weights.specs().iter().chain(adapter).any(|spec| spec.path == "score.weight");
    require("model", "no score head", found, "one in the weights, or held whole by the adapter")
}

/// Records what a network says at the last token of each text, when it has read everything.
///
/// # Shapes
/// inputs x `(B, T)` and last `(B,)`, where `score` makes `(B, T)` of `(B, T)` → `(B,)`
pub(crate) fn read(graph: &Graph, shape: (usize, usize), score: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
    let x = graph.input("x", shape, DType::U32); // (B, T)
    let last = graph.input("last", (shape.0,), DType::U32); // (B,)
    score(&x).gather(&last)
}

/// Texts side by side, as a judge reads them: what is right of a text's last token is hidden from it by causality.
pub(crate) struct Texts {
    /// `(B, T)`
    x: Vec<u32>,
    /// The place of the last token of each, `(B,)`.
    last: Vec<u32>,
    /// `T`
    width: usize,
}

impl Texts {
    pub fn new(rows: usize, width: usize) -> Texts {
        Texts { x: vec![0; rows * width], last: vec![0; rows], width }
    }

    /// Fills row after row; what is read in those that are left means nothing.
    pub fn fill<'a>(&mut self, texts: impl Iterator<Item = &'a [u32]>) {
        self.x.fill(0);
        self.last.fill(0);
        for ((text, row), last) in texts.zip(self.x.chunks_exact_mut(self.width)).zip(&mut self.last) {
            row[..text.len()].copy_from_slice(text);
            *last = text.len() as u32 - 1;
        }
    }

    pub fn write(&self, program: &mut Program) {
        program.write("x", &self.x);
        program.write("last", &self.last);
    }

    /// Tokens of a batch, those of no text included.
    pub fn tokens(&self) -> usize {
        self.x.len()
    }
}
