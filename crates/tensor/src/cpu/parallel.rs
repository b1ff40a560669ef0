//! Cutting work into pieces: threads natively, a plain loop in a page.

use crate::shape::Layout;

/// Below this many elements a loop is not worth a second thread.
pub(crate) const GRAIN: usize = 16 * 1024;

/// Calls `f(first_row, rows)` on pieces of `y`, a tensor of rows of `row_len` elements; pieces may run side by side.
///
/// The pieces' sizes depend on the tensor alone.
pub fn split_chunks<T: Send>(y: &mut [T], row_len: usize, f: impl Fn(usize, &mut [T]) + Sync + Send) {
    split_rows((y, row_len), row_len, f);
}

/// Like [`split_chunks`] for two outputs whose rows belong together: `f(first_row, rows_a, rows_b)`.
pub fn split_chunks2<A: Send, B: Send>(
    a: (&mut [A], usize),
    b: (&mut [B], usize),
    f: impl Fn(usize, &mut [A], &mut [B]) + Sync + Send,
) {
    let work = a.1.max(b.1);
    split_rows2(a, b, work, f);
}

/// Like [`split_chunks`] for rows that take as much work as `work` elements: rows that are read are longer than those
/// that are written.
pub fn split_rows<T: Send>(
    (y, len): (&mut [T], usize),
    work: usize,
    f: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    let rows = (GRAIN / work.max(1)).max(1);
    #[cfg(not(target_arch = "wasm32"))]
    if y.len() > rows * len {
        use rayon::prelude::*;
        y.par_chunks_mut((rows * len).max(1)).enumerate().for_each(|(i, y)| f(i * rows, y));
        return;
    }
    y.chunks_mut((rows * len).max(1)).enumerate().for_each(|(i, y)| f(i * rows, y));
}

/// Like [`split_rows`] for two outputs whose rows belong together: `f(first_row, rows_a, rows_b)`.
pub fn split_rows2<A: Send, B: Send>(
    (a, a_len): (&mut [A], usize),
    (b, b_len): (&mut [B], usize),
    work: usize,
    f: impl Fn(usize, &mut [A], &mut [B]) + Sync + Send,
) {
    let rows = (GRAIN / work.max(1)).max(1);
    #[cfg(not(target_arch = "wasm32"))]
    if a.len() > rows * a_len {
        use rayon::prelude::*;
        a.par_chunks_mut((rows * a_len).max(1))
            .zip(b.par_chunks_mut((rows * b_len).max(1)))
            .enumerate()
            .for_each(|(i, (a, b))| f(i * rows, a, b));
        return;
    }
    let pieces = a.chunks_mut((rows * a_len).max(1)).zip(b.chunks_mut((rows * b_len).max(1)));
    pieces.enumerate().for_each(|(i, (a, b))| f(i * rows, a, b));
}

/// Runs `f(0), f(1), … f(n − 1)`, side by side where there are threads. Each call must touch data of its own.
pub fn join_chunks(n: usize, f: impl Fn(usize) + Sync + Send) {
    #[cfg(not(target_arch = "wasm32"))]
    if n > 1 {
        use rayon::prelude::*;
        (0..n).into_par_iter().for_each(f);
        return;
    }
    (0..n).for_each(f);
}

/// A pointer that may cross threads, each of which writes a part of its own.
pub(crate) struct SendPtr<F>(pub *mut F);

impl<F> SendPtr<F> {
    pub fn get(&self) -> *mut F {
        self.0
    }
}

// SAFETY: whoever writes through it must keep to its own part.
unsafe impl<F> Send for SendPtr<F> {}
unsafe impl<F> Sync for SendPtr<F> {}

/// Like [`join_chunks`] with memory that a thread uses again from call to call.
pub fn join_chunks_with<S: Default>(n: usize, f: impl Fn(usize, &mut S) + Sync + Send) {
    #[cfg(not(target_arch = "wasm32"))]
    if n > 1 {
        use rayon::prelude::*;
        (0..n).into_par_iter().for_each_init(S::default, |scratch, i| f(i, scratch));
        return;
    }
    let mut scratch = S::default();
    (0..n).for_each(|i| f(i, &mut scratch));
}

/// Calls `f` with the buffer index of each element, in row-major order of the layout's shape.
pub fn for_each_index(layout: &Layout, mut f: impl FnMut(usize)) {
    if layout.numel() == 0 {
        return;
    }
    let rank = layout.shape.len();
    let (inner_n, inner_stride) =
        if rank == 0 { (1, 0) } else { (layout.shape[rank - 1], layout.strides[rank - 1]) };
    let outer = rank.saturating_sub(1);
    let mut index = vec![0; outer];
    let mut start = layout.offset;
    loop {
        (0..inner_n).for_each(|i| f(start + i * inner_stride));
        // Advance the outer dimensions like an odometer.
        let mut d = outer;
        loop {
            if d == 0 {
                return;
            }
            d -= 1;
            index[d] += 1;
            start += layout.strides[d];
            if index[d] < layout.shape[d] {
                break;
            }
            start -= index[d] * layout.strides[d];
            index[d] = 0;
        }
    }
}
