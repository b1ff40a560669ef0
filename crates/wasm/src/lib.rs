//! The engine as JavaScript sees it. This crate turns errors into JavaScript's and decides nothing itself.

mod stories;
mod self_test;

use wasm_bindgen::prelude::*;

/// Runs once, when the module is loaded: a panic becomes a JavaScript error that carries its text and place, instead of a
/// trap without a word.
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|info| {
        wasm_bindgen::throw_val(error("ENGINE_CRASHED", &info.to_string()))
    }));
}

/// A JavaScript error with a stable code.
fn error(code: &str, message: &str) -> JsValue {
    let error = js_sys::Error::new(message);
    js_sys::Reflect::set(&error, &"code".into(), &code.into()).expect("an error takes a property");
    error.into()
}

/// A plain JavaScript object: what `JSON.parse` would give.
fn to_js(value: &impl serde::Serialize) -> Result<JsValue, JsValue> {
    Ok(value.serialize(&serde_wasm_bindgen::Serializer::json_compatible())?)
}
