//! A stage after pre-training under way, pulled event by event: whichever it is, JavaScript sees this one class.

use crate::engine::Engine;
use crate::material::Material;
use crate::model::Model;
use crate::pulled::Pulled;
use crate::stages::{Beginning, Ready};
use crate::{error, thrown, to_js};
use cloche_models::LoraConfig;
use cloche_models::config::TunedFacts;
use cloche_train::events::TuneEvent;
use cloche_train::remarks;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::cell::RefCell;
use wasm_bindgen::prelude::*;

/// What JavaScript says of a stage, as JSON.
#[derive(Deserialize)]
struct Options {
    /// What the data and the model to begin with are called, for the model card.
    data_name: String,
    base_name: String,
    /// Whether that model had learnt nothing before.
    #[serde(default)]
    is_new: bool,
    /// What ends an answer.
    #[serde(default)]
    stop_ids: Vec<u32>,
    /// The most tokens of an answer.
    max_tokens: usize,
    /// The adapter that shall learn in place of the weights.
    lora: Option<LoraConfig>,
    /// The stage's own settings, as far as they shall differ.
    #[serde(flatten)]
    settings: Map<String, Value>,
}

/// What the numbers of a step mean.
#[derive(Serialize)]
struct Remark {
    event: &'static str,
    step: u64,
    message: &'static str,
}

/// A stage. Nothing happens between two calls of `next`, so not calling it is a pause; what has been learnt so far can be
/// sampled and saved meanwhile.
#[wasm_bindgen]
pub struct Tune {
    model: Model,
    stage: Pulled<TuneEvent>,
    /// What there is to say about numbers of this stage.
    remarks: fn(&cloche_train::events::Metrics) -> Vec<&'static str>,
    /// What has been said, and what is still to be said.
    said: RefCell<Vec<&'static str>>,
    to_say: RefCell<Vec<Remark>>,
}

#[wasm_bindgen]
impl Engine {
    /// Prepares a stage: `sft`, `reward`, `dpo`, `ppo`, `grpo` or `distill`. `options` is JSON: names for the model card,
    /// what ends an answer and how long it may be, an adapter, and whichever settings of the stage shall differ. The model's
    /// weights are what learns, save for `reward`, which learns in a copy, and with an adapter, which learns beside it.
    #[wasm_bindgen(js_name = startStage)]
    pub async fn start_stage(
        &self,
        name: String,
        model: &Model,
        options: String,
        material: Material,
    ) -> Result<Tune, JsValue> {
        let options = serde_json::from_str(&options);
        let options: Options = options.map_err(|e| error("SETTINGS", &e.to_string()))?;
        let (device, mut model) = (model.device.clone(), model.clone());
        // What was learnt beside the model becomes a part of it before more is learnt.
        if model.network.adapter.is_some() {
            model.network = model.network.merged(&device).await.map_err(|e| thrown(&e.into()))?;
        }
        let Options { data_name, base_name, is_new, stop_ids, max_tokens, lora, settings } = options;
        let seed = settings.get("seed").and_then(Value::as_u64);
        let facts = TunedFacts {
            name: [&base_name, " after ", &name].concat(),
            stage: name.clone(),
            base: base_name,
            is_new,
            is_adapter: lora.is_some(),
            data: data_name,
            seed: seed.unwrap_or(cloche_train::learner::Optimization::default().seed),
            ..TunedFacts::default()
        };
        model.tokens.eos.clone_from(&stop_ids);
        let network = model.network;
        let beginning = Beginning { device, network, material, lora, stop_ids, max_tokens, settings };
        let Ready { network, head, stage } = beginning.stage(&name).await?;
        let remarks = match name.as_str() {
            "grpo" => remarks::grpo,
            "ppo" => remarks::ppo,
            _ => |_: &_| Vec::new(),
        };
        let facts = RefCell::new(Some(facts)).into();
        Ok(Tune {
            model: Model { network, head, facts, ..model },
            stage: Pulled::new(stage),
            remarks,
            said: RefCell::default(),
            to_say: RefCell::default(),
        })
    }
}

#[wasm_bindgen]
impl Tune {
    /// The next event; nothing after the last. A sample comes as `ids`.
    pub async fn next(&self) -> Result<JsValue, JsValue> {
        if let Some(remark) = self.to_say.borrow_mut().pop() {
            return to_js(&remark);
        }
        loop {
            match self.stage.next().await? {
                None => return Ok(JsValue::UNDEFINED),
                // A page asks for the files when it wants them.
                Some(TuneEvent::Checkpoint { .. }) => {}
                Some(event) => {
                    self.note(&event);
                    return to_js(&event);
                }
            }
        }
    }

    /// Lets the stage end after the event it is at; `done` still comes.
    pub fn stop(&self) {
        self.stage.stop();
    }

    /// What learns, as it is at any moment: it can be sampled from and saved, and another stage can begin with it.
    pub fn model(&self) -> Model {
        self.model.clone()
    }
}

impl Tune {
    /// Keeps what an event says for the model card, and what there is to say about it, once.
    fn note(&self, event: &TuneEvent) {
        let mut facts = self.model.facts.borrow_mut();
        let Some(facts) = facts.as_mut() else { return };
        match event {
            TuneEvent::Start(start) => facts.trained = start.n_trained,
            TuneEvent::Step(step) => {
                facts.steps = step.step;
                let (mut said, mut to_say) = (self.said.borrow_mut(), self.to_say.borrow_mut());
                for message in (self.remarks)(&step.metrics) {
                    if !said.contains(&message) {
                        said.push(message);
                        to_say.push(Remark { event: "remark", step: step.step, message });
                    }
                }
                // They are taken from the end.
                to_say.reverse();
            }
            TuneEvent::Eval { metrics, .. } => {
                facts.measured = metrics.0.iter().map(|&(name, x)| (name.replace('_', " "), x)).collect();
            }
            _ => {}
        }
    }
}
