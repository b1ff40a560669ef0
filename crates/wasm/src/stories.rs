//! The built-in stories.

use crate::{error, to_js};
use cloche_train::stories::{Stories, VALIDATION_START};
use serde::Serialize;
use wasm_bindgen::prelude::*;

/// Stories and how likely each was, in nats.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    texts: Vec<String>,
    log_probs: Vec<f64>,
}

/// Stories number `start` to `start + count` of a seed, each with its exact log-probability. The splits
/// `train` and `validation` have no story in common.
#[wasm_bindgen(unchecked_return_type = "{ texts: string[], logProbs: number[] }")]
pub fn stories(seed: f64, split: &str, start: u32, count: u32) -> Result<JsValue, JsValue> {
    let first = match split {
        "train" => 0,
        "validation" => VALIDATION_START,
        _ => return Err(error("SETTINGS", &format!("split {split:?}: there are train and validation"))),
    };
    let documents = Stories::new(seed as u64).documents(first + u64::from(start));
    let (texts, log_probs) = documents.take(count as usize).map(|story| (story.text, story.log_prob)).unzip();
    to_js(&Told { texts, log_probs })
}
