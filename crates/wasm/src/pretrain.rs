//! A pre-training run, pulled event by event.

use crate::files::model_files;
use crate::generate::Generator;
use crate::settings::Setup;
use crate::{error, thrown, to_js};
use cloche_models::Network;
use cloche_models::config::CardFacts;
use cloche_tensor::Device;
use cloche_train::Error;
use cloche_train::data::Corpus;
use cloche_train::events::Event;
use cloche_train::pretrain::Run;
use cloche_train::stage::Stage;
use js_sys::Array;
use std::cell::{Cell, RefCell};
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
    /// Taken out while an event is awaited.
    stage: RefCell<Option<Stage<Event, Error>>>,
    stop: Cell<bool>,
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
            stage: RefCell::new(Some(run.stage())),
            stop: Cell::new(false),
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
        let Some(mut stage) = self.stage.take() else { return Ok(JsValue::UNDEFINED) };
        if self.stop.get() {
            stage.stop();
        }
        let event = stage.next().await;
        self.stage.replace(event.is_some().then_some(stage));
        let Some(event) = event else { return Ok(JsValue::UNDEFINED) };
        let event = event.map_err(|e| thrown(&e))?;
        self.note(&event);
        to_js(&event)
    }

    /// Lets the run end after the event it is at; `done` still comes.
    pub fn stop(&self) {
        self.stop.set(true);
    }

    /// Continues a prompt with the weights of this moment.
    pub fn generate(&self, prompt: Vec<u32>, options: JsValue) -> Result<Generator, JsValue> {
        Generator::start(&self.device, &self.network, prompt, options)
    }

    /// The weights and the configuration of this moment as `[name, bytes]`, for a Hugging Face folder.
    #[wasm_bindgen(unchecked_return_type = "[name: string, bytes: Uint8Array][]")]
    pub async fn files(&self) -> Result<Array, JsValue> {
        let weights = self.network.weights.read().await.map_err(|e| thrown(&e.into()))?;
        let files = model_files(&self.network.config, &weights, self.eot, &self.facts.borrow());
        let files = files.map_err(|e| error("CHECKPOINT", &e.to_string()))?;
        Ok(files.into_iter().map(|(name, bytes)| named(&name, &bytes)).collect())
    }
}

fn named(name: &str, bytes: &[u8]) -> Array {
    Array::of2(&name.into(), &js_sys::Uint8Array::from(bytes))
}
