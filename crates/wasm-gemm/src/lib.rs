//! Products as a module of its own, for browsers with relaxed SIMD: `cargo xtask wasm` compiles it with that feature, which
//! the engine cannot demand of every browser, and `gemm.js` beside it puts it to work in an engine's memory.

#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg(target_arch = "wasm32")]

use cloche_gemm::Product;
use cloche_gemm::codes::{self, Digits, Panels};
use cloche_gemm::streams::{self, Few};

/// See [`cloche_gemm::gemm`].
///
/// # Safety
/// That of [`cloche_gemm::Gemm`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gemm(product: &Product) {
    // SAFETY: the caller's promise.
    unsafe { cloche_gemm::gemm(product) }
}

/// See [`codes::digits`].
///
/// # Safety
/// That of [`codes::ToDigits`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn digits(x: *const f32, groups: usize, bits: usize, to: *mut Digits) {
    // SAFETY: the caller's promise.
    unsafe { codes::digits(x, groups, bits, to) }
}

/// See [`codes::multiply`].
///
/// # Safety
/// That of [`codes::Multiply`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn multiply(panels: &Panels, bits: usize) {
    // SAFETY: the caller's promise.
    unsafe { codes::multiply(panels, bits) }
}

/// See [`streams::few`].
///
/// # Safety
/// That of [`streams::MultiplyFew`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn few(product: &Few) {
    // SAFETY: the caller's promise.
    unsafe { streams::few(product) }
}

/// Nothing panics here; without the standard library it must be said all the same.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}
