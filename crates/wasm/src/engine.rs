//! A device, and the runs that are started on it.

use crate::pretrain::Pretrain;
use crate::settings::{Setup, setup};
use crate::{error, thrown, to_js};
use cloche_tensor::cpu::threads;
use cloche_tensor::{Choices, Cost, Device, DeviceKind, InUse, Work};
use cloche_train::cost::cost;
use cloche_train::data::{Corpus, TokenBuffer};
use cloche_train::pretrain::Run;
use serde::Serialize;
use std::rc::Rc;
use wasm_bindgen::prelude::*;

/// An open device.
#[wasm_bindgen]
pub struct Engine {
    pub(crate) device: Device,
}

/// What a page may want to know of the device.
#[derive(Serialize)]
struct Description<'a> {
    kind: &'a str,
    name: &'a str,
    why: &'a str,
    threads: usize,
}

#[wasm_bindgen]
impl Engine {
    /// Opens a device: `auto`, `webgpu` or `cpu`.
    pub async fn open(kind: String) -> Result<Engine, JsValue> {
        let kind = match kind.as_str() {
            "auto" => DeviceKind::Auto,
            "webgpu" => DeviceKind::Gpu,
            "cpu" => DeviceKind::Cpu,
            _ => return Err(error("SETTINGS", &format!("device {kind:?}: there are auto, webgpu and cpu"))),
        };
        Ok(Engine { device: Device::open(kind).await.map_err(|e| thrown(&e.into()))? })
    }

    /// The device in use, and why it is this one.
    #[wasm_bindgen(
        unchecked_return_type = "{ kind: \"webgpu\" | \"cpu\", name: string, why: string, threads: number }"
    )]
    pub fn describe(&self) -> Result<JsValue, JsValue> {
        let (kind, why) = (self.device.name(), self.device.describe());
        let (name, threads) = self.device.gpu().map_or(("CPU", threads()), |gpu| (&gpu.info().name, 1));
        to_js(&Description { kind, name, why, threads })
    }

    /// What a run of these settings would take, planned without allocating: the model's parameters, the tokens of a step,
    /// bytes at most, and floating-point operations and kernels of a step.
    pub fn estimate(
        &self,
        #[wasm_bindgen(js_name = settings)] options: JsValue,
    ) -> Result<Vec<f64>, JsValue> {
        let Setup { settings, .. } = setup(&options)?;
        let Cost { peak_bytes, flops, dispatches, .. } =
            cost(&self.device, &settings, None).map_err(|e| thrown(&e))?.cost;
        let (parameters, tokens) = (settings.model.n_params(), settings.tokens_per_step() as u64);
        Ok([parameters, tokens, peak_bytes, flops, dispatches].map(|n| n as f64).to_vec())
    }

    /// Has the device use these kernels from now on where there are several: what `tuneKernels` has told once.
    #[wasm_bindgen(js_name = chooseKernels)]
    pub fn choose_kernels(&self, choices: &[f64]) {
        self.device.choose(Choices::of(choices));
    }

    /// How many buffers the states and programs of the device hold, and their bytes; how many floating-point operations and
    /// kernels have run on it.
    pub fn memory(&self) -> Vec<f64> {
        let InUse { buffers, bytes } = self.device.in_use();
        let Work { flops, dispatches } = self.device.work();
        [buffers as u64, bytes, flops, dispatches].map(|n| n as f64).to_vec()
    }

    /// Prepares a run on token ids; nothing is computed before its first `next`. `floor` is the loss below which no
    /// model can go, in nats per token, where it is known.
    #[wasm_bindgen(js_name = startPretrain)]
    pub fn start_pretrain(
        &self,
        #[wasm_bindgen(js_name = settings)] options: JsValue,
        train: &[u32],
        val: &[u32],
        floor: Option<f32>,
    ) -> Result<Pretrain, JsValue> {
        let Setup { settings, facts } = setup(&options)?;
        let corpus = corpus(train, val, settings.model.vocab_size, floor)?;
        let run = Run::new(&self.device, settings, corpus, None).map_err(|e| thrown(&e))?;
        Ok(Pretrain::new(&self.device, run, facts))
    }
}

/// What a run learns from, and is examined in.
pub(crate) fn corpus(
    train: &[u32],
    val: &[u32],
    vocab_size: usize,
    floor: Option<f32>,
) -> Result<Corpus, JsValue> {
    let tokens = |ids| Rc::new(TokenBuffer::from_ids(ids, vocab_size));
    Corpus::new(tokens(train), tokens(val), vocab_size, floor).map_err(|e| thrown(&e.into()))
}
