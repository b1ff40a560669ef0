//! The engine as JavaScript sees it. This crate turns errors into JavaScript's and decides nothing itself.
//!
//! It is built twice: as the module `engine`, and with the feature `stages` as the larger module `teach`, which can do all
//! that the other one can. A page that only pre-trains loads the first alone.

mod engine;
mod fields;
mod settings;
mod pulled;
mod pretrain;
mod generate;
mod files;
#[cfg(feature = "stages")]
mod batch;
#[cfg(feature = "stages")]
mod model;
#[cfg(feature = "stages")]
mod look;
#[cfg(feature = "stages")]
mod material;
#[cfg(feature = "stages")]
mod stages;
#[cfg(feature = "stages")]
mod tune;
#[cfg(feature = "stages")]
mod resume;
#[cfg(feature = "stages")]
mod kernels;
#[cfg(target_arch = "wasm32")]
mod gemm;
#[cfg(target_arch = "wasm32")]
mod threads;
#[cfg(feature = "checks")]
mod self_test;
#[cfg(feature = "checks")]
mod bench;

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

/// An error of a run. The codes are part of the package's interface.
fn thrown(found: &cloche_train::Error) -> JsValue {
    error(code(found), &found.to_string())
}

fn code(found: &cloche_train::Error) -> &'static str {
    use cloche_gpu::GpuError;
    use cloche_train::Error;
    #[cfg(feature = "stages")]
    use cloche_train::checkpoint::ResumeError;
    use cloche_train::data::DataError;
    match found {
        Error::Settings(_) | Error::Sample(_) => "SETTINGS",
        Error::Data(DataError::TooShort { .. }) => "TEXT_TOO_SHORT",
        Error::Data(_) => "DATA",
        #[cfg(feature = "stages")]
        Error::Examples(_) => "DATA",
        #[cfg(feature = "stages")]
        Error::Verifier(_) => "VERIFIER",
        #[cfg(feature = "stages")]
        Error::Resume(ResumeError::Differs { .. }) => "CHECKPOINT_DIFFERS",
        #[cfg(feature = "stages")]
        Error::Resume(_) => "CHECKPOINT",
        Error::Memory { .. } | Error::Device(cloche_tensor::Error::Memory { .. }) => "OUT_OF_MEMORY",
        Error::Device(cloche_tensor::Error::Gpu(found)) => match found {
            GpuError::NoAdapter { .. } => "NO_WEBGPU",
            GpuError::OutOfMemory { .. } | GpuError::TooLarge { .. } => "OUT_OF_MEMORY",
            GpuError::Lost { .. } => "DEVICE_LOST",
            _ => "ENGINE_CRASHED",
        },
        _ => "ENGINE_CRASHED",
    }
}

/// A plain JavaScript object: what `JSON.parse` would give.
fn to_js(value: &impl serde::Serialize) -> Result<JsValue, JsValue> {
    Ok(value.serialize(&serde_wasm_bindgen::Serializer::json_compatible())?)
}
