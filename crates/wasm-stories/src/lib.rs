//! The built-in texts as JavaScript sees them: stories, and lessons, comparisons and tasks about their world. Their words
//! weigh as much as the kernels do, and only some pages tell them, so they are a module of their own. Of `cloche-train`
//! nothing else ends up in it: the linker drops what no export reaches.

use cloche_train::stories::{Stories, VALIDATION_START};
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::prelude::*;

mod lessons;

#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}

/// Stories and how likely each was, in nats.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    texts: Vec<String>,
    log_probs: Vec<f64>,
}

/// Stories number `start` to `start + count` of a seed, each with its exact log-probability. The splits
/// `train` and `validation` have no story in common; another split is a `TypeError`.
#[wasm_bindgen(unchecked_return_type = "{ texts: string[], logProbs: number[] }")]
pub fn stories(seed: f64, split: &str, start: u32, count: u32) -> Result<JsValue, JsValue> {
    let first = match split {
        "train" => 0,
        "validation" => VALIDATION_START,
        _ => return Err(js_sys::TypeError::new("split: there are train and validation").into()),
    };
    let documents = Stories::new(seed as u64).documents(first + u64::from(start));
    let (texts, log_probs) = documents.take(count as usize).map(|story| (story.text, story.log_prob)).unzip();
    Ok(Told { texts, log_probs }.serialize(&Serializer::json_compatible())?)
}
