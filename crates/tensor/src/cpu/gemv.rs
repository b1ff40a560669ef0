//! A few rows times a matrix: what every decoded token consists of.
//!
//! Matrix products copy both operands into panels first, which pays when each element is used many times. Here each
//! element of the matrix is used a few times, and reading it is most of what there is to do: it is read once, and as far
//! as can be from the first byte to the last.

use super::dot;
#[cfg(target_arch = "x86_64")]
use super::few::few_kernels;
use super::parallel::{GRAIN, split_rows};
#[cfg(target_arch = "x86_64")]
use super::parallel::{SendPtr, join_chunks};
use super::real::Real;
#[cfg(all(target_arch = "wasm32", feature = "few"))]
use super::streams;
use super::wide::{Kernel, add_product, wide};

/// With more rows than this, packing pays.
pub(crate) const FEW_ROWS: usize = 8;

/// Parts of a matrix that are summed by themselves, so that each thread reads memory of its own.
const PARTS: usize = 8;

/// A matrix of fewer elements is one part: to wake another thread takes as long as to read it.
const SMALL: usize = 1 << 17;

/// Whether [`gemv`] can do it for a matrix of such numbers with these steps. In wasm, where a page loads every kernel before it
/// begins, there are but two plain loops, for one row; what multiplies more is another module's.
pub(crate) fn suits<F: Real>(_: &[F], dims: [usize; 3], steps: [usize; 2]) -> bool {
    #[cfg(not(all(target_arch = "wasm32", feature = "few")))]
    let alone = cfg!(target_arch = "wasm32");
    #[cfg(all(target_arch = "wasm32", feature = "few"))]
    let alone = streams::kernel::<F>(dims, steps).is_none();
    dims[0] <= if alone { 1 } else { FEW_ROWS } && steps.contains(&1)
}

/// y[m, n] = Σₖ x[m, k]·b[k, n], where x is contiguous, element (k, n) of b lies at `k·row + n·column`, either step being 1,
/// and rows of y are `y_row` apart.
pub(crate) fn gemv<F: Real>(
    x: &[F],
    [m, k, n]: [usize; 3],
    (b, [row, column]): (&[F], [usize; 2]),
    (y, y_row): (&mut [F], usize),
) {
    debug_assert!(suits(b, [m, k, n], [row, column]));
    if m * n == 0 {
        return;
    }
    #[cfg(all(target_arch = "wasm32", feature = "few"))]
    if let Some(kernel) = streams::kernel::<F>([m, k, n], [row, column]) {
        return streams::multiply(kernel, x, [m, k, n], (b, [row, column]), (y, y_row));
    }
    if cfg!(target_arch = "wasm32") {
        return plain(x, (b, [row, column]), &mut y[..n]);
    }
    match column {
        1 => sum_rows(x, [m, k, n], (b, row), (y, y_row)),
        _ => dots(x, [m, k, n], (b, column), (y, y_row)),
    }
}

/// One row. Where rows of b lie in memory, each thread has whole ones, or else columns.
fn plain<F: Real>(x: &[F], (b, [row, column]): (&[F], [usize; 2]), y: &mut [F]) {
    if column != 1 {
        return split_rows((y, 1), x.len(), |first, y| {
            let columns = b[first * column..].chunks(column);
            y.iter_mut().zip(columns).for_each(|(y, b)| *y = dot(x, &b[..x.len()]));
        });
    }
    let parts = if x.len() * y.len() < SMALL { 1 } else { PARTS };
    let depth = x.len().div_ceil(parts).max(1);
    let mut sums = vec![F::ZERO; x.len().div_ceil(depth) * y.len()];
    split_rows((&mut sums, y.len()), GRAIN, |part, y| {
        let x = &x[part * depth..];
        add_rows(&x[..depth.min(x.len())], (&b[part * depth * row..], row), y);
    });
    y.fill(F::ZERO);
    for part in sums.chunks(y.len()) {
        y.iter_mut().zip(part).for_each(|(y, &sum)| *y += sum);
    }
}

/// y += one row times b. Rows are read from their first number to their last, so that the processor sees what comes next, in
/// two places at a time.
fn add_rows<F: Real>(x: &[F], (b, row): (&[F], usize), y: &mut [F]) {
    let half = x.len().div_ceil(2);
    for (i, &by) in x[..half].iter().enumerate() {
        let (other, by_other) = x.get(half + i).map_or((i, F::ZERO), |&x| (half + i, x));
        for ((y, &b), &other) in y.iter_mut().zip(&b[i * row..]).zip(&b[other * row..]) {
            *y += by * b + by_other * other;
        }
    }
}

/// Where the rows of b lie in memory: sums of multiples of them, in parts along k.
fn sum_rows<F: Real>(
    x: &[F],
    [m, k, n]: [usize; 3],
    (b, stride): (&[F], usize),
    (y, y_row): (&mut [F], usize),
) {
    let parts = if k * n < SMALL { 1 } else { PARTS };
    let depth = k.div_ceil(parts).next_multiple_of(AT_ONCE);
    let mut sums = vec![F::ZERO; parts * m * n];
    split_rows((&mut sums, m * n), if parts == 1 { 1 } else { usize::MAX }, |first, sums| {
        for (part, y) in sums.chunks_exact_mut(m * n).enumerate() {
            let from = ((first + part) * depth).min(k);
            let rows = depth.min(k - from);
            let x: Vec<&[F]> = (0..m).map(|r| &x[r * k + from..][..rows]).collect();
            let b = &b[(from * stride).min(b.len())..];
            #[cfg(target_arch = "x86_64")]
            if let Some(kernels) = few_kernels::<F>() {
                let columns: Vec<F> = (0..rows).flat_map(|i| x.iter().map(move |x| x[i])).collect();
                kernels.add_rows(&columns, (b, stride), (y, n), false);
                continue;
            }
            wide(AddRows { x, b, stride, n, y });
        }
    });
    // Rows that lie side by side are one.
    let width = if y_row == n { m * n } else { n };
    for (r, y) in y.chunks_mut(y_row * width / n).take(m * n / width).enumerate() {
        split_rows((&mut y[..width], 1), parts, |first, y| {
            let from = r * width + first;
            y.copy_from_slice(&sums[from..][..y.len()]);
            for part in sums.chunks_exact(m * n).skip(1) {
                y.iter_mut().zip(&part[from..]).for_each(|(y, &sum)| *y += sum);
            }
        });
    }
}

/// Rows of b that are added at once, so that y is read and written an eighth as often.
const AT_ONCE: usize = 8;

/// Columns of them that stay in a cache nearby while they are added to each row of y.
const COLUMNS: usize = 1024;

/// y[m] += Σₖ x[m][k] · (row k of b)
struct AddRows<'a, F> {
    x: Vec<&'a [F]>,
    b: &'a [F],
    stride: usize,
    n: usize,
    y: &'a mut [F],
}

impl<F: Real> Kernel for AddRows<'_, F> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let AddRows { x, b, stride, n, y } = self;
        let k = x[0].len();
        let whole = k / AT_ONCE * AT_ONCE;
        for first in (0..whole).step_by(AT_ONCE) {
            for from in (0..n).step_by(COLUMNS) {
                let len = COLUMNS.min(n - from);
                let b: [&[F]; AT_ONCE] = std::array::from_fn(|i| &b[(first + i) * stride + from..][..len]);
                for (x, y) in x.iter().zip(y.chunks_exact_mut(n)) {
                    let a: [F; AT_ONCE] = std::array::from_fn(|i| x[first + i]);
                    for (j, y) in y[from..][..len].iter_mut().enumerate() {
                        let mut sum = *y;
                        for i in 0..AT_ONCE {
                            sum = add_product::<F, FUSED>(sum, a[i], b[i][j]);
                        }
                        *y = sum;
                    }
                }
            }
        }
        for i in whole..k {
            let b = &b[i * stride..][..n];
            for (x, y) in x.iter().zip(y.chunks_exact_mut(n)) {
                y.iter_mut().zip(b).for_each(|(y, &b)| *y = add_product::<F, FUSED>(*y, x[i], b));
            }
        }
    }
}

/// Where the columns of b lie in memory: a scalar product for each element of y.
fn dots<F: Real>(x: &[F], [m, k, n]: [usize; 3], (b, stride): (&[F], usize), (y, y_row): (&mut [F], usize)) {
    // A piece reads whole lines of the cache, however long its columns are.
    let work = k.div_ceil(8);
    #[cfg(target_arch = "x86_64")]
    if let Some(kernels) = few_kernels::<F>() {
        let (at_once, y) = ((GRAIN / work.max(1)).max(1), SendPtr(y.as_mut_ptr()));
        return join_chunks(n.div_ceil(at_once), |i| {
            let first = i * at_once;
            let (b, len) = ((&b[first * stride..], stride), at_once.min(n - first));
            // SAFETY: y has m rows of n columns, of which these are nobody else's.
            unsafe { kernels.dots(x, [k, len], b, (y.get().add(first), y_row)) };
        });
    }
    let all = |first: usize, y: &mut [F]| wide(Dots { x, k, b: &b[first * stride..], stride, y });
    if m == 1 {
        return split_rows((&mut y[..n], 1), work, all);
    }
    let mut sums = vec![F::ZERO; n * m]; // (N, M)
    split_rows((&mut sums, m), work, all);
    for (r, y) in y.chunks_mut(y_row).take(m).enumerate() {
        y[..n].iter_mut().zip(sums[r..].iter().step_by(m)).for_each(|(y, &sum)| *y = sum);
    }
}

/// y (N, M): the scalar products of the rows of x (M, k) with the columns of b.
struct Dots<'a, F> {
    x: &'a [F],
    k: usize,
    b: &'a [F],
    stride: usize,
    y: &'a mut [F],
}

impl<F: Real> Kernel for Dots<'_, F> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Dots { x, k, b, stride, y } = self;
        let m = x.len() / k;
        let by_fours = m / 4 * 4;
        let mut columns = y.chunks_exact_mut(4 * m);
        let mut first = 0;
        for y in &mut columns {
            let b: [&[F]; 4] = std::array::from_fn(|i| &b[(first + i) * stride..][..k]);
            for r in (0..by_fours).step_by(4) {
                let x = std::array::from_fn(|i| &x[(r + i) * k..][..k]);
                for (b, y) in b.iter().zip(y.chunks_exact_mut(m)) {
                    y[r..r + 4].copy_from_slice(&four_by_one::<F, FUSED>(x, b));
                }
            }
            for r in by_fours..m {
                let sums = one_by::<F, 4, FUSED>(&x[r * k..][..k], b);
                (0..4).for_each(|i| y[i * m + r] = sums[i]);
            }
            first += 4;
        }
        for (n, y) in columns.into_remainder().chunks_exact_mut(m).enumerate() {
            let b = &b[(first + n) * stride..][..k];
            for (x, y) in x.chunks_exact(k).zip(y) {
                [*y] = one_by::<F, 1, FUSED>(x, [b]);
            }
        }
    }
}

/// The scalar products of one row with N columns, whose memory is read side by side.
#[inline(always)]
fn one_by<F: Real, const N: usize, const FUSED: bool>(x: &[F], b: [&[F]; N]) -> [F; N] {
    const LANES: usize = 16;
    let k = x.len();
    let whole = k / (4 * LANES) * (4 * LANES);
    let mut sums = [[F::ZERO; LANES]; N];
    for first in (0..whole).step_by(4 * LANES) {
        let x = &x[first..][..4 * LANES];
        for (sums, b) in sums.iter_mut().zip(&b) {
            let b = &b[first..][..4 * LANES];
            for (j, sum) in sums.iter_mut().enumerate() {
                for i in [j, j + LANES, j + 2 * LANES, j + 3 * LANES] {
                    *sum = add_product::<F, FUSED>(*sum, x[i], b[i]);
                }
            }
        }
    }
    std::array::from_fn(|n| total::<F, LANES, FUSED>(sums[n], &x[whole..], &b[n][whole..]))
}

/// The scalar products of four rows with one column, each element of which is loaded once for all four.
#[inline(always)]
fn four_by_one<F: Real, const FUSED: bool>(x: [&[F]; 4], b: &[F]) -> [F; 4] {
    const LANES: usize = 32;
    let whole = b.len() / (4 * LANES) * (4 * LANES);
    let mut sums = [[F::ZERO; LANES]; 4];
    for first in (0..whole).step_by(4 * LANES) {
        let b = &b[first..][..4 * LANES];
        let x: [&[F]; 4] = std::array::from_fn(|r| &x[r][first..][..4 * LANES]);
        (0..LANES).for_each(|j| {
            for (x, sums) in x.iter().zip(&mut sums) {
                for i in [j, j + LANES, j + 2 * LANES, j + 3 * LANES] {
                    sums[j] = add_product::<F, FUSED>(sums[j], x[i], b[i]);
                }
            }
        });
    }
    std::array::from_fn(|r| total::<F, LANES, FUSED>(sums[r], &x[r][whole..], &b[whole..]))
}

/// Running sums and what is left over, as one.
#[inline(always)]
fn total<F: Real, const LANES: usize, const FUSED: bool>(mut sums: [F; LANES], x: &[F], b: &[F]) -> F {
    for (i, (&x, &b)) in x.iter().zip(b).enumerate() {
        sums[i % LANES] = add_product::<F, FUSED>(sums[i % LANES], x, b);
    }
    let mut half = LANES / 2;
    while half > 0 {
        let (low, high) = sums.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(a, b)| *a += *b);
        half /= 2;
    }
    sums[0]
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    /// Training has such products too, of adapters. The loops take the last columns of four rows one by one, and in another order;
    /// here are none.
    #[test]
    fn kernels_for_registers_give_the_bits_of_the_loops() {
        let Some(kernels) = few_kernels::<f32>() else { return };
        let numbers =
            |len: usize, salt: usize| (0..len).map(move |i| ((i * 37 + salt) % 211) as f32 / 70.0 - 1.5);
        for [m, k, n] in [[1, 96, 200], [1, 131, 37], [2, 40, 70], [4, 768, 32], [7, 200, 36], [8, 129, 68]] {
            let x: Vec<f32> = numbers(m * k, 1).collect();
            let b: Vec<f32> = numbers(k * n, 2).collect();
            let (mut want, mut got) = (vec![0.0; m * n], vec![0.0; m * n]);
            wide(AddRows { x: x.chunks_exact(k).collect(), b: &b, stride: n, n, y: &mut want });
            let columns: Vec<f32> = (0..m * k).map(|i| x[i % m * k + i / m]).collect();
            kernels.add_rows(&columns, (&b, n), (&mut got, n), false);
            assert_eq!(got, want, "rows, {m}×{k}×{n}");
            wide(Dots { x: &x, k, b: &b, stride: k, y: &mut want });
            // SAFETY: there are m rows of n numbers.
            unsafe { kernels.dots(&x, [k, n], (&b, k), (got.as_mut_ptr(), n)) };
            let turned: Vec<f32> = (0..m * n).map(|i| got[i % m * n + i / m]).collect();
            assert_eq!(turned, want, "columns, {m}×{k}×{n}");
        }
    }
}
