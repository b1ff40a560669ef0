//! A few rows times a matrix that is read from memory once, for WebAssembly, where nothing can be fetched ahead by hand.
//!
//! A processor fetches ahead by itself where memory is read from one end to the other, in not too many places: so a matrix is
//! read in four or two, far from each other. What does not stay in registers lies in the order in which it is met.

use crate::register::{F32x4, Register};

/// A product of a few rows X (m, k) and a matrix B (k, n), which is read either by rows, four at a time, a quarter of k from each
/// other, or by columns, two at a time, half of n from each other.
#[repr(C)]
pub struct Few {
    /// Rows of X, at most [`FEW_ROWS`].
    pub rows: usize,
    /// A quarter of k.
    pub depth: usize,
    /// Columns of B: by rows a multiple of [`COLUMNS`].
    pub columns: usize,
    /// X as (depth, m, 4), by columns with rows of zeros as far as [`padded`] says. Four of a row, in turn, by rows a quarter of
    /// k from each other, by columns side by side.
    pub x: *const f32,
    /// The first element of B.
    pub b: *const f32,
    /// Elements from a row of B to the next, whose elements lie side by side; or 0: those of a column do, and the columns.
    pub b_row: usize,
    /// By rows (n / [`COLUMNS`], m, [`COLUMNS`]), to which the product is added; by columns (n, [`padded`], 4), parts of sums.
    pub y: *mut f32,
}

/// [`few`], or what takes its place.
///
/// # Safety
/// There are at most [`FEW_ROWS`] rows, all that the extents say is there, and nothing else accesses Y meanwhile.
pub type MultiplyFew = unsafe extern "C" fn(&Few);

/// The most rows of [`Few`].
pub const FEW_ROWS: usize = 8;
/// Columns of a tile that rows of B are read by.
pub const COLUMNS: usize = 8;

/// Rows by which one column is read, and two: as many sums as there are registers for.
const OF_ONE: usize = FEW_ROWS;
const OF_TWO: usize = 5;

/// So many rows that are read by columns have zeros behind them up to this many.
pub const fn padded(rows: usize) -> usize {
    if rows > OF_TWO { OF_ONE } else { OF_TWO }
}

/// Writes rows of x (m, k) as [`Few`] has them, from column `from` on: four of a row, which are steps[1] apart, then those of the
/// next row, then `rows` − m times zeros; and all that again, steps[0] further, as often as there is room for.
///
/// # Panics
/// When it would leave x.
pub fn in_turn(x: &[f32], [m, rows, k]: [usize; 3], from: usize, steps: [usize; 2], to: &mut [f32]) {
    for (l, x_at_l) in to.chunks_exact_mut(4 * rows).enumerate() {
        for (r, four) in x_at_l.chunks_exact_mut(4).enumerate() {
            let at = |i: usize| r * k + from + l * steps[0] + i * steps[1];
            four.iter_mut().enumerate().for_each(|(i, y)| *y = if r < m { x[at(i)] } else { 0.0 });
        }
    }
}

/// Computes a product of a few rows.
///
/// # Safety
/// That of [`MultiplyFew`].
pub unsafe extern "C" fn few(p: &Few) {
    // SAFETY: the caller's promise.
    unsafe {
        match (p.b_row, padded(p.rows)) {
            (0, OF_TWO) => by_columns::<OF_TWO, 2>(p),
            (0, _) => by_columns::<OF_ONE, 1>(p),
            _ => by_rows(p),
        }
    }
}

/// SAFETY: the caller's promise.
#[inline(always)]
unsafe fn by_rows(p: &Few) {
    const AT_ONCE: usize = 4;
    const ACROSS: usize = COLUMNS / F32x4::LEN;
    let mut xs = p.x;
    for l in 0..p.depth {
        let end = unsafe { xs.add(p.rows * AT_ONCE) };
        let (mut b, mut y) = (unsafe { p.b.add(l * p.b_row) }, p.y);
        for _ in 0..p.columns / COLUMNS {
            let row = |i: usize| unsafe { b.add(i * p.depth * p.b_row) };
            let tile: [[F32x4; ACROSS]; AT_ONCE] =
                core::array::from_fn(|i| core::array::from_fn(|j| unsafe { F32x4::load(row(i).add(4 * j)) }));
            let mut x = xs;
            while x != end {
                unsafe {
                    let mut sums: [F32x4; ACROSS] = core::array::from_fn(|j| F32x4::load(y.add(4 * j)));
                    for (i, b) in tile.iter().enumerate() {
                        let x = F32x4::splat(x.add(i));
                        sums = core::array::from_fn(|j| sums[j].add_product(x, b[j]));
                    }
                    for (j, sum) in sums.iter().enumerate() {
                        sum.store(y.add(4 * j));
                    }
                    (x, y) = (x.add(AT_ONCE), y.add(COLUMNS));
                }
            }
            b = unsafe { b.add(COLUMNS) };
        }
        xs = end;
    }
}

/// By `C` columns for `R` rows. SAFETY: the caller's promise.
#[inline(always)]
unsafe fn by_columns<const R: usize, const C: usize>(p: &Few) {
    // The last column of the first part may be the first of the second.
    let half = p.columns.div_ceil(C);
    let far = p.columns - half;
    let k = 4 * p.depth;
    for column in 0..half {
        let (mut x, mut b) = (p.x, unsafe { p.b.add(column * k) });
        let end = unsafe { b.add(k) };
        let mut sums = [[unsafe { F32x4::zero() }; C]; R];
        while b != end {
            unsafe {
                let b_there: [F32x4; C] = core::array::from_fn(|i| F32x4::load(b.add(i * far * k)));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = F32x4::load(x.add(4 * r));
                    *sums = core::array::from_fn(|i| sums[i].add_product(x, b_there[i]));
                }
                (x, b) = (x.add(4 * R), b.add(4));
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (i, sum) in sums.iter().enumerate() {
                unsafe { sum.store(p.y.add(((column + i * far) * R + r) * 4)) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn numbers(len: usize, salt: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 37 + salt * 101) % 211) as f32 / 100.0 - 1.0).collect()
    }

    #[test]
    fn products_of_few_rows_are_right_by_rows_and_by_columns() {
        for m in 1..=FEW_ROWS {
            for [k, n] in [[4, 8], [16, 8], [20, 1], [32, 31], [64, 72], [192, 200]] {
                // Rows of B are longer than those that are read.
                let row = n + 3;
                let (x, b) = (numbers(m * k, 1), numbers(k * row, 2));
                let want = |r: usize, c: usize| -> f64 {
                    (0..k).map(|l| f64::from(x[r * k + l]) * f64::from(b[l * row + c])).sum()
                };
                if n % COLUMNS == 0 {
                    let mut turned = std::vec![f32::NAN; m * k];
                    in_turn(&x, [m, m, k], 0, [1, k / 4], &mut turned);
                    let mut y = numbers(m * n, 3);
                    let (x, depth) = (turned.as_ptr(), k / 4);
                    let p =
                        Few { rows: m, depth, columns: n, x, b: b.as_ptr(), b_row: row, y: y.as_mut_ptr() };
                    // SAFETY: the extents are those of the vectors.
                    unsafe { few(&p) };
                    for (i, (found, before)) in y.iter().zip(numbers(m * n, 3)).enumerate() {
                        let (r, c) = (i / COLUMNS % m, i / COLUMNS / m * COLUMNS + i % COLUMNS);
                        let error = f64::from(*found) - f64::from(before) - want(r, c);
                        assert!(error.abs() < 1e-4, "rows {m}×{k}×{n}: ({r}, {c})");
                    }
                }
                let rows = padded(m);
                let mut turned = std::vec![f32::NAN; rows * k];
                in_turn(&x, [m, rows, k], 0, [4, 1], &mut turned);
                let columns: Vec<f32> = (0..k * n).map(|i| b[i % k * row + i / k]).collect();
                let mut y = std::vec![f32::NAN; n * rows * 4];
                let (x, b, depth) = (turned.as_ptr(), columns.as_ptr(), k / 4);
                // SAFETY: the extents are those of the vectors.
                unsafe { few(&Few { rows: m, depth, columns: n, x, b, b_row: 0, y: y.as_mut_ptr() }) };
                for (i, parts) in y.chunks_exact(4).enumerate() {
                    let (r, c) = (i % rows, i / rows);
                    let want = if r < m { want(r, c) } else { 0.0 };
                    let found: f32 = parts.iter().sum();
                    assert!((f64::from(found) - want).abs() < 1e-4, "columns {m}×{k}×{n}: ({r}, {c})");
                }
            }
        }
    }
}
