//! A model that was opened or begun: what a stage starts from, and what it leaves.

use crate::engine::Engine;
use crate::files::{Files, described, from_js_files, model_files, to_js_files};
use crate::generate::Generator;
use crate::{error, thrown};
use cloche_models::config::{
    ConfigError, GenerationConfig, Head, ModelConfig, TokenIds, TunedFacts, preset, quantization, tuned_card,
};
use cloche_models::{Adapter, Base, Network, QuantizedModel, score_specs, specs};
use cloche_nn::checkpoint::Checkpoint;
use cloche_nn::{Precision, QuantizeError, Weights, WeightsError};
use cloche_tensor::Device;
use js_sys::Array;
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::prelude::*;

/// A model on a device. Handles of the same model share its weights, also while a stage changes them.
#[wasm_bindgen]
#[derive(Clone)]
pub struct Model {
    pub(crate) device: Device,
    pub(crate) network: Network,
    /// What it makes of what it has read.
    pub(crate) head: Head,
    /// What begins and ends its texts.
    pub(crate) tokens: TokenIds,
    /// What it has learnt here, for its model card; nothing where it is as it was opened.
    pub(crate) facts: Rc<RefCell<Option<TunedFacts>>>,
}

#[wasm_bindgen]
impl Engine {
    /// Opens the model in the files of a Hugging Face folder: `config.json`, the weights, and `generation_config.json`
    /// where there is one. An adapter beside them, in PEFT's layout, is switched on.
    #[wasm_bindgen(js_name = openModel)]
    pub async fn open_model(
        &self,
        #[wasm_bindgen(unchecked_param_type = "[name: string, bytes: Uint8Array][]")] files: Array,
    ) -> Result<Model, JsValue> {
        let (adapter, model): (Files, Files) =
            from_js_files(&files).into_iter().partition(|(name, _)| name.starts_with("adapter_"));
        let text = |name: &str| {
            let found = model.iter().find(|(found, _)| found == name);
            found.map(|(_, bytes)| String::from_utf8_lossy(bytes))
        };
        let in_config = |e: ConfigError| refused(&["config.json: ", &e.to_string()].concat());
        let json = text("config.json").ok_or_else(|| refused("config.json is not there"))?;
        let config = ModelConfig::from_hf_json(&json).map_err(in_config)?;
        expect_addressable(&config)?;
        let head = Head::from_hf_json(&json).map_err(in_config)?;
        let mut tokens = TokenIds::from_hf_json(&json).map_err(in_config)?;
        if let Some(json) = text("generation_config.json") {
            let read = GenerationConfig::from_hf_json(&json);
            let read = read.map_err(|e| refused(&["generation_config.json: ", &e.to_string()].concat()))?;
            if read.tokens != TokenIds::default() {
                tokens = read.tokens;
            }
        }
        let in_weights = |e: WeightsError| match e {
            WeightsError::Device(e) => thrown(&e.into()),
            WeightsError::Checkpoint(e) => refused(&e.to_string()),
        };
        let precision = quantization(&json).map_err(in_config)?;
        if precision.is_some() && (head == Head::Score || !adapter.is_empty()) {
            return Err(refused(
                "config.json: found a quantised model with a scalar head or an adapter, expected a whole one",
            ));
        }
        let mut checkpoint = Checkpoint::from_bytes(model).map_err(|e| in_weights(e.into()))?;
        let mut network = if let Some(precision) = precision {
            let model = QuantizedModel::load(&config, precision, &mut checkpoint);
            let model = model.map_err(|e| refused(&e.to_string()))?;
            model.upload(&self.device).map_err(|e| thrown(&e.into()))?
        } else {
            let specs = if head == Head::Score { score_specs(&config) } else { specs(&config) };
            let weights = Weights::load(&self.device, &specs, &mut checkpoint, &config.extras());
            Network::new(config, weights.map_err(in_weights)?)
        };
        if !adapter.is_empty() {
            let base = base_of(&network, String::new()).await?;
            let adapter = Adapter::from_peft(&self.device, &config, &base, adapter);
            network = network.with_adapter(adapter.map_err(|e| refused(&e.to_string()))?);
        }
        Ok(Model { device: self.device.clone(), network, head, tokens, facts: Rc::default() })
    }

    /// A new model, before it has learnt anything: of a preset's name, or of the text of a `config.json`, whose vocabulary does
    /// not count.
    #[wasm_bindgen(js_name = newModel)]
    pub fn new_model(
        &self,
        #[wasm_bindgen(js_name = config)] name: &str,
        #[wasm_bindgen(js_name = vocabSize)] vocab_size: usize,
        #[wasm_bindgen(js_name = contextLen)] context_len: Option<usize>,
        seed: f64,
    ) -> Result<Model, JsValue> {
        let refused = |e: ConfigError| error("SETTINGS", &e.to_string());
        let base = match name.starts_with('{') {
            true => ModelConfig::from_hf_json(name).map_err(refused)?,
            false => preset(name).map_err(refused)?.model,
        };
        let context_len = context_len.unwrap_or(base.context_len);
        let config = ModelConfig { vocab_size, context_len, ..base };
        config.validate().map_err(refused)?;
        expect_addressable(&config)?;
        let weights = Weights::init(&self.device, &specs(&config), seed as u64);
        let network = Network::new(config, weights.map_err(|e| thrown(&e.into()))?);
        let (device, tokens) = (self.device.clone(), TokenIds::default());
        Ok(Model { device, network, head: Head::Logits, tokens, facts: Rc::default() })
    }
}

/// Requires that the weights could lie in a memory of 32 bits: to ask for more ends the engine.
fn expect_addressable(config: &ModelConfig) -> Result<(), JsValue> {
    let (needed, most) = (config.n_params().saturating_mul(4), isize::MAX as u64);
    match needed > most {
        true => Err(error(
            "OUT_OF_MEMORY",
            &format!("the model needs {needed} bytes for its weights, expected at most {most}"),
        )),
        false => Ok(()),
    }
}

#[wasm_bindgen]
impl Model {
    /// The length of the context, in tokens.
    #[wasm_bindgen(getter, js_name = contextLen)]
    pub fn context_len(&self) -> usize {
        self.network.config.context_len
    }

    /// How many tokens there are.
    #[wasm_bindgen(getter, js_name = vocabSize)]
    pub fn vocab_size(&self) -> usize {
        self.network.config.vocab_size
    }

    /// Whether it scores texts, and does not continue them.
    #[wasm_bindgen(getter)]
    pub fn scores(&self) -> bool {
        self.head == Head::Score
    }

    /// Whether an adapter lies beside its weights.
    #[wasm_bindgen(getter, js_name = hasAdapter)]
    pub fn has_adapter(&self) -> bool {
        self.network.adapter.is_some()
    }

    /// The same model without the adapter beside its weights.
    #[wasm_bindgen(js_name = withoutAdapter)]
    pub fn without_adapter(&self) -> Model {
        Model { network: Network { adapter: None, ..self.network.clone() }, ..self.clone() }
    }

    /// Whether its linear layers are rounded, so that it can generate and be saved, but nothing else.
    #[wasm_bindgen(getter, js_name = isQuantized)]
    pub fn is_quantized(&self) -> bool {
        self.network.quantized.is_some()
    }

    /// A copy that generates with less memory and time, can be saved, and nothing else: an adapter has become a part of it, and its linear
    /// layers are rounded to codes of 8 or 4 bits.
    pub async fn quantized(&self, bits: u32) -> Result<Model, JsValue> {
        self.expect_whole()?;
        let precision = if bits == 8 { Precision::Int8 } else { Precision::Int4 };
        let network = self.network.quantized(&self.device, precision).await.map_err(|e| match e {
            QuantizeError::Device(e) => thrown(&e.into()),
            e => error("SETTINGS", &e.to_string()),
        });
        Ok(Model { network: network?, facts: Rc::default(), ..self.clone() })
    }

    /// A copy with weights of its own, of which an adapter has become a part.
    pub async fn copy(&self) -> Result<Model, JsValue> {
        self.expect_whole()?;
        let network = self.network.merged(&self.device).await.map_err(|e| thrown(&e.into()))?;
        let facts = self.facts.borrow().clone().map(|facts| TunedFacts { is_adapter: false, ..facts });
        Ok(Model { network, facts: Rc::new(RefCell::new(facts)), ..self.clone() })
    }

    /// Continues a prompt with the weights of this moment.
    pub fn generate(&self, prompt: Vec<u32>, options: JsValue) -> Result<Generator, JsValue> {
        self.expect_logits()?;
        Generator::start(&self.device, &self.network, prompt, options)
    }

    /// The same text, for which a smaller model guesses so many tokens at a time, which are then read at once.
    #[wasm_bindgen(js_name = generateWith)]
    pub fn generate_with(
        &self,
        prompt: Vec<u32>,
        options: JsValue,
        draft: &Model,
        ahead: usize,
    ) -> Result<Generator, JsValue> {
        if draft.scores() {
            return Err(error(
                "SETTINGS",
                "draft: found a model that scores texts, expected one that continues them",
            ));
        }
        self.generate(prompt, options)?.guided(&draft.network, ahead)
    }

    /// What has learnt, as `[name, bytes]`: the model of this moment for a Hugging Face folder, or the adapter alone, where
    /// one has learnt beside it, for a folder of PEFT.
    #[wasm_bindgen(unchecked_return_type = "[name: string, bytes: Uint8Array][]")]
    pub async fn files(&self) -> Result<Array, JsValue> {
        Ok(to_js_files(self.folder().await?))
    }
}

impl Model {
    /// Refuses to continue a text by a model that scores it.
    pub(crate) fn expect_logits(&self) -> Result<(), JsValue> {
        match self.scores() {
            true => Err(error("NO_MODEL", "the model scores texts and cannot continue any")),
            false => Ok(()),
        }
    }

    /// Refuses what a quantised model cannot do.
    pub(crate) fn expect_whole(&self) -> Result<(), JsValue> {
        match self.is_quantized() {
            true => Err(error(
                "SETTINGS",
                "the model is quantised: it can generate and be saved, but neither learn nor be copied or probed",
            )),
            false => Ok(()),
        }
    }

    /// The files of a folder with what has learnt.
    pub(crate) async fn folder(&self) -> Result<Files, JsValue> {
        let quantized = QuantizedModel::read(&self.network).await.map_err(|e| thrown(&e.into()))?;
        if let Some(model) = quantized {
            let mut files = model.files(&self.tokens).map_err(|e| refused(&e.to_string()))?;
            let [_, generation] = self.description();
            files.push(generation);
            return Ok(files);
        }
        let (config, facts) = (&self.network.config, self.facts.borrow().clone());
        let card = facts.as_ref().map(|facts| tuned_card(config, facts));
        if let Some(adapter) = &self.network.adapter {
            let base = base_of(&self.network, facts.map_or(String::new(), |facts| facts.base)).await?;
            let mut files = adapter.to_peft(config, &base).await.map_err(|e| refused(&e.to_string()))?;
            files.extend(card.map(|card| ("README.md".into(), card.into_bytes())));
            return Ok(files);
        }
        let weights = self.network.weights.read().await.map_err(|e| thrown(&e.into()))?;
        let files = model_files(config, &weights, &self.tokens, card);
        let mut files = files.map_err(|e| refused(&e.to_string()))?;
        if let (true, Some(file)) = (self.scores(), files.iter_mut().find(|(name, _)| name == "config.json"))
        {
            file.1 = config.to_hf_score_json(&self.tokens).into_bytes();
        }
        Ok(files)
    }

    /// The same with the model that an adapter lies beside, so that they can be opened together.
    pub(crate) async fn whole(&self) -> Result<Files, JsValue> {
        let mut files = self.folder().await?;
        if self.network.adapter.is_some() {
            files.extend(Model { head: Head::Logits, ..self.without_adapter() }.folder().await?);
        }
        Ok(files)
    }

    /// The same without the weights.
    pub(crate) fn description(&self) -> [(String, Vec<u8>); 2] {
        let config = &self.network.config;
        let json = if self.scores() {
            config.to_hf_score_json(&self.tokens)
        } else {
            config.to_hf_json(&self.tokens)
        };
        described(json, &self.tokens)
    }
}

/// Files that are no model.
fn refused(text: &str) -> JsValue {
    error("CHECKPOINT", text)
}

/// What an adapter of this network belongs to.
async fn base_of(network: &Network, name: String) -> Result<Base, JsValue> {
    let weights = network.weights.read().await.map_err(|e| thrown(&e.into()))?;
    Ok(Base::new(name, &weights))
}
