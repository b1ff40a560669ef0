//! Softmax of scores whose queries lie side by side.

use super::{Real, whole, wide_fn};
use std::ops::Range;

/// Keys whose weights are added up before they join the sum: short sums round less.
const PART: usize = 32;

/// The most queries that lie side by side.
pub(crate) const MOST_QUERIES: usize = 128;

wide_fn! {
    /// Replaces scores x (keys, queries) by exp(scale·x − largest of the query), and by 0 where the query does not see the key;
    /// `seeing` are the queries that see each key, and each sees one. Returns the sum of each query's weights, which are not
    /// yet divided by it, and gives its logarithm with the largest added back.
    pub(crate) fn softmax_columns<F: Real>(
        x: &mut [F],
        seeing: &[Range<usize>],
        scale: F,
        lse: &mut [F],
    ) -> [F; MOST_QUERIES] {
        let (n, by) = (lse.len(), &F::coefficients());
        lse.fill(F::MASKED);
        for (x, seeing) in x.chunks_exact_mut(n).zip(seeing) {
            let all = whole(seeing, n);
            // The exponential of these is 0.
            x[all.start..seeing.start].fill(F::MASKED);
            x[seeing.end..all.end].fill(F::MASKED);
            lse[all.clone()].iter_mut().zip(&x[all]).for_each(|(top, &x)| *top = top.max(x));
        }
        lse.iter_mut().for_each(|top| *top *= scale);
        let mut sums = [F::ZERO; MOST_QUERIES];
        for (x, seeing) in x.chunks_mut(PART * n).zip(seeing.chunks(PART)) {
            let mut part_sums = [F::ZERO; MOST_QUERIES];
            for (x, seeing) in x.chunks_exact_mut(n).zip(seeing) {
                let all = whole(seeing, n);
                x[..all.start].fill(F::ZERO);
                x[all.end..].fill(F::ZERO);
                let columns = part_sums[all.clone()].iter_mut().zip(&lse[all.clone()]);
                for (x, (sum, &top)) in x[all].iter_mut().zip(columns) {
                    *x = (*x * scale - top).exp(by);
                    *sum += *x;
                }
            }
            sums.iter_mut().zip(&part_sums).for_each(|(sum, &part)| *sum += part);
        }
        lse.iter_mut().zip(&sums).for_each(|(lse, sum)| *lse += sum.ln());
        sums
    }
}
