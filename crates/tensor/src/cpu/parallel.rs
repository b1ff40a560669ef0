//! Cutting work into pieces: for threads natively, for other workers in a page that has them.

use std::ops::Range;

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

/// Runs `f`, which does so many operations, as one of the threads that share loops: it takes its part of each then. From any
/// other thread each loop would wake all of them, and the caller would sleep meanwhile.
///
/// # Safety
/// `f` does not mind which thread runs it. The caller's waits until it has ended.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) unsafe fn run_among_threads(flops: u64, f: impl FnOnce()) {
    struct Lent<F>(F);
    // SAFETY: the caller's promise.
    unsafe impl<F> Send for Lent<F> {}
    impl<F: FnOnce()> Lent<F> {
        fn run(self) {
            self.0()
        }
    }
    if flops <= BRIEF {
        return f();
    }
    let lent = Lent(f);
    rayon::scope(|_| lent.run());
}

/// The same in a page, where whoever runs a program is one of the team.
#[cfg(target_arch = "wasm32")]
pub(crate) unsafe fn run_among_threads(_: u64, f: impl FnOnce()) {
    f();
}

/// As many operations are done before another thread has woken and said so.
#[cfg(not(target_arch = "wasm32"))]
const BRIEF: u64 = 1 << 22;

/// How many threads share a loop.
pub fn threads() -> usize {
    #[cfg(target_arch = "wasm32")]
    return team::threads();
    #[cfg(not(target_arch = "wasm32"))]
    return rayon::current_num_threads();
}

/// Calls `f` with the buffer index of each element, in row-major order of the layout's shape.
pub fn for_each_index(layout: &Layout, mut f: impl FnMut(usize)) {
    for_each_run(layout, 0..layout.numel(), |start, stride, n| (0..n).for_each(|i| f(start + i * stride)));
}

/// Calls `f(start, stride, n)` for runs of elements that lie `stride` apart in the buffer, from the index `start` on: together
/// those of `range`, in row-major order of the layout's shape.
pub fn for_each_run(layout: &Layout, range: Range<usize>, mut f: impl FnMut(usize, usize, usize)) {
    let (shape, strides) = (&layout.shape, &layout.strides);
    let mut left = range.len();
    if left == 0 {
        return;
    }
    let Some(inner) = shape.len().checked_sub(1) else { return f(layout.offset, 0, 1) };
    let (mut place, mut start) = (range.start, layout.offset);
    let mut index = vec![0; shape.len()];
    for d in (0..=inner).rev() {
        index[d] = place % shape[d];
        start += index[d] * strides[d];
        place /= shape[d];
    }
    loop {
        let n = left.min(shape[inner] - index[inner]);
        f(start, strides[inner], n);
        left -= n;
        if left == 0 {
            return;
        }
        // Advance like an odometer, the run as its last wheel.
        index[inner] += n - 1;
        start += (n - 1) * strides[inner];
        for d in (0..=inner).rev() {
            index[d] += 1;
            start += strides[d];
            if index[d] < shape[d] {
                break;
            }
            start -= index[d] * strides[d];
            index[d] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_are_among_the_threads_that_share_loops() {
        let worker = |flops| {
            let mut worker = None;
            // SAFETY: a number that is written before the call returns.
            unsafe { run_among_threads(flops, || worker = rayon::current_thread_index()) };
            worker
        };
        assert!(worker(BRIEF + 1).is_some());
        assert_eq!(worker(BRIEF), None);
        let panics = || unsafe { run_among_threads(u64::MAX, || panic!("told to whoever waits")) };
        assert!(std::panic::catch_unwind(panics).is_err());
    }

    #[test]
    fn runs_begin_and_end_anywhere() {
        let layouts = [
            Layout { shape: (2, 3, 4).into(), strides: vec![40, 1, 7], offset: 5 },
            Layout { shape: (3, 1, 5).into(), strides: vec![0, 9, 1], offset: 0 },
            Layout { shape: ().into(), strides: vec![], offset: 3 },
            Layout { shape: (2, 0).into(), strides: vec![1, 1], offset: 0 },
        ];
        for layout in layouts {
            let n = layout.numel();
            let place = |i: usize| {
                let index = |d: usize| i / layout.shape[d + 1..].iter().product::<usize>() % layout.shape[d];
                layout.offset + (0..layout.shape.len()).map(|d| index(d) * layout.strides[d]).sum::<usize>()
            };
            for range in (0..=n).flat_map(|from| (from..=n).map(move |to| from..to)) {
                let mut found = Vec::new();
                for_each_run(&layout, range.clone(), |start, stride, n| {
                    found.extend((0..n).map(|i| start + i * stride));
                });
                assert_eq!(found, range.map(place).collect::<Vec<_>>(), "{layout:?}");
            }
        }
    }
}
