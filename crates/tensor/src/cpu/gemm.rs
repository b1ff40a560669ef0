//! Matrix products in f32: those of `cloche-gemm`, or of what takes their place.

use cloche_gemm::{Gemm, Product, panels_len};

/// C ← A·B + beta·C; see [`Real::gemm`](super::Real::gemm).
///
/// # Safety
/// That of [`Gemm`].
pub(super) unsafe fn gemm(
    dims: [usize; 3],
    (a, a_strides): (*const f32, [isize; 2]),
    (b, b_strides): (*const f32, [isize; 2]),
    beta: f32,
    (c, c_strides): (*mut f32, [isize; 2]),
) {
    with_panels(panels_len(dims), |panels| {
        // SAFETY: the caller's promise, and there is room for the panels.
        unsafe { fastest()(&Product { dims, a, a_strides, b, b_strides, beta, c, c_strides, panels }) };
    });
}

/// Room for the panels of one block of A and one of B.
#[cfg(target_arch = "wasm32")]
fn with_panels(len: usize, f: impl FnOnce(*mut f32)) {
    f(Vec::with_capacity(len).as_mut_ptr());
}

/// The same, kept from call to call. A register as long as a line of the cache is read in one go where it begins with one.
#[cfg(not(target_arch = "wasm32"))]
fn with_panels(len: usize, f: impl FnOnce(*mut f32)) {
    const LINE: usize = 16;
    thread_local! {
        static PANELS: std::cell::RefCell<Vec<f32>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    PANELS.with_borrow_mut(|panels| {
        panels.resize(panels.len().max(len + LINE), 0.0);
        let start = panels.as_ptr().align_offset(4 * LINE);
        f(panels[start..].as_mut_ptr());
    });
}

#[cfg(target_arch = "wasm32")]
use wasm::fastest;
#[cfg(target_arch = "wasm32")]
pub use wasm::set_gemm;

#[cfg(target_arch = "wasm32")]
mod wasm {
    use super::Gemm;
    use std::cell::Cell;

    thread_local! {
        static GEMM: Cell<Gemm> = const { Cell::new(cloche_gemm::gemm) };
    }

    /// Computes the products of this thread by another function from now on. It may round otherwise, as one with fused
    /// multiply-add does, but must keep what [`Gemm`] promises.
    pub fn set_gemm(gemm: Gemm) {
        GEMM.set(gemm);
    }

    pub(super) fn fastest() -> Gemm {
        GEMM.get()
    }
}

/// By what this processor multiplies. The choice is the same in every run on one machine, and so are the bits; those of the
/// three are the same besides, where multiply-add rounds once.
#[cfg(not(target_arch = "wasm32"))]
fn fastest() -> Gemm {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        return cloche_gemm::gemm_avx512;
    } else if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        return cloche_gemm::gemm_avx2;
    }
    matrixmultiply
}

/// Has kernels for other processors.
#[cfg(not(target_arch = "wasm32"))]
unsafe extern "C" fn matrixmultiply(p: &Product) {
    let ([m, k, n], [ra, ca], [rb, cb], [rc, cc]) = (p.dims, p.a_strides, p.b_strides, p.c_strides);
    // SAFETY: the caller's promise.
    unsafe { matrixmultiply::sgemm(m, k, n, 1.0, p.a, ra, ca, p.b, rb, cb, p.beta, p.c, rc, cc) }
}
