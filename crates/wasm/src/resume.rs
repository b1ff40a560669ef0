//! Going on from a checkpoint. It takes the larger module, since reading files takes more than writing them.

use crate::engine::{Engine, corpus};
use crate::files::from_js_files;
use crate::pretrain::Pretrain;
use crate::settings::{Setup, setup};
use crate::thrown;
use cloche_train::checkpoint::{self, Saved};
use cloche_train::pretrain::Run;
use js_sys::Array;
use serde_json::Value;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
impl Engine {
    /// Prepares to go on with a run from its checkpoint, on the same token ids, with all the settings that it had, save those
    /// that may change: how long it lasts, how often it looks and when it speaks.
    #[wasm_bindgen(js_name = resumePretrain)]
    pub fn resume_pretrain(
        &self,
        #[wasm_bindgen(unchecked_param_type = "[name: string, bytes: Uint8Array][]")] files: Array,
        #[wasm_bindgen(js_name = settings)] options: JsValue,
        train: &[u32],
        val: &[u32],
        floor: Option<f32>,
    ) -> Result<Pretrain, JsValue> {
        let Setup { settings, facts } = setup(&options)?;
        let corpus = corpus(train, val, settings.model.vocab_size, floor)?;
        let run = Run::resume(&self.device, opened(&files)?.with_settings(settings), corpus, None);
        Ok(Pretrain::new(&self.device, run.map_err(|e| thrown(&e))?, facts))
    }
}

/// The checkpoint in files, with its settings as they stand there.
pub(crate) fn opened(files: &Array) -> Result<Saved<Value>, JsValue> {
    checkpoint::open(from_js_files(files)).map_err(|e| thrown(&e.into()))
}
