//! Looking inside a model: what a page draws of it.

use crate::fields::Fields;
use crate::model::Model;
use crate::{error, thrown, to_js};
use cloche_models::probe::{Look, Spread};
use serde::Serialize;
use wasm_bindgen::prelude::*;

/// How the numbers of a tensor are spread.
#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    norm: f32,
    low: f32,
    high: f32,
    counts: &'a [u32],
}

/// What is shown. Large rows of numbers cross as they are, not one by one.
#[wasm_bindgen]
pub struct Sight {
    log_probs: Vec<f32>,
    attention: Vec<f32>,
    spreads: JsValue,
}

#[wasm_bindgen]
impl Sight {
    /// Log-probabilities of the next token, a row for each layer that was asked.
    #[wasm_bindgen(getter, js_name = logProbs)]
    pub fn log_probs(&self) -> Vec<f32> {
        self.log_probs.clone()
    }

    /// Attention weights, row by row.
    #[wasm_bindgen(getter)]
    pub fn attention(&self) -> Vec<f32> {
        self.attention.clone()
    }

    /// How weights, gradients and activations are spread.
    #[wasm_bindgen(getter)]
    pub fn spreads(&self) -> JsValue {
        self.spreads.clone()
    }
}

#[wasm_bindgen]
impl Model {
    /// Layers, and heads of each.
    #[wasm_bindgen(getter)]
    pub fn layers(&self) -> Vec<usize> {
        vec![self.network.config.n_layer, self.network.config.n_head]
    }

    /// Reads tokens with the weights of this moment, and shows what happens inside.
    pub async fn look(&self, ids: Vec<u32>, asked: JsValue) -> Result<Sight, JsValue> {
        let refused = |text: &str| error("SETTINGS", text);
        self.expect_whole()?;
        let asked = wanted(&asked)?;
        let config = &self.network.config;
        if ids.is_empty() || ids.len() > config.context_len {
            let found = format!("text: found {} tokens, expected 1 to {}", ids.len(), config.context_len);
            return Err(refused(&found));
        }
        if asked.gradients && ids.len() < 2 {
            return Err(refused("text: found 1 token, expected 2 where gradients are asked for"));
        }
        if let Some((layer, head)) =
            asked.attention.filter(|&(l, h)| l >= config.n_layer || h >= config.n_head)
        {
            let there = format!("there are {} layers of {} heads", config.n_layer, config.n_head);
            return Err(refused(&format!("attention: found layer {layer}, head {head}; {there}")));
        }
        if self.scores() {
            return Err(error("NO_MODEL", "the model scores texts and continues none"));
        }
        let seen = asked.at(&self.device, &self.network, &ids).await.map_err(|e| thrown(&e.into()))?;
        let spreads = to_js(&[&seen.weights, &seen.gradients, &seen.activations].map(|all| named(all)))?;
        Ok(Sight { log_probs: seen.log_probs, attention: seen.attention, spreads })
    }
}

/// What is asked for, beside the next token.
fn wanted(asked: &JsValue) -> Result<Look, JsValue> {
    let mut given = Fields::of(asked);
    let (mut look, mut place) = (Look::default(), Vec::<usize>::new());
    // A layer and one of its heads.
    given.set("attention", &mut place)?;
    look.attention = place.first().copied().zip(place.get(1).copied());
    given.set("lens", &mut look.lens)?;
    given.set("weights", &mut look.weights)?;
    given.set("gradients", &mut look.gradients)?;
    given.set("activations", &mut look.activations)?;
    given.end()?;
    Ok(look)
}

fn named(spreads: &[(String, Spread)]) -> Vec<Named<'_>> {
    spreads
        .iter()
        .map(|(name, s)| Named { name, norm: s.norm, low: s.low, high: s.high, counts: &s.counts })
        .collect()
}
