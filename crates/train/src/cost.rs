//! Whether a run fits, and how much work a step is, before anything is allocated.
//!
//! Where it does not fit as it is, the backward pass computes blocks again instead of keeping what lies within them: as many
//! as it takes, the first ones first. Nothing that is learnt depends on it, not by a bit, where activations are kept in f32.

use cloche_nn::Params;
use cloche_tensor::{Cost, Device, Plan, Tuned};

use crate::error::Error;
use crate::evaluate;
use crate::settings::Settings;
use crate::step::StepPlan;

/// What there can be at most, where nobody knows how much there is: the whole of wasm's memory, a terabyte elsewhere.
const ADDRESSABLE: u64 = if cfg!(target_arch = "wasm32") { 1 << 32 } else { 1 << 40 };

/// What needs too much where the memory budget is too small, as [`Error::Memory`] names it.
pub const BUDGET: &str = "memory_budget: the smallest plan";

/// All programs of a run, planned.
pub(crate) struct Planned {
    pub step: StepPlan,
    pub evaluation: Plan,
    pub cost: Cost,
}

/// What a run will need, and what it does to need no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunCost {
    /// Bytes of all its programs together; arithmetic, traffic and dispatches of one step.
    pub cost: Cost,
    /// Blocks that the backward pass computes again, of the model's `n_layer`.
    pub recomputed_layers: usize,
}

/// What a run will need. Within its memory budget and `available_bytes` it computes as few blocks again as it can.
///
/// Samples take some more, a cache of keys and values and one row of activations, from the first one on.
///
/// # Errors
/// Settings out of range; a model for which the budget or `available_bytes` are not enough, or with a buffer that the device
/// cannot bind.
pub fn cost(device: &Device, settings: &Settings, available_bytes: Option<u64>) -> Result<RunCost, Error> {
    let Planned { step, cost, .. } = Planned::new(device, settings, available_bytes)?;
    Ok(RunCost { cost, recomputed_layers: step.recomputed_layers })
}

/// The same for a number of blocks that are computed again, whether it fits or not.
///
/// # Errors
/// Settings out of range.
pub fn cost_recomputing(device: &Device, settings: &Settings, layers: usize) -> Result<Cost, Error> {
    settings.validate()?;
    Ok(together(&StepPlan::new(device, settings, layers), &evaluation(device, settings)))
}

/// Measures the kernels of a run on a graphics device and has it use the fastest that are right, as [`Device::tune`] does.
///
/// # Errors
/// Settings out of range or a model that does not fit; a device that fails, or that does some work rightly by no kernel.
pub async fn tune_kernels(
    device: &Device,
    settings: &Settings,
    progress: impl FnMut(usize, usize) -> bool,
) -> Result<Vec<Tuned>, Error> {
    let Planned { step, evaluation, .. } = Planned::new(device, settings, None)?;
    Ok(device.tune(&[step.batch(), &evaluation], progress).await?)
}

impl Planned {
    pub fn new(device: &Device, settings: &Settings, available_bytes: Option<u64>) -> Result<Planned, Error> {
        settings.validate()?;
        let available = available_bytes.unwrap_or(ADDRESSABLE);
        let (tightest, limit) = match settings.memory_budget {
            Some(budget) if budget < available => (BUDGET, budget),
            _ => ("model", available),
        };
        let fits = |what, needed, available| match needed > available {
            true => Err(Error::Memory { what, needed, available }),
            false => Ok(()),
        };
        // Even a plan is too much for an absurd model.
        fits("model", least_bytes(settings), available)?;
        let evaluation = evaluation(device, settings);
        // The fewest blocks that are enough, in eighths of the model; at the last, all of them.
        let mut eighths = 0;
        let (step, cost) = loop {
            let recomputed = (settings.model.n_layer * eighths).div_ceil(8);
            let step = StepPlan::new(device, settings, recomputed);
            let cost = together(&step, &evaluation);
            if cost.peak_bytes <= limit || eighths == 8 {
                break (step, cost);
            }
            eighths += 1;
        };
        fits(tightest, cost.peak_bytes, limit)?;
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

fn evaluation(device: &Device, settings: &Settings) -> Plan {
    evaluate::plan(device, &settings.model, &Params::new, settings.batch_size)
}

/// The evaluation shares the parameters with the step.
fn together(step: &StepPlan, evaluation: &Plan) -> Cost {
    let (cost, own) = (step.cost(), evaluation.cost());
    Cost { peak_bytes: cost.peak_bytes + own.peak_bytes - own.state_bytes, ..cost }
}

/// Bytes that a run takes at least: four numbers for each parameter, and the largest activation.
fn least_bytes(settings: &Settings) -> u64 {
    let model = &settings.model;
    let rows = settings.batch_size as u64 * model.context_len as u64;
    let widest = model.vocab_size.max(model.d_ff).max(model.n_head * model.d_head) as u64;
    model.n_params().saturating_mul(4 * 4).saturating_add(rows.saturating_mul(4 * widest))
}
