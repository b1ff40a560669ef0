//! Continuing many prompts, each as soon as there is room for it.

use crate::generate::{begun, settings, told};
use crate::model::Model;
use crate::{error, thrown};
use cloche_models::{Batcher, Finish, GenerateSettings};
use std::cell::RefCell;
use wasm_bindgen::prelude::*;

/// Texts that go on, and prompts that wait until one of them has ended.
#[wasm_bindgen]
pub struct Batch {
    /// Taken out while tokens are awaited.
    batcher: RefCell<Option<Batcher>>,
}

#[wasm_bindgen]
impl Model {
    /// Continues prompts, which lie one behind the other and have these lengths, by the weights of this moment. `slots`, one of
    /// the options, says how many at once.
    #[wasm_bindgen(js_name = generateMany)]
    pub fn generate_many(
        &self,
        prompts: Vec<u32>,
        lengths: Vec<usize>,
        options: JsValue,
    ) -> Result<Batch, JsValue> {
        self.expect_logits()?;
        let (settings, slots) = settings(&options, "slots")?;
        let settings = GenerateSettings { slide: false, ..settings };
        let failed = |e| thrown(&cloche_train::Error::from(e));
        let slots = slots.min(lengths.len()).max(1);
        let batcher = Batcher::new(&self.device, &self.network, slots, settings);
        let mut batcher = batcher.map_err(|e| failed(e.into()))?;
        let mut rest = &prompts[..];
        for len in lengths {
            let prompt = rest
                .split_off(..len)
                .ok_or_else(|| error("SETTINGS", "prompts: shorter than they are long"))?;
            let prompt = begun(prompt.to_vec(), &batcher.settings);
            batcher.push(prompt).map_err(failed)?;
        }
        Ok(Batch { batcher: RefCell::new(Some(batcher)) })
    }
}

#[wasm_bindgen]
impl Batch {
    /// The next tokens, as `Generator.next` gives them. Behind the last token of a text that the context has no more room for
    /// stands -2.
    pub async fn next(&self) -> Result<Option<Vec<f32>>, JsValue> {
        let Some(mut batcher) = self.batcher.take() else { return Ok(None) };
        let tokens = batcher.next().await.map_err(|e| thrown(&e.into()))?;
        let mut told = tokens.map(|tokens| told(&tokens, &batcher.settings));
        for ended in batcher.take_ended() {
            let said = ended.tokens.len() - ended.n_prompt;
            if let (Finish::Length, Some(told)) = (ended.finish, &mut told)
                && said < batcher.settings.max_tokens
            {
                told.extend([-2.0, 0.0, ended.sequence as f32]);
            }
        }
        self.batcher.replace(told.is_some().then_some(batcher));
        Ok(told)
    }

    /// Ends a text, whose room the next prompt takes. One that has ended already stays as it is.
    pub fn end(&self, text: usize) {
        if let Some(batcher) = &mut *self.batcher.borrow_mut() {
            batcher.end(text);
        }
    }
}
