//! Measurements where the engine runs: `cargo xtask bench` has a page or Node call them. What the orders mean is written at
//! `crates/models/examples/contestant`, which obeys the same ones natively.

use crate::error;
use crate::self_test::open;
use cloche_models::bench::workloads;
use cloche_tensor::Device;
use cloche_tensor::bench::{COPY, Case, Copied, Opened, cases, samples};
use serde_json::json;
use wasm_bindgen::prelude::*;

/// A device, what can be measured on it, and what is open now.
#[wasm_bindgen]
pub struct Contestant {
    device: Device,
    name: String,
    cases: Vec<Case>,
    opened: Option<(Opened, Option<Copied>)>,
}

#[wasm_bindgen]
impl Contestant {
    /// Opens `"cpu"` or `"webgpu"`, to be called `name` in tables.
    pub async fn create(device: String, name: String) -> Result<Contestant, JsValue> {
        let mut cases = cases();
        cases.extend(workloads().iter().flat_map(|work| [work.training_step(), work.adam_step()]));
        Ok(Contestant { device: open(&device).await?, name, cases, opened: None })
    }

    /// The answer to nothing: the adapter and the names of all cases.
    pub fn ready(&self) -> String {
        let adapter = self.device.gpu().map(|gpu| format!("{} ({})", gpu.info().name, gpu.info().driver));
        let names: Vec<&str> = self.cases.iter().map(|case| case.name.as_str()).collect();
        json!({ "adapter": adapter, "cases": names }).to_string()
    }

    /// Opens a case, which holds its results to f64, unless they are losses; resolves to its systems.
    pub async fn prepare(&mut self, name: String) -> Result<String, JsValue> {
        let failed = |text: &str| error("BENCH", text);
        // What was open before gives its memory back first.
        self.opened = None;
        let case = self.cases.iter().find(|case| case.name == name);
        let case = case.ok_or_else(|| failed("there is no such case"))?;
        let opened = case.open(&self.device, case.runs == 1).await.map_err(|text| failed(&text))?;
        let copied = (name == COPY && self.device.gpu().is_none()).then(Copied::new);
        let system = |name: &str, ours: bool| {
            json!({
                "name": name, "device": self.name, "ours": ours, "limit": case.limit.name(), "flops": opened.flops,
                "bytes": opened.bytes, "dispatches": if ours { opened.dispatches } else { 0 },
                "losses": opened.losses(),
            })
        };
        let mut systems = vec![system(&self.name, true)];
        systems.extend(copied.as_ref().map(|_| system(&format!("memcpy, {}", self.name), false)));
        self.opened = Some((opened, copied));
        Ok(json!(systems).to_string())
    }

    /// Times a system of the case that is open; resolves to seconds of one run, by samples.
    pub async fn time(&mut self, system: usize, seconds: f64) -> Result<Vec<f64>, JsValue> {
        let (opened, copied) = self.opened.as_mut().ok_or_else(|| error("BENCH", "no case is open"))?;
        Ok(match copied {
            Some(copied) if system == 1 => {
                samples(seconds, async |runs| (0..runs).for_each(|_| copied.run())).await
            }
            _ => opened.time(seconds).await,
        })
    }
}
