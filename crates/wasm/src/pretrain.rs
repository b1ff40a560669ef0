//! A pre-training run, pulled event by event.

use crate::files::{from_js_files, model_files, to_js_files};
use crate::generate::Generator;
use crate::pulled::Pulled;
use crate::{error, thrown, to_js};
use cloche_models::Network;
use cloche_models::config::{CardFacts, TokenIds, model_card};
use cloche_tensor::Device;
use cloche_train::checkpoint::Keeper;
use cloche_train::events::Event;
use cloche_train::pretrain::Run;
use js_sys::Array;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
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
    keeper: Keeper,
    profiler: Rc<Cell<bool>>,
    stage: Pulled<Event>,
}

impl Pretrain {
    /// A run before its first event.
    pub(crate) fn new(device: &Device, run: Run, facts: CardFacts) -> Pretrain {
        let (eot, tokens_per_step) = (run.settings().eot, run.settings().tokens_per_step() as u64);
        Pretrain {
            device: device.clone(),
            network: run.network(),
            eot,
            tokens_per_step,
            facts: RefCell::new(facts),
            keeper: run.keeper(),
            profiler: run.profiler(),
            stage: Pulled::new(run.stage()),
        }
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

    /// Times the next step, kernel by kernel: an event `profile` follows it.
    pub fn profile(&self) {
        self.profiler.set(true);
    }

    /// Continues a prompt with the weights of this moment.
    pub fn generate(&self, prompt: Vec<u32>, options: JsValue) -> Result<Generator, JsValue> {
        Generator::start(&self.device, &self.network, prompt, options)
    }

    /// The weights and the configuration of this moment as `[name, bytes]`, for a Hugging Face folder. Where something is
    /// given to be kept `beside`, it is a checkpoint in their place: all that the run needs to go on, and that. One function
    /// for both, since each that is asynchronous weighs a kilobyte.
    #[wasm_bindgen(unchecked_return_type = "[name: string, bytes: Uint8Array][]")]
    pub async fn files(
        &self,
        #[wasm_bindgen(unchecked_param_type = "[name: string, bytes: Uint8Array][] | undefined")]
        beside: Option<Array>,
    ) -> Result<Array, JsValue> {
        if let Some(beside) = beside {
            let files = self.keeper.files(from_js_files(&beside)).await;
            return Ok(to_js_files(files.map_err(|e| thrown(&e))?));
        }
        let weights = self.network.weights.read().await.map_err(|e| thrown(&e.into()))?;
        let config = &self.network.config;
        let tokens = TokenIds { bos: self.eot, eos: self.eot.into_iter().collect(), pad: None };
        let files = model_files(config, &weights, &tokens, Some(model_card(config, &self.facts.borrow())));
        let files = files.map_err(|e| error("CHECKPOINT", &e.to_string()))?;
        Ok(to_js_files(files))
    }
}
