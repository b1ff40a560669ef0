//! A pre-training run, pulled event by event.

use crate::files::{model_files, to_js_files};
use crate::generate::Generator;
use crate::pulled::Pulled;
use crate::settings::Setup;
use crate::{error, thrown, to_js};
use cloche_models::Network;
use cloche_models::config::{CardFacts, TokenIds, model_card};
use cloche_tensor::Device;
use cloche_train::Error;
use cloche_train::data::Corpus;
use cloche_train::events::Event;
use cloche_train::pretrain::Run;
use js_sys::Array;
use std::cell::RefCell;
use wasm_bindgen::prelude::*;

/// A run. Nothing happens between two calls of `next`, so not calling it is a pause; what it has learnt so far can be
/// sampled and saved meanwhile.
#[wasm_bindgen]
pub struct Pretrain {
    device: Device,
    network: Network,
    eot: Option<u32>,
    tokens_per_step: u64,
    /// What the model card says, as far as it is known by now.
    facts: RefCell<CardFacts>,
    stage: Pulled<Event>,
}

impl Pretrain {
    /// Prepares a run.
    pub(crate) fn new(device: &Device, setup: Setup, corpus: Corpus) -> Result<Pretrain, Error> {
        let Setup { settings, facts } = setup;
        let (eot, tokens_per_step) = (settings.eot, settings.tokens_per_step() as u64);
        let run = Run::new(device, settings, corpus, None)?;
        Ok(Pretrain {
            device: device.clone(),
            network: run.network(),
            eot,
            tokens_per_step,
            facts: RefCell::new(facts),
            stage: Pulled::new(run.stage()),
        })
    }

    /// Keeps what an event says for the model card.
    fn note(&self, event: &Event) {
        let mut facts = self.facts.borrow_mut();
        match event {
            Event::Step(step) => {
                facts.steps = step.step;
                facts.tokens = step.step * self.tokens_per_step;
                facts.train_loss = Some(step.loss);
            }
            Event::Eval { val_loss, .. } => facts.val_loss = Some(*val_loss),
            _ => {}
        }
    }
}

#[wasm_bindgen]
impl Pretrain {
    /// The length of the model's context, in tokens.
    #[wasm_bindgen(getter, js_name = contextLen)]
    pub fn context_len(&self) -> usize {
        self.network.config.context_len
    }

    /// The next event; nothing after the last. A sample comes as `ids`.
    pub async fn next(&self) -> Result<JsValue, JsValue> {
        let Some(event) = self.stage.next().await? else { return Ok(JsValue::UNDEFINED) };
        self.note(&event);
        to_js(&event)
    }

    /// Lets the run end after the event it is at; `done` still comes.
    pub fn stop(&self) {
        self.stage.stop();
    }

    /// Continues a prompt with the weights of this moment.
    pub fn generate(&self, prompt: Vec<u32>, options: JsValue) -> Result<Generator, JsValue> {
        Generator::start(&self.device, &self.network, prompt, options)
    }

    /// The weights and the configuration of this moment as `[name, bytes]`, for a Hugging Face folder.
    #[wasm_bindgen(unchecked_return_type = "[name: string, bytes: Uint8Array][]")]
    pub async fn files(&self) -> Result<Array, JsValue> {
        let weights = self.network.weights.read().await.map_err(|e| thrown(&e.into()))?;
        let config = &self.network.config;
        let tokens = TokenIds { bos: self.eot, eos: self.eot.into_iter().collect(), pad: None };
        let files = model_files(config, &weights, &tokens, Some(model_card(config, &self.facts.borrow())));
        let files = files.map_err(|e| error("CHECKPOINT", &e.to_string()))?;
        Ok(to_js_files(files))
    }
}
