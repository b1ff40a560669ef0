//! Whether a run fits, and how much work a step is, before anything is allocated.

use cloche_nn::Params;
use cloche_tensor::{Cost, Device, Plan};

use crate::error::Error;
use crate::evaluate;
use crate::settings::Settings;
use crate::step::StepPlan;

/// What there can be at most, where nobody knows how much there is: the whole of wasm's memory, a terabyte elsewhere.
const ADDRESSABLE: u64 = if cfg!(target_arch = "wasm32") { 1 << 32 } else { 1 << 40 };

/// All programs of a run, planned.
pub(crate) struct Planned {
    pub step: StepPlan,
    pub evaluation: Plan,
    pub cost: Cost,
}

/// What a run will need: bytes of all its programs together; arithmetic, traffic and dispatches of one step.
///
/// Samples take some more, a cache of keys and values and one row of activations, from the first one on.
///
/// # Errors
/// Settings out of range; a model for which `available_bytes` are not enough, or with a buffer that the device cannot
/// bind.
pub fn cost(device: &Device, settings: &Settings, available_bytes: Option<u64>) -> Result<Cost, Error> {
    Ok(Planned::new(device, settings, available_bytes)?.cost)
}

impl Planned {
    pub fn new(device: &Device, settings: &Settings, available_bytes: Option<u64>) -> Result<Planned, Error> {
        settings.validate()?;
        let available = available_bytes.unwrap_or(ADDRESSABLE);
        let fits = |what, needed, available| match needed > available {
            true => Err(Error::Memory { what, needed, available }),
            false => Ok(()),
        };
        // Even a plan is too much for an absurd model.
        fits("model", least_bytes(settings), available)?;
        let step = StepPlan::new(device, settings);
        let evaluation = evaluate::plan(device, &settings.model, &Params::new, settings.batch_size);
        // The evaluation shares the parameters with the step.
        let (mut cost, own) = (step.cost(), evaluation.cost());
        cost.peak_bytes += own.peak_bytes - own.state_bytes;
        fits("model", cost.peak_bytes, available)?;
        if let Some(limits) = device.gpu().map(|gpu| gpu.limits()) {
            let largest = step.largest_buffer().max(evaluation.largest_buffer());
            fits(
                "the model's largest buffer",
                largest,
                limits.max_binding_bytes.min(limits.max_buffer_bytes),
            )?;
        }
        Ok(Planned { step, evaluation, cost })
    }
}

/// Bytes that a run takes at least: four numbers for each parameter, and the largest activation.
fn least_bytes(settings: &Settings) -> u64 {
    let model = &settings.model;
    let rows = settings.batch_size as u64 * model.context_len as u64;
    let widest = model.vocab_size.max(model.d_ff).max(model.n_head * model.d_head) as u64;
    model.n_params().saturating_mul(4 * 4).saturating_add(rows.saturating_mul(4 * widest))
}
