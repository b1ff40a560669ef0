//! Another module's products in place of the engine's own; `crates/wasm-gemm/src/gemm.js` finds out whether it runs.

use cloche_tensor::cpu::{Products, set_products};
use wasm_bindgen::prelude::*;

/// The engine's functions, by their addresses.
#[wasm_bindgen(js_name = functionTable, unchecked_return_type = "WebAssembly.Table")]
pub fn function_table() -> JsValue {
    wasm_bindgen::function_table()
}

/// From now on the CPU device computes its products by the functions from this index of the table on, in the order of
/// [`Products`].
#[wasm_bindgen(js_name = useGemm)]
pub fn use_gemm(first: usize) {
    let addresses = [first, first + 1, first + 2, first + 3];
    // SAFETY: in WebAssembly a function's address is its index, and one of another type traps where it is called.
    set_products(unsafe { std::mem::transmute::<[usize; 4], Products>(addresses) });
}
