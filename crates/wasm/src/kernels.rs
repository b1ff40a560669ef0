//! Measuring kernels. It takes the larger module, so that a page that never asks for it does not load it.

use crate::engine::Engine;
use crate::settings::{Setup, setup};
use crate::{thrown, to_js};
use cloche_tensor::Tuned;
use cloche_train::cost::tune_kernels;
use js_sys::Function;
use serde::Serialize;
use wasm_bindgen::prelude::*;

/// What was found.
#[derive(Serialize)]
struct Found {
    pieces: usize,
    faster: usize,
    gain: f64,
    warnings: Vec<String>,
    choices: Vec<f64>,
}

#[wasm_bindgen]
impl Engine {
    /// Measures the kernels of a run of these settings; the device uses the fastest from now on. `goOn` is told how many pieces of
    /// work are done, and of how many, and says whether to go on. `choices` are what `chooseKernels` takes.
    #[wasm_bindgen(
        js_name = tuneKernels,
        unchecked_return_type = "{ pieces: number, faster: number, gain: number, warnings: string[], choices: number[] }"
    )]
    pub async fn tune_kernels(
        &self,
        #[wasm_bindgen(js_name = settings)] options: JsValue,
        #[wasm_bindgen(js_name = goOn)] go_on: Function,
    ) -> Result<JsValue, JsValue> {
        let Setup { settings, .. } = setup(&options)?;
        let progress = |done: usize, total: usize| {
            let answer = go_on.call2(&JsValue::NULL, &(done as f64).into(), &(total as f64).into());
            answer.is_ok_and(|answer| answer.is_truthy())
        };
        let found = tune_kernels(&self.device, &settings, progress).await.map_err(|e| thrown(&e))?;
        let gains = || found.iter().map(Tuned::gain).filter(|&gain| gain > 1.0);
        to_js(&Found {
            pieces: found.len(),
            faster: gains().count(),
            gain: gains().fold(1.0, f64::max),
            warnings: found.iter().flat_map(Tuned::warnings).collect(),
            choices: self.device.choices().numbers(),
        })
    }
}
