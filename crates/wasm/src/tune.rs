//! A stage after pre-training under way, pulled event by event: whichever it is, JavaScript sees this one class.

use crate::engine::Engine;
use crate::files::{from_js_files, to_js_files};
use crate::material::Material;
use crate::model::Model;
use crate::pulled::Pulled;
use crate::resume::opened;
use crate::stages::{Beginning, Ready};
use crate::{error, thrown, to_js};
use cloche_models::LoraConfig;
use cloche_models::config::Head;
use cloche_models::config::TunedFacts;
use cloche_train::checkpoint::Keeper;
use cloche_train::events::TuneEvent;
use cloche_train::remarks;
use js_sys::Array;
use serde::Serialize;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::prelude::*;

/// What JavaScript says of a stage.
struct Options {
    /// What the data and the model to begin with are called, for the model card.
    data_name: String,
    base_name: String,
    /// Whether that model had learnt nothing before.
    is_new: bool,
    /// What ends an answer.
    stop_ids: Vec<u32>,
    /// The most tokens of an answer.
    max_tokens: usize,
    /// The adapter that shall learn in place of the weights.
    lora: Option<LoraConfig>,
    /// The stage's own settings, as far as they shall differ.
    settings: Map<String, Value>,
}

impl Options {
    /// Reads JSON. By hand, because serde takes two kilobytes for a structure with whatever else there is in it.
    fn read(json: &str) -> serde_json::Result<Options> {
        let mut settings: Map<String, Value> = match serde_json::from_str(json)? {
            Value::Object(settings) => settings,
            _ => Map::new(),
        };
        let mut take = |name: &str| settings.remove(name).unwrap_or_default();
        let text = |value: Value| value.as_str().unwrap_or_default().to_string();
        Ok(Options {
            data_name: text(take("data_name")),
            base_name: text(take("base_name")),
            is_new: take("is_new") == Value::Bool(true),
            stop_ids: serde_json::from_value(take("stop_ids"))?,
            max_tokens: serde_json::from_value(take("max_tokens"))?,
            lora: serde_json::from_value(take("lora"))?,
            settings,
        })
    }
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
    keeper: Keeper,
    /// What a checkpoint needs beside what learns, by the folder that it lies in.
    beside: Vec<(&'static str, Model)>,
    stage: Pulled<TuneEvent>,
    /// What there is to say about numbers of this stage.
    remarks: remarks::Remarks,
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
        #[wasm_bindgen(unchecked_param_type = "[name: string, bytes: Uint8Array][] | undefined")]
        resume: Option<Array>,
    ) -> Result<Tune, JsValue> {
        let options = Options::read(&options).map_err(|e| error("SETTINGS", &e.to_string()))?;
        model.expect_whole()?;
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
        let network = model.network.clone();
        let saved = resume.map(|files| opened(&files)).transpose()?;
        let adviser = material.adviser.clone();
        let beginning = Beginning { device, network, material, lora, stop_ids, max_tokens, settings, saved };
        let Ready { network, head, stage, keeper, base } = beginning.stage(&name).await?;
        let base =
            base.map(|network| Model { network, head: Head::Logits, facts: Rc::default(), ..model.clone() });
        let beside = [("base", base), ("adviser", adviser)];
        let facts = RefCell::new(Some(facts)).into();
        Ok(Tune {
            model: Model { network, head, facts, ..model },
            keeper,
            beside: beside.into_iter().filter_map(|(name, model)| Some((name, model?))).collect(),
            stage: Pulled::new(stage),
            remarks: remarks::of(&name),
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

    /// All that the stage needs to go on from where it is, as `[name, bytes]`: what learns, in `base/` the model at the
    /// beginning where it is still needed, in `adviser/` the one that is asked for its opinion; and vouches for what is kept
    /// `beside` that.
    #[wasm_bindgen(unchecked_return_type = "[name: string, bytes: Uint8Array][]")]
    pub async fn files(
        &self,
        #[wasm_bindgen(unchecked_param_type = "[name: string, bytes: Uint8Array][]")] beside: Array,
    ) -> Result<Array, JsValue> {
        let mut files = from_js_files(&beside);
        // Where there is no base, what learns is opened in its place.
        if self.beside.iter().all(|(name, _)| *name != "base") {
            files.extend(self.model.description());
        }
        for (folder, model) in &self.beside {
            let inside = model.whole().await?.into_iter();
            files.extend(inside.map(|(name, bytes)| ([folder, "/", &name].concat(), bytes)));
        }
        Ok(to_js_files(self.keeper.files(files).await.map_err(|e| thrown(&e))?))
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
