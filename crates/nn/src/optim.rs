//! AdamW over all parameters at once, with clipping by the global norm.
//!
//! Everything is recorded into the training program itself: gradients are packed into one flat buffer, whose norm is
//! one number, and the update of all parameters is one kernel. A step whose gradient is not finite changes nothing.
//!
//! Two ways to make a step. [`step`] does it in one program. For micro-batches, [`accumulate`] makes a program that adds
//! its gradient to the state `"grads"`, and [`apply`] a second one that updates the parameters and clears the state.

use cloche_tensor::ops::adamw::{AdamW, adamw};
use cloche_tensor::{DType, Device, Graph, Program, State, Tensor};

use crate::params::{Kind, PARAM_ALIGN, ParamSpec, Params};
use crate::weights::twin;

/// What AdamW does, apart from the learning rate, which changes from step to step.
///
/// Loshchilov and Hutter 2019, <https://arxiv.org/abs/1711.05101>. Clipping by the global norm: Pascanu, Mikolov and
/// Bengio 2013, <https://arxiv.org/abs/1211.5063>.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Memory of the gradient.
    pub beta1: f32,
    /// Memory of the squared gradient.
    pub beta2: f32,
    /// What is added to the root of the second moment.
    pub eps: f32,
    /// Decay of matrices. Norms and biases never decay.
    pub weight_decay: f32,
    /// Whether embeddings decay like matrices, as in nanoGPT.
    pub decay_embeddings: bool,
    /// Gradients are shortened to this norm.
    pub max_grad_norm: f32,
}

impl Default for Settings {
    /// nanoGPT's settings for small models.
    fn default() -> Self {
        Settings {
            beta1: 0.9,
            beta2: 0.99,
            eps: 1e-8,
            weight_decay: 0.1,
            decay_embeddings: true,
            max_grad_norm: 1.0,
        }
    }
}

impl Settings {
    /// Sets the scalars of a program made by [`step`] or [`apply`] for update number `step`: 1, 2, 3 …
    pub fn set(&self, program: &mut Program, step: u32, lr: f32) {
        // In f64 on the host, so that all devices divide by the same numbers.
        let bias = |beta: f32| (1.0 - (beta as f64).powi(step as i32)) as f32;
        program.set("lr", lr);
        program.set("bias1", bias(self.beta1));
        program.set("bias2", bias(self.beta2));
        program.set_u32("step", step);
    }
}

/// The moments that AdamW keeps of each parameter: buffers beside the weights, of their length.
#[derive(Clone)]
pub struct Moments {
    /// Running mean of the gradient.
    pub m: State,
    /// Running mean of the squared gradient.
    pub v: State,
}

impl Moments {
    /// All zero: before the first step.
    ///
    /// # Errors
    /// When the device cannot hold them.
    pub fn new(device: &Device, specs: &[ParamSpec]) -> Result<Self, cloche_tensor::Error> {
        Ok(Moments { m: twin(device, "m", specs)?, v: twin(device, "v", specs)? })
    }

    /// The states that a program made by [`step`] or [`apply`] binds, next to the weights.
    pub fn states(&self) -> [(&'static str, &State); 2] {
        [("m", &self.m), ("v", &self.v)]
    }
}

/// Accumulated gradients, all zero: the state `"grads"` of [`accumulate`] and [`apply`].
///
/// # Errors
/// When the device cannot hold it.
pub fn zero_grads(device: &Device, specs: &[ParamSpec]) -> Result<State, cloche_tensor::Error> {
    twin(device, "grads", specs)
}

/// Appends backward pass, clipping and update to the graph that computes `loss`; returns the step's statistics.
///
/// What is updated is [`Params::trained`]: the adapter where there is one, else everything. The program binds the states
/// that its parameters lie in, `"m"` and `"v"`; before each run, [`Settings::set`] sets its scalars.
///
/// # Shapes
/// loss `()` → `(4,)`: the gradient's norm before clipping, the factor it was clipped by, 1 where it was not finite and
/// the step was skipped, and 0.
pub fn step(p: &Params, loss: &Tensor, settings: &Settings) -> Tensor {
    let p = p.trained();
    update(&p, &packed_grads(&p, loss), settings)
}

/// Appends the backward pass, which adds the gradient of [`Params::trained`] to the state `"grads"`.
pub fn accumulate(p: &Params, loss: &Tensor) {
    let p = p.trained();
    let grads = packed_grads(&p, loss);
    let sum = p.graph().state("grads", (p.numel(),), DType::F32);
    sum.assign(&(&sum + grads));
}

/// Records, into a graph of its own, the update by what [`accumulate`] has added up; returns the statistics as
/// [`step`] does, and clears the state `"grads"`. `p` are the parameters that [`accumulate`] was given.
pub fn apply(graph: &Graph, p: &Params, settings: &Settings) -> Tensor {
    let p = p.trained().again(graph);
    let grads = graph.state("grads", (p.numel(),), DType::F32);
    let stats = update(&p, &grads, settings);
    grads.assign(&graph.full((p.numel(),), 0.0));
    stats
}

/// The gradient of each parameter, at its parameter's place: `(numel,)`.
fn packed_grads(p: &Params, loss: &Tensor) -> Tensor {
    let tensors = p.tensors();
    let grads = p.graph().grad(loss, &tensors.iter().collect::<Vec<_>>());
    let offsets: Vec<usize> = p.specs().iter().map(|s| s.offset).collect();
    p.graph().pack(&grads, &offsets, p.numel())
}

fn update(p: &Params, grads: &Tensor, settings: &Settings) -> Tensor {
    let graph = p.graph();
    let stats = grads.grad_norm(settings.max_grad_norm as f64);
    let moment = |name: &str| graph.state(name, (p.numel(),), DType::F32);
    let decay = decay_blocks(&p.specs(), settings);
    adamw(AdamW {
        params: &p.flat(),
        grads,
        m: &moment("m"),
        v: &moment("v"),
        stats: &stats,
        decay: &graph.data((decay.len(),), decay),
        lr: &graph.scalar("lr"),
        bias1: &graph.scalar("bias1"),
        bias2: &graph.scalar("bias2"),
        beta1: settings.beta1 as f64,
        beta2: settings.beta2 as f64,
        eps: settings.eps as f64,
        weight_decay: settings.weight_decay as f64,
    });
    stats
}

/// 1 for each block of [`PARAM_ALIGN`] elements that decays, else 0. A block belongs to one parameter.
fn decay_blocks(specs: &[ParamSpec], settings: &Settings) -> Vec<f32> {
    let decays = |kind: Kind| match kind {
        Kind::Embedding => settings.decay_embeddings,
        Kind::Matrix => true,
        Kind::Vector => false,
    };
    let blocks =
        |s: &ParamSpec| std::iter::repeat_n(decays(s.kind) as u32 as f32, s.numel().div_ceil(PARAM_ALIGN));
    specs.iter().flat_map(blocks).collect()
}
