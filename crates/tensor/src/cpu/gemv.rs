//! One row times a matrix: what every decoded token consists of.
//!
//! Matrix products copy both operands into panels first, which pays when each element is used many times. Here each
//! element of the matrix is used once, and reading it is all there is to do.

use super::heads::dot;
use super::parallel::split_rows;
use super::real::Real;

/// y[n] = Σₖ a[k]·b[k, n], where element (k, n) of b lies at `k·row + n·column`, and either step is 1.
pub(crate) fn gemv<F: Real>(a: &[F], b: &[F], [row, column]: [usize; 2], y: &mut [F]) {
    debug_assert!(row == 1 || column == 1);
    // A piece reads whole lines of the cache, however long its columns are.
    split_rows((y, 1), a.len().div_ceil(8), |first, y| {
        if column == 1 {
            add_rows(a, &b[first..], row, y);
        } else {
            y.iter_mut().enumerate().for_each(|(n, y)| *y = dot(a, &b[(first + n) * column..][..a.len()]));
        }
    });
}

/// y = Σₖ a[k] · (row k of b), four rows at a time, so that y is read and written a quarter as often.
fn add_rows<F: Real>(a: &[F], b: &[F], stride: usize, y: &mut [F]) {
    y.fill(F::ZERO);
    let n = y.len();
    let mut fours = a.chunks_exact(4);
    for (i, a) in (&mut fours).enumerate() {
        let rows: [&[F]; 4] = std::array::from_fn(|j| &b[(4 * i + j) * stride..][..n]);
        for (j, y) in y.iter_mut().enumerate() {
            *y += (a[0] * rows[0][j] + a[1] * rows[1][j]) + (a[2] * rows[2][j] + a[3] * rows[3][j]);
        }
    }
    let done = a.len() / 4 * 4;
    for (i, &a) in fours.remainder().iter().enumerate() {
        let row = &b[(done + i) * stride..][..n];
        y.iter_mut().zip(row).for_each(|(y, &b)| *y += a * b);
    }
}
