//! A few rows times a matrix that is read from memory once, as for every decoded token.
//!
//! The matrix is on its way into the second-level cache some time before it is used, or the processor waits for it at every
//! turn: it fetches ahead by itself only within 4 KiB, and what lies in rows side by side crosses such a border all the time.
//! Into the first level it must not come so early, where it would push out what is in use.

use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};

use crate::register::{F32x8, F32x16, Register, Total};

/// A product Y ← X·B of at most [`FEW_ROWS`] rows X (m, k), a matrix B (k, n) and Y (m, n).
pub struct Few {
    /// Extents m, k, n; none is 0.
    pub dims: [usize; 3],
    /// The first element of X.
    pub x: *const f32,
    /// Elements from a row of X to the next, and from a column to the next.
    pub x_strides: [usize; 2],
    /// The first element of B.
    pub b: *const f32,
    /// Elements from a row of B to the next in [`add_rows_avx512`], whose elements lie side by side, and from a column to the
    /// next in [`dots_avx512`], where those of a column do.
    pub b_stride: usize,
    /// The first element of Y, whose rows are contiguous.
    pub y: *mut f32,
    /// Elements from a row of Y to the next.
    pub y_row: usize,
    /// Whether the product is added to Y; only [`add_rows_avx512`] asks.
    pub keep: bool,
}

/// The most rows of [`Few`].
pub const FEW_ROWS: usize = 8;

/// Rows of B between which sums are in memory: with one row of Y they are there as often as elements of B are read, and B is
/// read as it lies; with more, what is read of B at once stays in the first-level cache.
const DEPTH_OF_ONE: usize = 8;
const DEPTH_OF_MORE: usize = 96;

/// How many tiles ahead B is fetched, in tiles of 256 and of 128 bytes' width.
const AHEAD_OF_ONE: usize = 4;
const AHEAD_OF_MORE: usize = 3;

/// Floats in a line of the cache.
const LINE: usize = 16;

/// Sums of multiples of the rows of B, each in the order of k.
///
/// # Safety
/// Every index that the extents and strides span lies within the allocations behind the pointers, nothing else accesses Y
/// meanwhile, and the processor has `avx512f`.
#[target_feature(enable = "avx512f")]
pub unsafe fn add_rows_avx512(p: &Few) {
    // SAFETY: the caller's promise.
    match p.dims[0] {
        1 => unsafe { add_rows::<F32x16, 4>(p, DEPTH_OF_ONE, AHEAD_OF_ONE) },
        _ => unsafe { add_rows::<F32x16, 2>(p, DEPTH_OF_MORE, AHEAD_OF_MORE) },
    }
}

/// The same, with the same bits.
///
/// # Safety
/// That of [`add_rows_avx512`], but with `avx2` and `fma`.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn add_rows_avx2(p: &Few) {
    // SAFETY: the caller's promise.
    match p.dims[0] {
        1 => unsafe { add_rows::<F32x8, 8>(p, DEPTH_OF_ONE, AHEAD_OF_ONE) },
        _ => unsafe { add_rows::<F32x8, 2>(p, DEPTH_OF_MORE, 2 * AHEAD_OF_MORE) },
    }
}

/// SAFETY, here and below: the caller's promise; tiles lie within their matrices.
#[inline(always)]
unsafe fn add_rows<V: Register, const C: usize>(p: &Few, at_once: usize, ahead: usize) {
    let ([_, k, n], width) = (p.dims, C * V::LEN);
    for l in (0..k).step_by(at_once) {
        for j in (0..n).step_by(width) {
            let b = unsafe { p.b.add(l * p.b_stride + j) };
            // Behind the last columns come the first ones of the rows below.
            let (row, column) = match j + ahead * width {
                column if column < n => (l, column),
                column => (l + at_once, column - n),
            };
            let next = p.b.wrapping_add(row * p.b_stride + column);
            let strip = Strip { p, b, next, at: [l, j], depth: at_once.min(k - l), keep: p.keep || l > 0 };
            match n - j >= width {
                true => unsafe { strip.all_rows::<V, C, true>() },
                false => unsafe { strip.all_rows::<V, C, false>() },
            }
        }
    }
}

/// Some columns of some rows of B.
struct Strip<'a> {
    p: &'a Few,
    b: *const f32,
    /// What is fetched meanwhile, with as many rows.
    next: *const f32,
    /// Where it begins.
    at: [usize; 2],
    depth: usize,
    /// Whether it is added to Y.
    keep: bool,
}

impl Strip<'_> {
    /// Eight sums side by side need registers of sixteen floats, of which there are 32.
    #[inline(always)]
    unsafe fn all_rows<V: Register, const C: usize, const WHOLE: bool>(&self) {
        let m = self.p.dims[0];
        let mut row = 0;
        while row < m {
            row += match m - row {
                8.. if V::LEN == 16 => unsafe { self.tile::<V, 8, C, WHOLE>(row) },
                4.. => unsafe { self.tile::<V, 4, C, WHOLE>(row) },
                2.. => unsafe { self.tile::<V, 2, C, WHOLE>(row) },
                _ => unsafe { self.tile::<V, 1, C, WHOLE>(row) },
            };
        }
    }

    /// `R` rows of Y, which are returned, and `C` registers of columns.
    #[inline(always)]
    unsafe fn tile<V: Register, const R: usize, const C: usize, const WHOLE: bool>(
        &self,
        row: usize,
    ) -> usize {
        let p = self.p;
        let left = |j: usize| (p.dims[2] - self.at[1]).saturating_sub(j * V::LEN);
        let load = |from: *const f32, j: usize| match WHOLE {
            true => unsafe { V::load(from.wrapping_add(j * V::LEN)) },
            false => unsafe { V::load_first(from.wrapping_add(j * V::LEN), left(j)) },
        };
        let y = unsafe { p.y.add(row * p.y_row + self.at[1]) };
        let mut sums = [[unsafe { V::zero() }; C]; R];
        if self.keep {
            sums = core::array::from_fn(|r| core::array::from_fn(|j| load(y.wrapping_add(r * p.y_row), j)));
        }
        let [x_row, x_step] = p.x_strides;
        let (mut x, mut b) = (unsafe { p.x.add(row * x_row + self.at[0] * x_step) }, self.b);
        let mut next = self.next;
        for _ in 0..self.depth {
            for line in 0..(C * V::LEN).div_ceil(LINE) {
                unsafe { _mm_prefetch::<_MM_HINT_T1>(next.wrapping_add(line * LINE).cast()) };
            }
            let bs: [V; C] = core::array::from_fn(|j| load(b, j));
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = unsafe { V::splat(x.add(r * x_row)) };
                for (sum, b) in sums.iter_mut().zip(bs) {
                    *sum = unsafe { sum.add_product(x, b) };
                }
            }
            x = x.wrapping_add(x_step);
            (b, next) = (b.wrapping_add(p.b_stride), next.wrapping_add(p.b_stride));
        }
        for (r, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                let y = y.wrapping_add(r * p.y_row + j * V::LEN);
                match WHOLE {
                    true => unsafe { sum.store(y) },
                    false => unsafe { sum.store_first(y, left(j)) },
                }
            }
        }
        R
    }
}

/// How far ahead columns are fetched, in floats: 18 KiB.
const COLUMNS_AHEAD: usize = 4608;

/// Scalar products of the rows of X, whose elements lie side by side, with the columns of B. Rows are dealt out to 32 running
/// sums each where there are four, and what is left of them to 16; these are added as a tree.
///
/// # Safety
/// That of [`add_rows_avx512`].
#[target_feature(enable = "avx512f")]
pub unsafe fn dots_avx512(p: &Few) {
    // SAFETY: the caller's promise.
    unsafe {
        let [_, _, n] = p.dims;
        (0..n / 3 * 3).step_by(3).for_each(|j| columns::<F32x16, 4, 3, 2, 1>(p, j));
        (n / 3 * 3..n).for_each(|j| columns::<F32x16, 4, 1, 2, 1>(p, j));
    }
}

/// The same, with the same bits.
///
/// # Safety
/// That of [`add_rows_avx2`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn dots_avx2(p: &Few) {
    // SAFETY: the caller's promise.
    (0..p.dims[2]).for_each(|j| unsafe { columns::<F32x8, 2, 1, 4, 2>(p, j) });
}

/// `C` columns from column `j` on, with `R` rows at a time whose running sums are in `L` registers each, or with one in `ONE`.
#[inline(always)]
unsafe fn columns<V: Total, const R: usize, const C: usize, const L: usize, const ONE: usize>(
    p: &Few,
    j: usize,
) {
    let m = p.dims[0];
    for r in (0..m / 4 * 4).step_by(R) {
        unsafe { dots::<V, R, C, L>(p, [r, j]) };
    }
    for r in m / 4 * 4..m {
        unsafe { dots::<V, 1, C, ONE>(p, [r, j]) };
    }
}

#[inline(always)]
unsafe fn dots<V: Total, const R: usize, const C: usize, const L: usize>(p: &Few, [row, column]: [usize; 2]) {
    let ([_, k, _], lanes) = (p.dims, L * V::LEN);
    let (x, b) = unsafe { (p.x.add(row * p.x_strides[0]), p.b.add(column * p.b_stride)) };
    let mut sums = [[[unsafe { V::zero() }; C]; R]; L];
    for l in (0..k / lanes * lanes).step_by(lanes) {
        for (i, sums) in sums.iter_mut().enumerate() {
            let at = l + i * V::LEN;
            let bs: [V; C] = core::array::from_fn(|c| unsafe { V::load(b.add(c * p.b_stride + at)) });
            // Once for all rows, and once for each line.
            if row == 0 && at % LINE == 0 {
                for c in 0..C {
                    let next = b.wrapping_add(c * p.b_stride + at + COLUMNS_AHEAD);
                    unsafe { _mm_prefetch::<_MM_HINT_T1>(next.cast()) };
                }
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = unsafe { V::load(x.add(r * p.x_strides[0] + at)) };
                for (sum, b) in sums.iter_mut().zip(bs) {
                    *sum = unsafe { sum.add_product(x, b) };
                }
            }
        }
    }
    for (i, sums) in sums.iter_mut().enumerate() {
        let at = k / lanes * lanes + i * V::LEN;
        if at >= k {
            break;
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            let x = unsafe { V::load_first(x.add(r * p.x_strides[0] + at), k - at) };
            for (c, sum) in sums.iter_mut().enumerate() {
                *sum = unsafe { sum.add_product(x, V::load_first(b.add(c * p.b_stride + at), k - at)) };
            }
        }
    }
    for (r, c) in (0..R).flat_map(|r| (0..C).map(move |c| (r, c))) {
        let mut lanes: [V; L] = core::array::from_fn(|i| sums[i][r][c]);
        let mut half = L / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] = unsafe { lanes[i].add(lanes[i + half]) };
            }
            half /= 2;
        }
        unsafe { *p.y.add((row + r) * p.y_row + column + c) = lanes[0].total() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    type Kernel = unsafe fn(&Few);

    /// Those for rows and those for columns that this processor can run.
    fn kernels() -> Vec<[Kernel; 2]> {
        let mut kernels: Vec<[Kernel; 2]> = Vec::new();
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            kernels.push([add_rows_avx2, dots_avx2]);
        }
        if std::is_x86_feature_detected!("avx512f") {
            kernels.push([add_rows_avx512, dots_avx512]);
        }
        kernels
    }

    fn numbers(len: usize, salt: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 37 + salt * 101) % 211) as f32 / 100.0 - 1.0).collect()
    }

    /// Y of (m, k, n) by both kernels, in rows that are three longer, or added to what was there.
    fn products([rows, columns]: [Kernel; 2], [m, k, n]: [usize; 3], keep: bool) -> [Vec<f32>; 2] {
        let (x, b, y_row) = (numbers(m * k, 1), numbers(k * n, 2), n + 3);
        let turned: Vec<f32> = (0..k * n).map(|i| b[i % k * n + i / k]).collect();
        let mut ys = [numbers(m * y_row, 3), numbers(m * y_row, 3)];
        let [y, y_of_dots] = ys.each_mut().map(|y| y.as_mut_ptr());
        let dims = [m, k, n];
        let few = Few { dims, x: x.as_ptr(), x_strides: [k, 1], b: b.as_ptr(), b_stride: n, y, y_row, keep };
        // SAFETY: the extents are those of the vectors, and the processor has what the kernels need.
        unsafe {
            rows(&few);
            columns(&Few { b: turned.as_ptr(), b_stride: k, y: y_of_dots, ..few });
        }
        ys
    }

    #[test]
    fn products_of_few_rows_are_right_and_the_same_in_registers_of_any_width() {
        for m in 1..=FEW_ROWS {
            for [k, n] in [[1, 1], [7, 5], [16, 64], [33, 97], [130, 31], [200, 300], [512, 66]] {
                for keep in [false, true] {
                    let of_each: Vec<_> =
                        kernels().into_iter().map(|kernel| products(kernel, [m, k, n], keep)).collect();
                    let Some([by_rows, by_columns]) = of_each.first() else { return };
                    assert!(of_each.iter().all(|y| y == &of_each[0]), "{m}×{k}×{n}");
                    let (x, b, old) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * (n + 3), 3));
                    for (i, &before) in old.iter().enumerate() {
                        let (r, c) = (i / (n + 3), i % (n + 3));
                        let term = |l: usize| f64::from(x[r * k + l]) * f64::from(b[l * n + c]);
                        let sum: f64 = if c < n { (0..k).map(term).sum() } else { before.into() };
                        let kept = if keep && c < n { sum + f64::from(before) } else { sum };
                        assert!((f64::from(by_rows[i]) - kept).abs() < 1e-4, "rows {m}×{k}×{n}, {keep}");
                        assert!((f64::from(by_columns[i]) - sum).abs() < 1e-4, "columns {m}×{k}×{n}");
                    }
                }
            }
        }
    }
}
