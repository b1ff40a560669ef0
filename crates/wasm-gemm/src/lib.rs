//! The matrix product as a module of its own, for browsers with relaxed SIMD: `cargo xtask wasm` compiles it with that
//! feature, which the engine cannot demand of every browser, and `gemm.js` beside it puts it to work in an engine's memory.

#![cfg_attr(target_arch = "wasm32", no_std)]

use cloche_gemm::Product;

/// See [`cloche_gemm::gemm`].
///
/// # Safety
/// That of [`cloche_gemm::Gemm`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gemm(product: &Product) {
    // SAFETY: the caller's promise.
    unsafe { cloche_gemm::gemm(product) }
}

/// Nothing panics here; without the standard library it must be said all the same.
#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}
