//! Matrix products in wasm: those of `cloche-gemm`, or of what has been put in their place.

pub use cloche_gemm::Gemm;
use cloche_gemm::{Product, panels_len};
use std::cell::{Cell, RefCell};

thread_local! {
    /// The panels of one block of A and one of B, kept from call to call.
    static PANELS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    static GEMM: Cell<Gemm> = const { Cell::new(cloche_gemm::gemm) };
}

/// Computes the products of this thread by another function from now on. It may round otherwise, as one with fused
/// multiply-add does, but must keep what [`Gemm`] promises.
pub fn set_gemm(gemm: Gemm) {
    GEMM.set(gemm);
}

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
    PANELS.with_borrow_mut(|panels| {
        panels.resize(panels.len().max(panels_len(dims)), 0.0);
        let panels = panels.as_mut_ptr();
        // SAFETY: the caller's promise, and there is room for the panels.
        unsafe { GEMM.get()(&Product { dims, a, a_strides, b, b_strides, beta, c, c_strides, panels }) };
    });
}
