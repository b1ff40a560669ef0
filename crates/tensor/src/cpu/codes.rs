//! A few rows times a matrix of codes, by the kernels of `cloche-gemm`.

use super::real::Real;
use crate::ops::quantized_matmul;
use cloche_gemm::codes::{Digits, GROUP, PANEL, Panel, digits, multiply};

const _: () = assert!(GROUP == quantized_matmul::GROUP && PANEL == quantized_matmul::PANEL);

/// Rows in whole numbers, to be multiplied by codes of `BITS` bits.
pub(crate) struct RowsInDigits<const BITS: usize>(Vec<Digits>);

impl<const BITS: usize> RowsInDigits<BITS> {
    /// Those of x (M, k) where the numbers are f32, and where a processor of x86-64 multiplies bytes.
    pub fn of<F: Real>(x: &[F]) -> Option<Self> {
        let x = F::floats(x)?.as_chunks::<GROUP>().0;
        #[cfg(target_arch = "wasm32")]
        return Some(RowsInDigits(x.iter().map(digits::<BITS>).collect()));
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512vnni")
        {
            // SAFETY: the processor has what the function is compiled for.
            return Some(RowsInDigits(x.iter().map(|x| unsafe { digits::<BITS>(x) }).collect()));
        }
        #[cfg(target_arch = "x86_64")]
        None
    }

    /// y (M, PANEL) += the rows times one panel.
    pub fn multiply<F: Real>(&self, codes: &[u32], scales: &[F], y: &mut [F]) {
        let (Some(scales), Some(y)) = (F::floats(scales), F::floats_mut(y)) else {
            unreachable!("they are f32")
        };
        let panel = Panel { rows: &self.0, codes, scales, y };
        #[cfg(target_arch = "wasm32")]
        multiply::<BITS>(panel);
        // SAFETY: the processor has what the function is compiled for, or there would be no such rows.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            multiply::<BITS>(panel)
        };
    }
}
