//! A few rows times a matrix of f32 in a page whose products another module computes: as `cloche_gemm::streams` says.

use super::parallel::{SendPtr, join_chunks, split_rows};
use super::products;
use super::real::Real;
use cloche_gemm::streams::{COLUMNS, FEW_ROWS, Few, MultiplyFew, in_turn, padded};
use std::mem::MaybeUninit;

const _: () = assert!(FEW_ROWS == super::FEW_ROWS);

/// Parts of k that are summed by themselves, so that each thread reads memory of its own.
const PARTS: usize = 4;

/// Numbers that a thread reads at once where it has whole columns, at most.
const PIECE: usize = 1 << 19;

/// A matrix of fewer numbers stays in a cache while it is packed.
const SMALL: usize = 1 << 17;

/// What multiplies rows of X (m, k) by a matrix (k, n) that takes `row` and `column` from an element to the next, if there is such a
/// kernel and the matrix is large enough to be worth it.
pub(crate) fn kernel<F: Real>([m, k, n]: [usize; 3], [row, column]: [usize; 2]) -> Option<MultiplyFew> {
    F::floats(&[])?;
    let whole = match column {
        1 => k.is_multiple_of(4 * PARTS) && n.is_multiple_of(COLUMNS) && row > 0,
        _ => k.is_multiple_of(4) && row == 1 && column == k,
    };
    products().few.filter(|_| whole && (2..=FEW_ROWS).contains(&m) && k * n >= SMALL)
}

/// y ← x·b, as [`gemv`](super::gemv::gemv) has it.
pub(crate) fn multiply<F: Real>(
    kernel: MultiplyFew,
    x: &[F],
    dims: [usize; 3],
    (b, [row, column]): (&[F], [usize; 2]),
    (y, y_row): (&mut [F], usize),
) {
    let (Some(x), Some(b), Some(y)) = (F::floats(x), F::floats(b), F::floats_mut(y)) else {
        unreachable!("they are f32")
    };
    let [m, k, n] = dims;
    let last = if column == 1 { (k - 1) * row + n } else { k * n };
    assert!(x.len() == m * k && b.len() >= last && y.len() >= (m - 1) * y_row + n, "{m}×{k}×{n}");
    match column {
        1 => by_rows(kernel, x, dims, (b, row), (y, y_row)),
        _ => by_columns(kernel, x, dims, b, (y, y_row)),
    }
}

fn by_rows(
    kernel: MultiplyFew,
    x: &[f32],
    [m, k, n]: [usize; 3],
    (b, b_row): (&[f32], usize),
    (y, y_row): (&mut [f32], usize),
) {
    // Each thread clears what it writes: what another one has cleared would have to come from there.
    let mut sums = Vec::with_capacity(PARTS * m * n);
    let room = &mut sums.spare_capacity_mut()[..PARTS * m * n];
    split_rows((room, m * n), usize::MAX, |part, room| {
        let (from, depth) = (part * (k / PARTS), k / PARTS / 4);
        let mut turned = vec![0.0; 4 * depth * m];
        in_turn(x, [m, m, k], from, [1, depth], &mut turned);
        room.fill(MaybeUninit::new(0.0));
        let (x, b, y) = (turned.as_ptr(), b[from * b_row..].as_ptr(), room.as_mut_ptr().cast());
        // SAFETY: the caller has looked at the extents, and the sums are this part's.
        unsafe { kernel(&Few { rows: m, depth, columns: n, x, b, b_row, y }) };
    });
    // SAFETY: the parts are all of them.
    unsafe { sums.set_len(PARTS * m * n) };
    let (sums, _) = sums.as_chunks::<COLUMNS>();
    split_rows((&mut y[..(m - 1) * y_row + n], y_row), PARTS * n, |first, y| {
        for (r, y) in (first..).zip(y.chunks_mut(y_row)) {
            let (tiles, _) = y[..n].as_chunks_mut::<COLUMNS>();
            for (j, y) in tiles.iter_mut().enumerate() {
                let [a, b, c, d]: [&[f32; COLUMNS]; PARTS] =
                    std::array::from_fn(|part| &sums[(part * n / COLUMNS + j) * m + r]);
                *y = std::array::from_fn(|i| (a[i] + b[i]) + (c[i] + d[i]));
            }
        }
    });
}

fn by_columns(
    kernel: MultiplyFew,
    x: &[f32],
    [m, k, n]: [usize; 3],
    b: &[f32],
    (y, y_row): (&mut [f32], usize),
) {
    let rows = padded(m);
    let mut turned = vec![0.0; k * rows];
    in_turn(x, [m, rows, k], 0, [4, 1], &mut turned);
    // Pieces of one length, and an even number of them.
    let at_once = n.div_ceil(2 * (k * n).div_ceil(2 * PIECE));
    let y = SendPtr(y.as_mut_ptr());
    join_chunks(n.div_ceil(at_once), |piece| {
        let first = piece * at_once;
        let columns = at_once.min(n - first);
        let mut parts = vec![0.0; columns * rows * 4];
        let (x, b) = (turned.as_ptr(), b[first * k..].as_ptr());
        // SAFETY: the caller has looked at the extents, and there is room for the parts of each sum.
        unsafe { kernel(&Few { rows: m, depth: k / 4, columns, x, b, b_row: 0, y: parts.as_mut_ptr() }) };
        for r in 0..m {
            // SAFETY: y has m rows of n columns, of which these are nobody else's.
            let y = unsafe { std::slice::from_raw_parts_mut(y.get().add(r * y_row + first), columns) };
            for (y, parts) in y.iter_mut().zip(parts[r * 4..].chunks(rows * 4)) {
                *y = (parts[0] + parts[1]) + (parts[2] + parts[3]);
            }
        }
    });
}
