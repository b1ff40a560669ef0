//! A few rows times a matrix of f32, by the kernels of `cloche-gemm` for this processor.

use super::real::Real;
use cloche_gemm::few::{Few, add_rows_avx2, add_rows_avx512, dots_avx2, dots_avx512};

/// Kernels that this processor can run.
#[derive(Clone, Copy)]
pub(crate) struct FewKernels {
    rows: unsafe fn(&Few),
    dots: unsafe fn(&Few),
}

/// Those for numbers of this type, if there are any.
pub(crate) fn few_kernels<F: Real>() -> Option<FewKernels> {
    F::floats(&[])?;
    if std::arch::is_x86_feature_detected!("avx512f") {
        return Some(FewKernels { rows: add_rows_avx512, dots: dots_avx512 });
    }
    (std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma"))
        .then_some(FewKernels { rows: add_rows_avx2, dots: dots_avx2 })
}

impl FewKernels {
    /// y (M, n) ← x·b, or y + x·b where that is to be kept, of x (depth, M), which is a transpose, and of `depth` rows of b
    /// that are `stride` apart.
    pub fn add_rows<F: Real>(
        self,
        x: &[F],
        (b, stride): (&[F], usize),
        (y, n): (&mut [F], usize),
        keep: bool,
    ) {
        let m = y.len() / n;
        let depth = x.len() / m;
        if depth == 0 {
            return;
        }
        assert!(b.len() >= (depth - 1) * stride + n, "{depth} rows of b");
        let (Some(x), Some(b), Some(y)) = (F::floats(x), F::floats(b), F::floats_mut(y)) else {
            unreachable!("they are f32")
        };
        let (x, b, y) = (x.as_ptr(), b.as_ptr(), y.as_mut_ptr());
        let few = Few { dims: [m, depth, n], x, x_strides: [1, m], b, b_stride: stride, y, y_row: n, keep };
        // SAFETY: the extents are within the slices, and the processor has what the kernel needs.
        unsafe { (self.rows)(&few) };
    }

    /// y ← x·b, of rows of x (M, k) and of `n` columns of b that are `stride` apart.
    ///
    /// # Safety
    /// y is the first of n numbers that nobody else uses, and further rows of y lie `y_row` apart.
    pub unsafe fn dots<F: Real>(
        self,
        x: &[F],
        [k, n]: [usize; 2],
        (b, b_stride): (&[F], usize),
        (y, y_row): (*mut F, usize),
    ) {
        assert!(n == 0 || b.len() >= (n - 1) * b_stride + k, "{n} columns of b");
        let (Some(rows), Some(b)) = (F::floats(x), F::floats(b)) else { unreachable!("they are f32") };
        let (dims, x, b, y) = ([rows.len() / k, k, n], rows.as_ptr(), b.as_ptr(), y.cast());
        let few = Few { dims, x, x_strides: [k, 1], b, b_stride, y, y_row, keep: false };
        // SAFETY: the caller's promise; the extents are within the slices, and the processor has what the kernel needs.
        unsafe { (self.dots)(&few) };
    }
}
