//! Attention of a few queries on the CPU, as when text is generated: each is a pass over keys and one over values.

use std::array;
use std::ops::Range;

use super::attention::{Forward, Scratch};
use crate::cpu::{Kernel, Real, add_product, dot, row_max, row_sum, wide};

impl<F: Real> Forward<'_, F> {
    /// Some heads of all queries of one sequence.
    pub fn few_queries(&self, b: usize, heads: Range<usize>, Scratch { scores }: &mut Scratch<F>) {
        let ([q, k, v], d) = (&self.qkv, self.heads.d);
        let group = self.heads.h / self.heads.g;
        let (scale, by) = (F::of(self.heads.scale()), &F::coefficients::<false>());
        for t in 0..self.t_len {
            let seen = self.seen.first(b, t)..self.s_len.min(self.seen.own(b, t).saturating_add(1));
            let keys = seen.len();
            scores.resize(heads.len() * keys, F::ZERO); // (heads, keys)
            // SAFETY (of all rows): they are within their tensors, and each pair (b, h) writes rows of its own.
            for (i, s) in seen.clone().enumerate() {
                for (h, scores) in heads.clone().zip(scores.chunks_exact_mut(keys)) {
                    let (q, k) = unsafe { (q.row([b, t, h], d), k.row([b, s, h / group], d)) };
                    scores[i] = dot(q, k) * scale;
                }
            }
            for (h, scores) in heads.clone().zip(scores.chunks_exact_mut(keys)) {
                let largest = row_max(scores);
                scores.iter_mut().for_each(|p| *p = (*p - largest).exp(by));
                let sum = row_sum(scores, |p| p);
                scores.iter_mut().for_each(|p| *p = *p / sum);
                unsafe {
                    self.lse.row_mut([b, 0, h], self.t_len)[t] = largest + sum.ln();
                    self.y.row_mut([b, t, h], d).fill(F::ZERO);
                }
            }
            for i in (0..keys).step_by(AT_ONCE) {
                let at = |j: usize| seen.start + (i + j).min(keys - 1);
                for (h, scores) in heads.clone().zip(scores.chunks_exact(keys)) {
                    let y = unsafe { self.y.row_mut([b, t, h], d) };
                    let v = array::from_fn(|j| unsafe { v.row([b, at(j), h / group], d) });
                    let by = array::from_fn(|j| scores.get(i + j).copied().unwrap_or(F::ZERO));
                    wide(Weighted { by, v, y });
                }
            }
        }
    }
}

/// Values that are added at a time.
const AT_ONCE: usize = 4;

/// A sum of multiples of some values.
struct Weighted<'a, F> {
    by: [F; AT_ONCE],
    v: [&'a [F]; AT_ONCE],
    y: &'a mut [F],
}

impl<F: Real> Kernel for Weighted<'_, F> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let v = self.v.map(|v| &v[..self.y.len()]);
        for (i, y) in self.y.iter_mut().enumerate() {
            let add = |y: F, j: usize| add_product::<F, FUSED>(y, self.by[j], v[j][i]);
            *y = add(add(add(add(*y, 0), 1), 2), 3);
        }
    }
}
