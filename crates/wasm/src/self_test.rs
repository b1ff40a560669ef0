//! Checks that run where the engine runs: `tests/browser` calls each by its name in Chromium, Firefox and Node.

use wasm_bindgen::prelude::*;

/// The names of the checks.
#[wasm_bindgen(js_name = selfTests)]
pub fn self_tests() -> Vec<String> {
    vec!["module loads".to_owned()]
}

/// Runs one check; resolves to a remark, rejects with what was wrong.
#[wasm_bindgen(js_name = selfTest)]
pub async fn self_test(name: String) -> Result<String, JsError> {
    match name.as_str() {
        "module loads" => Ok(env!("CARGO_PKG_VERSION").to_owned()),
        _ => Err(JsError::new(&format!("there is no check named {name:?}"))),
    }
}
