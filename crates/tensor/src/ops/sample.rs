//! Sampling on the device: one token for each row of logits, without reading the logits back.
//!
//! Nothing is sorted. A set such as "the k most likely" is all scores from a threshold on, and the threshold is found bit
//! by bit: the bits of a float, suitably flipped, order as the floats do, so 32 questions of the form "do at least k scores
//! reach this?" find it exactly. The same question with a mass instead of a count finds the nucleus of top-p.

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real, row_max, row_sum, split_rows2};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, expect_dtype, groups};
use crate::rng::{philox, stream_id};
use crate::shader;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "sample", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("sample");

/// The second word of the generator's key: no other consumer of the same seed gets these numbers.
const KEY: u32 = stream_id("sample") as u32;

/// What [`Tensor::sample`] draws by. All but the two states and the numbers are per-run scalars.
pub struct SampleInputs<'a> {
    /// State (B, V) of u32: not 0 where a token has occurred in the row's sequence. The drawn token is added. Without it
    /// there is no repetition penalty.
    pub seen: Option<&'a Tensor>,
    /// State (B) of u32 that becomes the ids, for the next run to begin with.
    pub chosen: Option<&'a Tensor>,
    /// f32: what scores are divided by; 0 takes the most likely token (the first of several).
    pub temperature: &'a Tensor,
    /// u32: how many tokens are left; 0 for all.
    pub top_k: &'a Tensor,
    /// f32: the share of the probability that is left; 1 for all.
    pub top_p: &'a Tensor,
    /// f32: the least probability, as a share of the largest; 0 for none.
    pub min_p: &'a Tensor,
    /// f32: what a positive logit of a seen token is divided by and a negative one multiplied by; 1 for no penalty.
    pub repetition_penalty: &'a Tensor,
    /// u32: the seed.
    pub seed: &'a Tensor,
    /// (B, 2) of u32: which sequence the row belongs to and which of its tokens is drawn, or whatever else tells draws under
    /// one seed apart.
    pub number: &'a Tensor,
}

/// (logits (B, V), six scalars, number (B, 2), seen (B, V) if there is one, chosen (B) if there is one) → ids (B) of u32, in
/// place of `chosen`, log_probs (B), seen in place (else one unused element), and scratch: scores (B, V), then five numbers for
/// each part of each row.
#[derive(Debug)]
struct Draw {
    seen: bool,
    chosen: bool,
}

impl Op for Draw {
    fn name(&self) -> &'static str {
        "sample"
    }
    fn grad(&self, _: &Vjp) -> Vec<Option<Tensor>> {
        panic!("sample: a draw is not differentiable; take the gradient of log_softmax at the drawn tokens")
    }
    fn flops(&self, io: &Operands) -> u64 {
        // About seventy passes over a row when both top-k and top-p are on.
        100 * io.inputs[0].layout.numel() as u64
    }
    fn in_place(&self) -> &'static [(usize, usize)] {
        match (self.seen, self.chosen) {
            (true, true) => &[(2, 8), (0, 9)],
            (true, false) => &[(2, 8)],
            (false, true) => &[(0, 8)],
            (false, false) => &[],
        }
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let &[rows, v] = io.inputs[0].dims() else { unreachable!("logits are (B, V)") };
        // A workgroup even on CPU adapters, which dislike barriers: a thread alone would loop too often for lavapipe (see
        // `GpuIo::software_for`) in a vocabulary of a thousand.
        let threads = match io.software() {
            true if v < 16_384 => 32,
            false if v < 1024 => 64,
            _ => 256,
        };
        let places = ["TEMPERATURE", "TOP_K", "TOP_P", "MIN_P", "PENALTY", "SEED"];
        let places = places.into_iter().enumerate().map(|(i, name)| (name, io.scalar(i + 1)));
        let sizes = [
            ("B", rows),
            ("V", v),
            ("THREADS", threads),
            ("SEEN", self.seen as usize),
            ("KEY", KEY as usize),
        ];
        let constants: Vec<_> = sizes.into_iter().map(|(name, n)| (name, n as f64)).chain(places).collect();
        let of_each = |entry, workgroups| Dispatch {
            shader: SHADER,
            entry,
            constants: constants.clone(),
            bindings: [0, 7].map(Bind::Input).into_iter().chain((0..4).map(Bind::Output)).collect(),
            workgroups,
        };
        vec![of_each("parts", rows as u64 * groups(v, 4 * threads)), of_each("main", rows as u64)]
    }
    fn dispatches(&self, _: &Operands) -> u64 {
        2
    }
}

impl Draw {
    /// Scores and draws are in f32 whatever the element type, so that every device draws the same token.
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let logits = io.x(0);
        let v = io.dims(0)[1];
        let settings = Settings {
            temperature: io.scalar(1),
            top_k: io.scalar_u32(2) as usize,
            top_p: io.scalar(3),
            min_p: io.scalar(4),
            penalty: io.scalar(5),
            seed: io.scalar_u32(6),
        };
        let number = io.ids(7);
        let (ids, log_probs, seen) = (io.take_ids(0), io.take(1), io.take_ids(2));
        let by = &F::coefficients::<false>();
        let known = &*seen;
        split_rows2((&mut *ids, 1), (log_probs, 1), 64 * v, |first, ids, log_probs| {
            for (i, (id, log_prob)) in ids.iter_mut().zip(log_probs).enumerate() {
                let row = first + i;
                let logits = &logits[row * v..][..v];
                let seen = |t: usize| self.seen && known[row * v + t] != 0;
                let scores: Vec<f32> = (logits.iter().enumerate())
                    .map(|(t, x)| settings.score(x.f64() as f32, seen(t)))
                    .collect();
                let token = settings.draw(&scores, [number[2 * row], number[2 * row + 1]]);
                let max = row_max(logits);
                *log_prob = logits[token] - max - row_sum(logits, |x| (x - max).exp(by)).ln();
                *id = token as u32;
            }
        });
        if self.seen {
            ids.iter().enumerate().for_each(|(row, &id)| seen[row * v + id as usize] = 1);
        }
    }
}

/// The scalars of one run.
#[derive(Clone, Copy, Debug)]
struct Settings {
    temperature: f32,
    top_k: usize,
    top_p: f32,
    min_p: f32,
    penalty: f32,
    seed: u32,
}

impl Settings {
    /// The logit after the penalty, divided by the temperature where there is one.
    fn score(&self, logit: f32, seen: bool) -> f32 {
        let penalised = match (seen, logit > 0.0) {
            (false, _) => logit,
            (true, true) => logit / self.penalty,
            (true, false) => logit * self.penalty,
        };
        if self.temperature > 0.0 { penalised / self.temperature.max(1e-30) } else { penalised }
    }

    /// The largest score plus noise among the tokens that the filters leave.
    fn draw(&self, scores: &[f32], [sequence, token]: [u32; 2]) -> usize {
        let top = row_max(scores);
        let threshold = self.threshold(scores, top);
        let (noisy, by) = (self.temperature > 0.0, &f32::coefficients::<false>());
        let mut best: Option<(f32, usize)> = None;
        // e^(top − best score): noise beyond it loses for certain, and its two logarithms need not be taken.
        let mut reach = f32::INFINITY;
        for (block, scores) in scores.chunks(4).enumerate() {
            if scores.iter().all(|&score| ordered(score) < threshold) {
                continue;
            }
            // Without noise and without the last filter, neither a random number nor a weight is looked at.
            let words =
                if noisy { philox([block as u32, sequence, token, 0], [self.seed, KEY]) } else { [0; 4] };
            for (i, (&score, bits)) in scores.iter().zip(words).enumerate() {
                let weight = if noisy || self.min_p > 0.0 { Real::exp(score - top, by) } else { 1.0 };
                let d = uniform(bits);
                // −ln E ≤ −ln d; the factor covers rounding.
                let hopeless = noisy && d > 1.001 * weight * reach;
                if ordered(score) < threshold || weight < self.min_p || hopeless {
                    continue;
                }
                let score = if noisy { score + gumbel(d) } else { score };
                // Only what is larger replaces: of equal ones, the first stays.
                if best.is_none_or(|(most, _)| score > most) {
                    best = Some((score, 4 * block + i));
                    reach = Real::exp(top - score, by);
                }
            }
        }
        best.map_or(0, |(_, token)| token)
    }

    /// What the ordered bits of a score must reach to pass top-k and top-p.
    fn threshold(&self, scores: &[f32], top: f32) -> u32 {
        let mut threshold = 0;
        if (1..scores.len()).contains(&self.top_k) {
            let ones = scores.iter().map(|&score| (ordered(score), 1.0)).collect();
            threshold = largest_from(ones, |_| self.top_k as f64);
        }
        if self.top_p < 1.0 {
            let by = &f32::coefficients::<false>();
            let weight = |&score: &f32| (ordered(score), Real::exp(score - top, by));
            let weights = scores.iter().map(weight).filter(|&(key, _)| key >= threshold).collect();
            let share = |all| self.top_p.max(1e-30) as f64 * all;
            threshold = threshold.max(largest_from(weights, share));
        }
        threshold
    }
}

/// The largest key such that all from it on have the weight that is `needed` of their sum, found bit by bit as in the
/// shader. What a bit has decided on is not looked at again.
fn largest_from(mut open: Vec<(u32, f32)>, needed: impl Fn(f64) -> f64) -> u32 {
    let mass = |weights: &[(u32, f32)], from: u32| -> f64 {
        weights.iter().map(|&(key, weight)| if key >= from { weight as f64 } else { 0.0 }).sum()
    };
    let needed = needed(mass(&open, 0));
    let (mut found, mut above) = (0, 0.0);
    for bit in (0..32).rev() {
        let candidate = found | 1 << bit;
        let reached = above + mass(&open, candidate);
        let enough = reached >= needed;
        open.retain(|&(key, _)| (key >= candidate) == enough);
        (found, above) = if enough { (candidate, above) } else { (found, reached) };
    }
    found
}

/// The bits of a float such that a larger float has larger bits; those of −0 are those of 0.
fn ordered(x: f32) -> u32 {
    let bits = if x == 0.0 { 0 } else { x.to_bits() };
    bits ^ if bits >= 1 << 31 { u32::MAX } else { 1 << 31 }
}

/// The middle of one of 2²³ intervals of (0, 1); exact in f32.
fn uniform(bits: u32) -> f32 {
    ((bits >> 9) as f32 + 0.5) * (1.0 / (1 << 23) as f32)
}

/// Standard Gumbel noise −ln E with E = −ln(1 − d), for d uniform in (0, 1).
///
/// The winner of a draw has a small E, from a small d. A series gives it there, as in the shader, where the built-in
/// logarithm may be off by 5·10⁻⁷ near 1.
fn gumbel(d: f32) -> f32 {
    let s = d / (2.0 - d);
    let z = s * s;
    let odd = [1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 0.2, 1.0 / 3.0, 1.0];
    let series = 2.0 * s * odd.into_iter().fold(0.0, |sum: f32, term: f32| sum * z + term);
    -(if d < 0.5 { series } else { -(1.0 - d).ln() }).ln()
}

impl Tensor {
    /// Draws one token for each row of logits.
    ///
    /// In this order:
    /// 1. repetition penalty on the logits of `seen` tokens (Keskar et al. 2019, "CTRL",
    ///    <https://arxiv.org/abs/1909.05858>; divided if positive, multiplied if negative);
    /// 2. temperature;
    /// 3. top-k (Fan, Lewis & Dauphin 2018, <https://arxiv.org/abs/1805.04833>): the k largest, with all that equal the last;
    /// 4. top-p (Holtzman et al. 2020, <https://arxiv.org/abs/1904.09751>): of the rest, renormalised, the smallest set of
    ///    the most likely whose probabilities sum to p or more, with all that equal the last;
    /// 5. min-p (Nguyen et al. 2024, <https://arxiv.org/abs/2407.01082>): no less likely than min_p times the most likely;
    /// 6. the draw, by the Gumbel-max trick: the largest of score plus Gumbel noise is distributed as softmax of the scores
    ///    (Maddison, Tarlow & Minka 2014, <https://arxiv.org/abs/1411.0030>). Noise comes from Philox, counter (token / 4,
    ///    the row's two numbers), so that a draw depends on no sum over the row: two devices differ only where two noisy scores do not
    ///    differ by more than their rounding.
    ///
    /// # Shapes
    /// logits `(B, V)` → ids `(B)` of u32, log_probs `(B)`: the log-softmax of the unmodified logits at the ids, in nats.
    ///
    /// # Cost
    /// Two dispatches. A row is read once; once more where tokens are filtered, 33 times each for top-k and top-p.
    ///
    /// # Panics
    /// When the shapes disagree.
    #[track_caller]
    pub fn sample(&self, inputs: SampleInputs) -> (Tensor, Tensor) {
        expect_dtype("sample", self, DType::F32);
        assert!(
            self.dims().len() == 2 && self.dim(1) > 0,
            "sample: logits need shape (B, V), found {}",
            self.shape()
        );
        let SampleInputs { seen, chosen, temperature, top_k, top_p, min_p, repetition_penalty, seed, number } =
            inputs;
        for (x, dtype) in [
            (temperature, DType::F32),
            (top_k, DType::U32),
            (top_p, DType::F32),
            (min_p, DType::F32),
            (repetition_penalty, DType::F32),
            (seed, DType::U32),
            (number, DType::U32),
        ] {
            expect_dtype("sample", x, dtype);
        }
        if let Some(seen) = seen {
            expect_dtype("sample", seen, DType::U32);
            assert!(
                seen.shape() == self.shape(),
                "sample: seen is {}, logits are {}",
                seen.shape(),
                self.shape()
            );
        }
        let rows = Shape::from((self.dim(0),));
        assert!(
            *number.dims() == [self.dim(0), 2],
            "sample: number is {}, expected ({}, 2)",
            number.shape(),
            self.dim(0)
        );
        if let Some(chosen) = chosen {
            expect_dtype("sample", chosen, DType::U32);
            assert!(*chosen.shape() == rows, "sample: chosen is {}, expected {rows}", chosen.shape());
        }
        let mut all = vec![self, temperature, top_k, top_p, min_p, repetition_penalty, seed, number];
        all.extend(seen);
        all.extend(chosen);
        // Parts of a row are not smaller than those of 32 threads.
        let scratch = Shape::from((self.dim(0) * (self.dim(1) + 5 * self.dim(1).div_ceil(4 * 32)),));
        let seen_shape = if seen.is_some() { self.shape().clone() } else { (1,).into() };
        let outputs =
            [(rows.clone(), DType::U32), (rows, DType::F32), (seen_shape, DType::U32), (scratch, DType::F32)];
        let op = Draw { seen: seen.is_some(), chosen: chosen.is_some() };
        let mut outputs = self.graph().record(op, &all, &outputs).into_iter();
        (outputs.next().expect("ids"), outputs.next().expect("log_probs"))
    }
}

/// [`Tensor::sample`] with the scalars that samples and tests set.
fn record(logits: &Tensor, number: &Tensor, seen: bool, chosen: bool) -> (Tensor, Tensor) {
    let graph = logits.graph();
    let seen = seen.then(|| graph.state("seen", logits.shape(), DType::U32));
    let chosen = chosen.then(|| graph.state("chosen", (logits.dim(0),), DType::U32));
    logits.sample(SampleInputs {
        seen: seen.as_ref(),
        chosen: chosen.as_ref(),
        temperature: &graph.scalar("temperature"),
        top_k: &graph.scalar_u32("top_k"),
        top_p: &graph.scalar("top_p"),
        min_p: &graph.scalar("min_p"),
        repetition_penalty: &graph.scalar("repetition_penalty"),
        seed: &graph.scalar_u32("seed"),
        number,
    })
}

fn samples() -> Vec<Sample> {
    let sample = |name: &str, (b, v): (usize, usize), temperature: f32, top_k: u32, top_p: f32| {
        Sample::new(name, &[(&[b, v], Range::Normal)], |x| {
            // Of each row its own sequence.
            let b = x[0].dim(0);
            let number =
                x[0].graph().data((b, 2), (0..b as u32).flat_map(|row| [row, 7]).collect::<Vec<_>>());
            // With both states; where there is one token only, a penalty would change nothing.
            let (ids, log_probs) = record(&x[0], &number, x[0].dim(1) > 1, true);
            vec![ids, log_probs]
        })
        .forward_only()
        .scalar("temperature", temperature.to_bits())
        .scalar("top_k", top_k)
        .scalar("top_p", top_p.to_bits())
        .scalar("min_p", 0.01f32.to_bits())
        .scalar("repetition_penalty", 1.2f32.to_bits())
        .scalar("seed", 42)
    };
    vec![
        sample("one token", (3, 1), 1.0, 0, 1.0),
        sample("three tokens", (40, 3), 1.0, 0, 1.0),
        sample("greedy", (20, 257), 0.0, 0, 1.0),
        sample("temperature", (20, 255), 0.7, 0, 1.0),
        sample("top-k", (20, 256), 1.0, 40, 1.0),
        sample("top-p", (20, 257), 1.3, 0, 0.9),
        sample("all, in a large vocabulary", (3, 50_257), 0.8, 200, 0.95),
        sample("no filter", (20, 1025), 0.9, 0, 1.0).scalar("min_p", 0),
        sample("no filter, greedy", (3, 3001), 0.0, 0, 1.0).scalar("min_p", 0),
        sample("beyond 65535 workgroups", (65_600, 3), 1.0, 0, 1.0),
    ]
}

#[cfg(test)]
mod tests;
