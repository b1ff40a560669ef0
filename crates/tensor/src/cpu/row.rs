//! Sums along a row of memory, in lanes that vectorise and in an order that is always the same.

use super::Real;

/// Running sums that one row is dealt out to.
const LANES: usize = 16;

/// `Σ term(a)` over a row.
#[inline(always)]
pub fn row_sum<F: Real>(a: &[F], term: impl Fn(F) -> F) -> F {
    let mut lanes = [F::ZERO; LANES];
    let blocks = a.chunks_exact(LANES);
    let rest = blocks.remainder();
    for block in blocks {
        for (sum, &a) in lanes.iter_mut().zip(block) {
            *sum += term(a);
        }
    }
    for (sum, &a) in lanes.iter_mut().zip(rest) {
        *sum += term(a);
    }
    combine(lanes)
}

/// Two sums at once over three rows of equal length: `Σ term(a, b, c)`.
#[inline(always)]
pub fn row_sums<F: Real>([a, b, c]: [&[F]; 3], term: impl Fn(F, F, F) -> [F; 2]) -> [F; 2] {
    let (mut first, mut second) = ([F::ZERO; LANES], [F::ZERO; LANES]);
    let mut add = |a: &[F], b: &[F], c: &[F]| {
        let sums = first.iter_mut().zip(&mut second);
        for ((((first, second), &a), &b), &c) in sums.zip(a).zip(b).zip(c) {
            let [p, q] = term(a, b, c);
            *first += p;
            *second += q;
        }
    };
    let whole = a.len() / LANES * LANES;
    let blocks = a[..whole]
        .chunks_exact(LANES)
        .zip(b[..whole].chunks_exact(LANES))
        .zip(c[..whole].chunks_exact(LANES));
    blocks.for_each(|((a, b), c)| add(a, b, c));
    add(&a[whole..], &b[whole..], &c[whole..]);
    [combine(first), combine(second)]
}

/// The largest element of a row that has at least one.
#[inline(always)]
pub fn row_max<F: Real>(a: &[F]) -> F {
    let mut lanes = [a[0]; LANES];
    let blocks = a.chunks_exact(LANES);
    let rest = blocks.remainder();
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(max, &a)| *max = max.max(a));
    }
    lanes.iter().chain(rest).fold(a[0], |max, &a| max.max(a))
}

/// The sum of the lanes, as a tree.
fn combine<F: Real>(mut lanes: [F; LANES]) -> F {
    let mut n = LANES / 2;
    while n > 0 {
        let (low, high) = lanes.split_at_mut(n);
        low.iter_mut().zip(high).for_each(|(a, b)| *a += *b);
        n /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_of_a_row_counts_once() {
        for n in [0, 1, 15, 16, 17, 100] {
            let a: Vec<f64> = (1..=n).map(|i| i as f64).collect();
            let sum = (n * (n + 1) / 2) as f64;
            assert_eq!(row_sum(&a, |a| a), sum);
            assert_eq!(row_sums([&a, &a, &a], |a, b, c| [a, b + c]), [sum, 2.0 * sum]);
            if n > 0 {
                assert_eq!(row_max(&a), n as f64);
            }
        }
    }
}
