//! Softmax of scores whose queries lie side by side.

use super::{Real, add_product, wide_fn};

/// Keys whose weights are added up before they join the sum: short sums round less.
const PART: usize = 32;

/// The most queries that lie side by side.
pub(crate) const MOST_QUERIES: usize = 128;

/// Queries side by side whose largest score and whose sum stay in registers while all keys pass.
pub(crate) const QUERIES: usize = if cfg!(target_arch = "wasm32") { 8 } else { 16 };

/// The numbers of the `k`-th [`QUERIES`] queries in a row of whole ones.
#[inline(always)]
pub(crate) fn queries<F>(x: &mut [F], k: usize) -> &mut [F; QUERIES] {
    x[k * QUERIES..].first_chunk_mut().expect("rows are whole")
}

wide_fn! {
    /// Replaces scores x (keys, queries), MASKED where a query does not see a key, by exp(scale·x − largest of the query). The first
    /// [`QUERIES`] see none beyond `met` keys, the next none beyond [`QUERIES`] more, and so on: there 0 is written and nothing
    /// read. Returns the sum of each query's weights, which are not yet divided by it, and gives its logarithm with the largest
    /// added back.
    pub(crate) fn softmax_columns<F: Real>(
        x: &mut [F],
        stride: usize,
        met: usize,
        scale: F,
        lse: &mut [F],
    ) -> [F; MOST_QUERIES] {
        let by = &F::coefficients::<FUSED>();
        let mut sums = [F::ZERO; MOST_QUERIES];
        for (sums, (k, lse)) in sums.chunks_exact_mut(QUERIES).zip(lse.chunks_mut(QUERIES).enumerate()) {
            let (x, unseen) = x.split_at_mut(x.len().min((met + k * QUERIES) * stride));
            unseen.chunks_exact_mut(stride).for_each(|x| queries(x, k).fill(F::ZERO));
            let mut top = [F::MASKED; QUERIES];
            for x in x.chunks_exact_mut(stride) {
                top.iter_mut().zip(queries(x, k)).for_each(|(top, x)| *top = top.max(*x));
            }
            top.iter_mut().for_each(|top| *top *= scale);
            for x in x.chunks_mut(PART * stride) {
                let mut part_sums = [F::ZERO; QUERIES];
                for x in x.chunks_exact_mut(stride) {
                    for ((x, sum), &top) in queries(x, k).iter_mut().zip(&mut part_sums).zip(&top) {
                        *x = add_product::<F, FUSED>(-top, *x, scale).exp(by);
                        *sum += *x;
                    }
                }
                sums.iter_mut().zip(&part_sums).for_each(|(sum, &part)| *sum += part);
            }
            for ((lse, &top), &sum) in lse.iter_mut().zip(&top).zip(&*sums) {
                *lse = top + sum.ln();
            }
        }
        sums
    }
}
