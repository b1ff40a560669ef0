//! Cutting work into pieces: for threads natively, for other workers in a page that has them.

#[cfg(target_arch = "wasm32")]
use super::team;
use crate::shape::Layout;
#[cfg(not(target_arch = "wasm32"))]
use rayon::prelude::*;

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
    let pieces = Pieces::of(y, rows * len);
    join_chunks(pieces.count(), |i| f(i * rows, pieces.get(i)));
}

/// Like [`split_rows`] for two outputs whose rows belong together: `f(first_row, rows_a, rows_b)`.
pub fn split_rows2<A: Send, B: Send>(
    (a, a_len): (&mut [A], usize),
    (b, b_len): (&mut [B], usize),
    work: usize,
    f: impl Fn(usize, &mut [A], &mut [B]) + Sync + Send,
) {
    let rows = (GRAIN / work.max(1)).max(1);
    let (a, b) = (Pieces::of(a, rows * a_len), Pieces::of(b, rows * b_len));
    join_chunks(a.count().min(b.count()), |i| f(i * rows, a.get(i), b.get(i)));
}

/// A slice in pieces of `len` elements, the last of which may be shorter.
struct Pieces<T> {
    first: SendPtr<T>,
    total: usize,
    len: usize,
}

impl<T> Pieces<T> {
    fn of(all: &mut [T], len: usize) -> Pieces<T> {
        Pieces { first: SendPtr(all.as_mut_ptr()), total: all.len(), len: len.max(1) }
    }

    fn count(&self) -> usize {
        self.total.div_ceil(self.len)
    }

    /// Piece `i`, which nobody else asks for while it is in use.
    #[allow(clippy::mut_from_ref)]
    fn get(&self, i: usize) -> &mut [T] {
        let start = i * self.len;
        // SAFETY: the pieces are disjoint parts of a slice that is borrowed for as long as they are.
        unsafe {
            std::slice::from_raw_parts_mut(self.first.get().add(start), self.len.min(self.total - start))
        }
    }
}

/// Runs `f(0), f(1), … f(n − 1)`, side by side where there are threads. Each call must touch data of its own.
pub fn join_chunks(n: usize, f: impl Fn(usize) + Sync + Send) {
    #[cfg(target_arch = "wasm32")]
    team::run(n, &f);
    #[cfg(not(target_arch = "wasm32"))]
    match n {
        0 | 1 => (0..n).for_each(f),
        _ => (0..n).into_par_iter().for_each(f),
    }
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

/// Like [`join_chunks`] with memory that is used again from call to call.
pub fn join_chunks_with<S: Default>(n: usize, f: impl Fn(usize, &mut S) + Sync + Send) {
    #[cfg(target_arch = "wasm32")]
    {
        // A thread's memory is gone before its last piece counts as done: hence a few pieces for each.
        let pieces = n.min(4 * threads());
        join_chunks(pieces, |piece| {
            let mut scratch = S::default();
            (piece * n / pieces..(piece + 1) * n / pieces).for_each(|i| f(i, &mut scratch));
        });
    }
    #[cfg(not(target_arch = "wasm32"))]
    match n {
        0 | 1 => (0..n).for_each(|i| f(i, &mut S::default())),
        _ => (0..n).into_par_iter().for_each_init(S::default, |scratch, i| f(i, scratch)),
    }
}

/// How many threads share a loop.
pub fn threads() -> usize {
    #[cfg(target_arch = "wasm32")]
    return team::threads();
    #[cfg(not(target_arch = "wasm32"))]
    return rayon::current_num_threads();
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
