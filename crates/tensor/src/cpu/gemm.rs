//! Matrix products in f32: those of `cloche-gemm`, or of what takes their place.

use cloche_gemm::{Gemm, Product, Triangle, panels_len};

/// C ← A·B + beta·C; see [`Real::gemm`](super::Real::gemm).
///
/// # Safety
/// That of [`Gemm`].
pub(super) unsafe fn gemm(
    triangle: Triangle,
    dims: [usize; 3],
    (a, a_strides): (*const f32, [isize; 2]),
    (b, b_strides): (*const f32, [isize; 2]),
    beta: f32,
    (c, c_strides): (*mut f32, [isize; 2]),
) {
    with_panels(panels_len(dims), |panels| {
        let product = Product { dims, a, a_strides, b, b_strides, beta, c, c_strides, panels, triangle };
        // SAFETY: the caller's promise, and there is room for the panels.
        unsafe { fastest()(&product) };
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
pub use wasm::{Products, set_products};
#[cfg(target_arch = "wasm32")]
pub(super) use wasm::{fastest, products};

#[cfg(target_arch = "wasm32")]
mod wasm {
    use super::Gemm;
    use cloche_gemm::codes::{Multiply, ToDigits};
    use cloche_gemm::streams::MultiplyFew;
    use std::cell::Cell;

    /// The functions of a module that multiplies.
    #[derive(Clone, Copy)]
    #[repr(C)]
    pub struct Products {
        /// Matrices in f32.
        pub gemm: Gemm,
        /// Rows in digits, if it has that.
        pub digits: Option<ToDigits>,
        /// Such rows times a matrix of codes.
        pub multiply: Option<Multiply>,
        /// A few rows in f32.
        pub few: Option<MultiplyFew>,
    }

    thread_local! {
        // What multiplies codes comes with the operation that needs it. Without `few`, a few rows are packed like many.
        static PRODUCTS: Cell<Products> =
            const { Cell::new(Products { gemm: cloche_gemm::gemm, digits: None, multiply: None, few: None }) };
    }

    /// Computes the products of this thread by other functions from now on. They may round otherwise, as those with fused
    /// multiply-add do, but must keep what their types promise.
    pub fn set_products(products: Products) {
        PRODUCTS.set(products);
    }

    pub(crate) fn products() -> Products {
        PRODUCTS.get()
    }

    pub(crate) fn fastest() -> Gemm {
        products().gemm
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
