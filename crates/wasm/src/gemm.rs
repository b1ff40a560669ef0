//! Another module's matrix product in place of the engine's own; `crates/wasm-gemm/src/gemm.js` finds out whether it runs.

use cloche_tensor::cpu::{Gemm, set_gemm};
use wasm_bindgen::prelude::*;

/// The engine's functions, by their addresses.
#[wasm_bindgen(js_name = functionTable, unchecked_return_type = "WebAssembly.Table")]
pub fn function_table() -> JsValue {
    wasm_bindgen::function_table()
}

/// From now on the CPU device computes its products by the function at this index of the table.
#[wasm_bindgen(js_name = useGemm)]
pub fn use_gemm(index: usize) {
    // SAFETY: in WebAssembly a function's address is its index, and one of another type traps where it is called.
    set_gemm(unsafe { std::mem::transmute::<usize, Gemm>(index) });
}
