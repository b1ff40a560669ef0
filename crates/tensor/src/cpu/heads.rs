//! One head's matrix within a tensor (B, T, H, D).

use std::marker::PhantomData;

use super::Real;
use crate::shape::Layout;

/// A tensor (B, T, H, D) with contiguous D, of which each head of each sequence is a matrix (T, D).
///
/// Threads write different heads, whose rows interleave in memory, so this is a pointer and not a slice.
pub(crate) struct HeadRows<'a, F> {
    start: *mut F,
    strides: [usize; 3],
    owner: PhantomData<&'a mut [F]>,
}

// SAFETY: shared reading is sound; writing is `unsafe`, and its callers write rows of their own.
unsafe impl<F: Send> Send for HeadRows<'_, F> {}
unsafe impl<F: Sync> Sync for HeadRows<'_, F> {}

impl<'a, F: Real> HeadRows<'a, F> {
    /// A tensor that is read.
    pub fn read(data: &'a [F], layout: &Layout) -> Self {
        Self::part(data.as_ptr().cast_mut(), data.len(), layout)
    }

    /// A tensor that is written.
    pub fn write(data: &'a mut [F], layout: &Layout) -> Self {
        Self::part(data.as_mut_ptr(), data.len(), layout)
    }

    /// A part of memory that belongs to a tensor of `len` elements; parts may interleave.
    pub fn part(data: *mut F, len: usize, layout: &Layout) -> Self {
        assert!(
            layout.end() <= len && (layout.shape[3] == 1 || layout.strides[3] == 1),
            "rows of {layout:?}"
        );
        let strides = [layout.strides[0], layout.strides[1], layout.strides[2]];
        // SAFETY: the offset lies within the data, by the assertion.
        HeadRows { start: unsafe { data.add(layout.offset) }, strides, owner: PhantomData }
    }

    /// The matrix (T, D) from row `t` on, for [`Real::gemm`].
    pub fn rows(&self, at: [usize; 3]) -> (*const F, [isize; 2]) {
        let (start, strides) = self.matrix(at);
        (start, strides)
    }

    /// Its transpose, a matrix (D, T).
    pub fn columns(&self, at: [usize; 3]) -> (*const F, [isize; 2]) {
        let (start, [row, column]) = self.matrix(at);
        (start, [column, row])
    }

    /// The matrix as [`rows`](Self::rows) has it, to be written.
    pub fn matrix(&self, [b, t, h]: [usize; 3]) -> (*mut F, [isize; 2]) {
        let at = b * self.strides[0] + t * self.strides[1] + h * self.strides[2];
        (self.start.wrapping_add(at), [self.strides[1] as isize, 1])
    }

    /// Row `t` of head `h`.
    ///
    /// # Safety
    /// The indices are within the tensor, and nobody writes the row meanwhile.
    pub unsafe fn row(&self, at: [usize; 3], d: usize) -> &[F] {
        unsafe { std::slice::from_raw_parts(self.matrix(at).0, d) }
    }

    /// Row `t` of head `h`, to be written.
    ///
    /// # Safety
    /// The tensor was given to [`write`](Self::write), the indices are within it, and nobody else uses the row meanwhile.
    #[allow(clippy::mut_from_ref, reason = "threads write different rows of one tensor")]
    pub unsafe fn row_mut(&self, at: [usize; 3], d: usize) -> &mut [F] {
        unsafe { std::slice::from_raw_parts_mut(self.matrix(at).0, d) }
    }
}

/// Σ aᵢ·bᵢ in eight running sums, so that the loop vectorises. In WebAssembly, where every kilobyte counts, it is there once.
#[cfg_attr(target_arch = "wasm32", inline(never))]
#[cfg_attr(not(target_arch = "wasm32"), inline(always))]
pub(crate) fn dot<F: Real>(a: &[F], b: &[F]) -> F {
    let mut lanes = [F::ZERO; 8];
    let ((a8, a), (b8, b)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a8.iter().zip(b8) {
        lanes = std::array::from_fn(|i| lanes[i] + a[i] * b[i]);
    }
    let rest = a.iter().zip(b).fold(F::ZERO, |sum, (&a, &b)| sum + a * b);
    let halves: [F; 4] = std::array::from_fn(|i| lanes[i] + lanes[i + 4]);
    (halves[0] + halves[2]) + (halves[1] + halves[3]) + rest
}
