//! A few rows times a matrix of codes, by the kernels of `cloche-gemm`, or in WebAssembly of what takes their place.

use super::real::Real;
use crate::ops::quantized_matmul;
use cloche_gemm::codes::{Digits, GROUP, PANEL, Panels, STRIP, digits, multiply};
#[cfg(target_arch = "wasm32")]
use cloche_gemm::codes::{Multiply, ToDigits};

const _: () = assert!(GROUP == quantized_matmul::GROUP && PANEL == quantized_matmul::PANEL);
const _: () = assert!(STRIP == quantized_matmul::STRIP);

/// Rows in whole numbers, to be multiplied by codes of `BITS` bits.
pub(crate) struct RowsInDigits<const BITS: usize> {
    rows: usize,
    groups: usize,
    /// (rows, groups). In WebAssembly room for them, which another module may use in another way.
    digits: Vec<Digits>,
}

impl<const BITS: usize> RowsInDigits<BITS> {
    /// Those of x (M, k) where the numbers are f32, and where a processor of x86-64 multiplies bytes.
    ///
    /// # Panics
    /// When k is not a multiple of [`GROUP`].
    pub fn of<F: Real>(x: &[F], k: usize) -> Option<Self> {
        let x = F::floats(x)?;
        let (rows, groups) = (x.len() / k, k / GROUP);
        assert!(x.len() == rows * groups * GROUP, "rows of whole groups");
        #[cfg(target_arch = "wasm32")]
        {
            let mut digits = Vec::with_capacity(rows * groups);
            // SAFETY: the groups are there, and room for the digits of each.
            unsafe { products().0(x.as_ptr(), rows * groups, BITS, digits.as_mut_ptr()) };
            Some(RowsInDigits { rows, groups, digits })
        }
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512vnni")
        {
            // SAFETY: the processor has what the function is compiled for.
            let group = |x| unsafe { digits::<BITS>(x) };
            let digits = x.as_chunks::<GROUP>().0.iter().map(group).collect();
            return Some(RowsInDigits { rows, groups, digits });
        }
        #[cfg(target_arch = "x86_64")]
        None
    }

    /// y (panels, M, PANEL) += the rows times panels that follow each other.
    ///
    /// # Panics
    /// When the extents do not belong together.
    pub fn multiply<F: Real>(&self, codes: &[u32], scales: &[F], y: &mut [F]) {
        let (Some(scales), Some(y)) = (F::floats(scales), F::floats_mut(y)) else {
            unreachable!("they are f32")
        };
        let &RowsInDigits { rows, groups, .. } = self;
        let panels = y.len() / (rows * PANEL);
        assert!(
            y.len() == panels * rows * PANEL
                && codes.len() == panels * groups * BITS * PANEL
                && scales.len() == panels * groups * PANEL,
            "rows, codes and scales belong together"
        );
        let (x, y) = (self.digits.as_ptr(), y.as_mut_ptr());
        let all = Panels { panels, rows, groups, x, codes: codes.as_ptr(), scales: scales.as_ptr(), y };
        // SAFETY: all of it is there.
        #[cfg(target_arch = "wasm32")]
        unsafe {
            products().1(&all, BITS)
        };
        // SAFETY: so it is, and the processor has what the function is compiled for, or there would be no such rows.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            multiply::<BITS>(&all)
        };
    }
}

/// This module's kernels or another's, one of which reads what the other wrote.
#[cfg(target_arch = "wasm32")]
fn products() -> (ToDigits, Multiply) {
    let another = super::products();
    another.digits.zip(another.multiply).unwrap_or((digits, multiply))
}
