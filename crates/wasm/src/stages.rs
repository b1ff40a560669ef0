//! The stages after pre-training: what each makes of a model, settings and material. Where nothing else is said, they run
//! as on the command line.

use crate::material::Material;
use crate::{error, thrown};
use cloche_models::config::Head;
use cloche_models::{Adapter, LoraConfig, Network};
use cloche_tensor::Device;
use cloche_train::checkpoint::{Keeper, Saved};
use cloche_train::events::TuneEvent;
use cloche_train::judge::Judge;
use cloche_train::stage::Stage;
use cloche_train::{Error, distill, dpo, grpo, ppo, reward, sft};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::mem::take;
use wasm_bindgen::prelude::*;

/// Answers that a judge reads at once.
const JUDGED: usize = 32;

/// What a stage begins with.
pub(crate) struct Beginning {
    pub(crate) device: Device,
    /// A model without an adapter.
    pub(crate) network: Network,
    pub(crate) material: Material,
    /// The adapter that shall learn in place of the weights.
    pub(crate) lora: Option<LoraConfig>,
    /// What ends an answer, and how many tokens it may have.
    pub(crate) stop_ids: Vec<u32>,
    pub(crate) max_tokens: usize,
    /// The settings of the stage, as far as they are not its own, or not those of the run to go on with.
    pub(crate) settings: Map<String, Value>,
    /// Where the run to go on with was.
    pub(crate) saved: Option<Saved<Value>>,
}

/// A stage before its first event: what learns in it, what that makes of a text, and the stage itself.
pub(crate) struct Ready {
    pub(crate) network: Network,
    pub(crate) head: Head,
    pub(crate) stage: Stage<TuneEvent, Error>,
    pub(crate) keeper: Keeper,
    /// The model at the beginning, where it is still needed: beside an adapter, or to stay near to.
    pub(crate) base: Option<Network>,
}

/// Stages' runs have the same functions, and nothing else in common.
macro_rules! ready {
    ($run:ident, $head:expr, $base:ident) => {
        Ready {
            network: $run.network(),
            head: $head,
            keeper: $run.keeper(),
            base: $base,
            stage: $run.stage(),
        }
    };
}

type Result<T> = std::result::Result<T, JsValue>;

impl Beginning {
    /// Prepares the stage of a name.
    pub(crate) async fn stage(self, name: &str) -> Result<Ready> {
        match name {
            "sft" => self.sft(),
            "reward" => self.reward().await,
            "dpo" => self.dpo().await,
            "ppo" => self.ppo().await,
            "grpo" => self.grpo().await,
            "distill" => self.distill(),
            _ => {
                let expected = ", expected sft, reward, dpo, ppo, grpo or distill";
                Err(error("SETTINGS", &["stage: found ", name, expected].concat()))
            }
        }
    }

    fn sft(mut self) -> Result<Ready> {
        let stop_ids = take(&mut self.stop_ids);
        let own = sft::Settings { stop_ids, ..sft::Settings::usual() };
        let (settings, saved) = self.settings(own)?;
        let network = self.learner(settings.optimization.seed)?;
        let base = self.frozen();
        let data = sft::Data {
            exam: self.material.exam(self.max_tokens)?,
            train: self.material.train.examples,
            mix: self.material.mix,
            held_out: self.material.held_out.examples,
        };
        let run = begun(sft::Run::new(&self.device, network, settings, data, saved))?;
        Ok(ready!(run, Head::Logits, base))
    }

    async fn reward(mut self) -> Result<Ready> {
        let own = reward::Settings::usual();
        let (settings, saved) = self.settings(own)?;
        let seed = settings.optimization.seed;
        let network = match &mut self.lora {
            // The base has no head that scores: an adapter brings it along. It lies beside a copy, or the reward model would
            // change with the model that learns from it.
            Some(lora) => {
                lora.whole = vec!["score".into()];
                self.network = held(self.network.merged(&self.device).await)?;
                self.learner(seed)?
            }
            None => held(self.network.scoring(&self.device, seed).await)?,
        };
        let base = self.frozen();
        let data =
            reward::Data { train: self.material.train.rankings, held_out: self.material.held_out.rankings };
        let run = begun(reward::Run::new(&self.device, network, settings, data, saved))?;
        Ok(ready!(run, Head::Score, base))
    }

    async fn dpo(mut self) -> Result<Ready> {
        let stop_ids = take(&mut self.stop_ids);
        let own = dpo::Settings { stop_ids, ..dpo::Settings::usual() };
        let (settings, saved) = self.settings(own)?;
        let network = self.learner(settings.optimization.seed)?;
        let reference = self.reference().await?;
        let base = Some(reference.clone());
        let data = dpo::Data {
            exam: self.material.exam(self.max_tokens)?,
            train: self.material.train.pairs(),
            held_out: self.material.held_out.pairs(),
        };
        let run = begun(dpo::Run::new(&self.device, network, Some(reference), settings, data, saved))?;
        Ok(ready!(run, Head::Logits, base))
    }

    async fn ppo(mut self) -> Result<Ready> {
        let (stop_ids, max_tokens) = (take(&mut self.stop_ids), self.max_tokens);
        let own = ppo::Settings { stop_ids, max_tokens, ..Default::default() };
        let (settings, saved) = self.settings(own)?;
        let seed = settings.optimization.seed;
        let (scorer, critic) = match self.material.adviser.take() {
            Some(judge) => {
                let context_len = self.network.config.context_len.min(judge.network.config.context_len);
                let network = judge.network;
                let judge = begun(Judge::new(&self.device, &network, JUDGED, context_len))?;
                (ppo::Scorer::Judge(Box::new(judge)), held(network.merged(&self.device).await)?)
            }
            None => {
                let critic = held(self.network.scoring(&self.device, seed).await)?;
                (ppo::Scorer::Verifier(self.material.judge(false)?), critic)
            }
        };
        let policy = self.learner(seed)?;
        let reference = self.reference().await?;
        let base = Some(reference.clone());
        let models = ppo::Models { policy, reference, critic };
        let data = ppo::Data {
            exam: self.material.exam(self.max_tokens)?,
            prompts: self.material.train.prompts,
            scorer,
            pretraining: self.material.train.examples,
        };
        let run = begun(ppo::Run::new(&self.device, models, settings, data, saved))?;
        Ok(ready!(run, Head::Logits, base))
    }

    async fn grpo(mut self) -> Result<Ready> {
        let (stop_ids, max_tokens) = (take(&mut self.stop_ids), self.max_tokens);
        let own = grpo::Settings { stop_ids, max_tokens, ..grpo::Settings::usual() };
        let (settings, saved) = self.settings(own)?;
        let network = self.learner(settings.optimization.seed)?;
        let reference = if settings.beta > 0.0 { Some(self.reference().await?) } else { None };
        let base = reference.clone().or(self.frozen());
        let data = grpo::Data {
            exam: self.material.exam(self.max_tokens)?,
            verifier: self.material.judge(false)?,
            prompts: self.material.train.prompts,
            reference,
        };
        let run = begun(grpo::Run::new(&self.device, network, settings, data, saved))?;
        Ok(ready!(run, Head::Logits, base))
    }

    fn distill(mut self) -> Result<Ready> {
        let stop_ids = take(&mut self.stop_ids);
        let own = distill::Settings { stop_ids, ..distill::Settings::usual() };
        let (settings, saved) = self.settings(own)?;
        let missing = || error("SETTINGS", "teacher: found none, expected the model to learn from");
        let teacher = self.material.adviser.take().ok_or_else(missing)?.network;
        let student = self.learner(settings.optimization.seed)?;
        let base = self.frozen();
        let data = distill::Data {
            exam: self.material.exam(self.max_tokens)?,
            train: self.material.train.examples,
            held_out: self.material.held_out.examples,
        };
        let run = begun(distill::Run::new(&self.device, student, teacher, settings, data, saved))?;
        Ok(ready!(run, Head::Logits, base))
    }

    /// What learns: the model, or an adapter beside it.
    fn learner(&self, seed: u64) -> Result<Network> {
        let Some(lora) = &self.lora else { return Ok(self.network.clone()) };
        let adapter = Adapter::new(&self.device, &self.network.config, lora.clone(), seed);
        Ok(self.network.with_adapter(adapter.map_err(|e| error("SETTINGS", &e.to_string()))?))
    }

    /// The model beside which an adapter learns.
    fn frozen(&self) -> Option<Network> {
        self.lora.as_ref().map(|_| self.network.clone())
    }

    /// The model as it is at the beginning: what an adapter learns beside does not change, of other models it is a copy.
    async fn reference(&self) -> Result<Network> {
        match &self.lora {
            Some(_) => Ok(self.network.clone()),
            None => held(self.network.merged(&self.device).await),
        }
    }

    /// The stage's own settings with what was given in their place; in a run that goes on, those that it had.
    fn settings<S: Clone + Serialize + DeserializeOwned>(&mut self, own: S) -> Result<(S, Option<Saved<S>>)> {
        let refused = |text: &str| error("SETTINGS", text);
        let saved = self.saved.take();
        let merged = match &saved {
            Some(saved) => put(saved.state.settings.clone(), &self.settings),
            None => serde_json::to_value(own)
                .map_err(|e| e.to_string())
                .and_then(|own| merged(own, &self.settings)),
        };
        let settings = serde_json::from_value(merged.map_err(|text| refused(&text))?);
        let settings: S = settings.map_err(|e| refused(&e.to_string()))?;
        Ok((settings.clone(), saved.map(|saved| saved.with_settings(settings))))
    }
}

/// Puts what was given in the place of what was there.
fn put(mut own: Value, given: &Map<String, Value>) -> std::result::Result<Value, String> {
    let Value::Object(settings) = &mut own else { return Ok(own) };
    for (name, value) in given {
        let known = settings.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let place = settings.get_mut(name);
        let place = place.ok_or_else(|| ["settings: found ", name, ", expected one of ", &known].concat())?;
        if std::mem::discriminant(place) != std::mem::discriminant(value) {
            return Err(
                [name, ": found ", &value.to_string(), ", expected such as ", &place.to_string()].concat()
            );
        }
        *place = value.clone();
    }
    Ok(own)
}

/// The same for a new run. Whoever changes the learning rate means all of it: the cosine still ends at a tenth; and a short
/// run would otherwise be warming up until it ends.
fn merged(own: Value, given: &Map<String, Value>) -> std::result::Result<Value, String> {
    let mut own = put(own, given)?;
    let Value::Object(settings) = &mut own else { return Ok(own) };
    // A page asks for the files when it wants them.
    settings.insert("checkpoint_every".into(), 0.into());
    let number = |name: &str| given.get(name).and_then(Value::as_f64);
    if let (Some(lr), None) = (number("lr"), number("min_lr")) {
        settings.insert("min_lr".into(), (lr / 10.0).into());
    }
    if let (Some(steps), None) = (number("steps"), number("warmup_steps")) {
        let whole = settings["warmup_steps"].as_u64().unwrap_or(0).min(steps as u64 / 10);
        settings.insert("warmup_steps".into(), whole.into());
    }
    Ok(own)
}

fn begun<T>(outcome: std::result::Result<T, Error>) -> Result<T> {
    outcome.map_err(|e| thrown(&e))
}

fn held<T>(outcome: std::result::Result<T, cloche_tensor::Error>) -> Result<T> {
    outcome.map_err(|e| thrown(&e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloche_train::learner::Optimization;
    use serde_json::json;

    fn with(given: Value) -> std::result::Result<sft::Settings, String> {
        let Value::Object(given) = given else { panic!("an object") };
        let merged = merged(serde_json::to_value(sft::Settings::usual()).unwrap(), &given)?;
        Ok(serde_json::from_value(merged).unwrap())
    }

    #[test]
    fn what_is_given_takes_the_place_of_what_was_there() {
        let plain = with(json!({})).unwrap().optimization;
        assert_eq!(plain, Optimization { checkpoint_every: 0, ..sft::Settings::usual().optimization });
        let short = with(json!({ "steps": 50, "lr": 0.01 })).unwrap().optimization;
        assert_eq!((short.steps, short.warmup_steps, short.lr, short.min_lr), (50, 5, 1e-2, 1e-3));
        let exact = with(json!({ "steps": 50, "warmup_steps": 7, "min_lr": 0 })).unwrap().optimization;
        assert_eq!((exact.warmup_steps, exact.min_lr), (7, 0.0));
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        assert!(
            with(json!({ "rate": 1 }))
                .unwrap_err()
                .starts_with("settings: found rate, expected one of batch_size,")
        );
        assert_eq!(
            with(json!({ "lr": null })).unwrap_err(),
            "lr: found null, expected such as 0.0010000000474974513"
        );
    }
}
