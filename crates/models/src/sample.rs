//! How the next token is chosen.

use cloche_tensor::ops::sample::SampleInputs;
use cloche_tensor::{DType, Program, Tensor};

/// How the next token is drawn from the model's probabilities. The default is the plain probabilities themselves.
///
/// The filters apply in this order: repetition penalty, temperature, top-k, top-p, min-p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it: below 1 safer, above 1 wilder; 0 takes the likeliest token.
    pub temperature: f32,
    /// Only the `top_k` likeliest tokens; 0 for all. Fan, Lewis and Dauphin 2018, <https://arxiv.org/abs/1805.04833>.
    pub top_k: usize,
    /// Only the likeliest tokens that together reach this probability; 1 for all. Holtzman et al. 2020,
    /// <https://arxiv.org/abs/1904.09751>.
    pub top_p: f32,
    /// Only tokens with at least this share of the likeliest one's probability; 0 for all. Nguyen et al. 2024,
    /// <https://arxiv.org/abs/2407.01082>.
    pub min_p: f32,
    /// Logits of tokens that have occurred are divided by it where positive and multiplied where negative; 1 for none.
    /// Keskar et al. 2019, <https://arxiv.org/abs/1909.05858>.
    pub repetition_penalty: f32,
    /// The same seed gives the same text.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: 1337 }
    }
}

impl Sampling {
    /// Always the likeliest token.
    pub fn greedy() -> Self {
        Sampling { temperature: 0.0, ..Self::default() }
    }

    /// Records the choice; the settings are per-run scalars, so one program serves them all.
    ///
    /// The input `"number"` `(B, 2)` says which sequence each row belongs to, and which of its tokens is chosen. The state
    /// `"seen"` `(B, V)` is 1 where a token has occurred; the choice is added to it. The state `"chosen"` `(B,)`
    /// becomes the choice.
    ///
    /// # Shapes
    /// logits `(B, V)` → ids `(B,)` and their log-probabilities `(B,)` under the model itself, before any filter
    pub(crate) fn record(logits: &Tensor) -> (Tensor, Tensor) {
        let graph = logits.graph();
        let seen = graph.state("seen", logits.shape(), DType::U32);
        let chosen = graph.state("chosen", (logits.dim(0),), DType::U32);
        Self::draw(logits, [Some(&seen), Some(&chosen)])
    }

    /// The same without a repetition penalty where `seen` is missing.
    pub(crate) fn draw(logits: &Tensor, [seen, chosen]: [Option<&Tensor>; 2]) -> (Tensor, Tensor) {
        let graph = logits.graph();
        logits.sample(SampleInputs {
            seen,
            chosen,
            temperature: &graph.scalar("temperature"),
            top_k: &graph.scalar_u32("top_k"),
            top_p: &graph.scalar("top_p"),
            min_p: &graph.scalar("min_p"),
            repetition_penalty: &graph.scalar("repetition_penalty"),
            seed: &graph.scalar_u32("seed"),
            number: &graph.input("number", (logits.dim(0), 2), DType::U32),
        })
    }

    /// Sets the scalars of a program that [`record`](Self::record)s a choice, and writes the numbers of its rows.
    pub(crate) fn set(&self, program: &mut Program, number: &[[u32; 2]]) {
        program.write("number", number.as_flattened());
        program.set("temperature", self.temperature);
        program.set_u32("top_k", self.top_k.min(u32::MAX as usize) as u32);
        program.set("top_p", self.top_p);
        program.set("min_p", self.min_p);
        program.set("repetition_penalty", self.repetition_penalty);
        program.set_u32("seed", (self.seed ^ self.seed >> 32) as u32);
    }
}
