//! What a stage tells: the same lines in `--json`, in the worker and in a page.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// An event of pre-training. As JSON each carries its kind: `{"event":"step","step":1,"loss":4.17,…}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// Known before the first step.
    Start(Start),
    /// One optimizer step.
    Step(Step),
    /// Losses on fixed windows of both splits, in nats per token.
    Eval {
        /// Steps done.
        step: u64,
        /// On the training split.
        train_loss: f32,
        /// On the held-out split.
        val_loss: f32,
    },
    /// What the model says now.
    Sample {
        /// Steps done.
        step: u64,
        /// Token ids; whoever has the tokenizer makes them a text.
        ids: Vec<u32>,
    },
    /// A step whose gradient was not finite. Nothing was updated.
    Nonfinite {
        /// The step.
        step: u64,
        /// How many such steps in a row, this one included.
        in_a_row: u32,
    },
    /// Where the time of a step went, after somebody asked for it by [`Run::profiler`](crate::pretrain::Run::profiler).
    Profile {
        /// The step that was timed.
        step: u64,
        /// The most expensive first; none where the device has no clock.
        kernels: Vec<KernelTime>,
    },
    /// Everything needed to go on from here. The stage does no I/O: whoever listens stores the files.
    Checkpoint {
        /// Steps done.
        step: u64,
        /// Name and content, in the order in which to write them.
        #[serde(skip)]
        files: Vec<(String, Vec<u8>)>,
    },
    /// The end.
    Done(Done),
}

/// The time that the kernels of one kind took in a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelTime {
    /// The operation that they compute, or the first of those that they were fused from.
    pub name: String,
    /// How many ran.
    pub count: usize,
    /// Their time on the device. Browsers round it, to 0.1 ms in Chromium.
    pub seconds: f64,
}

/// What is known before the first step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Start {
    /// Steps already done, when a run goes on.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Trainable numbers.
    pub n_params: u64,
    /// Vocabulary.
    pub vocab_size: usize,
    /// Tokens that a step learns from.
    pub tokens_per_step: usize,
    /// Which device, and why.
    pub device: String,
    /// Bytes that the run will need.
    pub peak_bytes: u64,
    /// Blocks whose activations are computed again in the backward pass, because keeping them would take too much memory.
    pub recomputed_layers: usize,
    /// Floating-point operations of a step.
    pub flops_per_step: u64,
    /// Kernels of a step.
    pub dispatches_per_step: u64,
    /// The loss that no model can go below, in nats per token, where the data's own probability is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<f32>,
}

/// One optimizer step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Steps done, this one included.
    pub step: u64,
    /// Mean cross-entropy of the step's batch before the update, in nats per token.
    pub loss: f32,
    /// Learning rate of the step.
    pub lr: f32,
    /// Euclidean norm of the gradient before clipping.
    pub grad_norm: f32,
    /// Tokens a second, over the latest steps.
    pub tokens_per_s: f32,
    /// Seconds until the last step, at this speed.
    pub seconds_left: f32,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Done {
    /// Steps done.
    pub step: u64,
    /// Why: all steps done, stopped by the user, or stopped because nothing finite came any more.
    pub reason: Reason,
    /// The latest held-out loss, in nats per token.
    pub val_loss: Option<f32>,
    /// Seconds spent in steps.
    pub seconds: f32,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// All steps are done.
    Finished,
    /// The user stopped it; it can go on.
    Stopped,
    /// Ten steps in a row had a gradient that was not finite; the last good weights are kept.
    Diverged,
}

/// An event of a stage after pre-training, told in the same way.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum TuneEvent {
    /// Known before the first step.
    Start(TuneStart),
    /// One step.
    Step(TuneStep),
    /// How the model does on what it did not learn from.
    Eval {
        /// Steps done.
        step: u64,
        /// By name; the stage says which.
        #[serde(flatten)]
        metrics: Metrics,
    },
    /// What the model answers now.
    Sample {
        /// Steps done.
        step: u64,
        /// Which prompt: its place among the held-out ones.
        prompt: usize,
        /// The answer's tokens, without the prompt's.
        ids: Vec<u32>,
        /// What the verifier gives for it.
        reward: f32,
    },
    /// A step whose gradient was not finite. Nothing was updated.
    Nonfinite {
        /// The step.
        step: u64,
        /// How many such steps in a row, this one included.
        in_a_row: u32,
    },
    /// Everything needed to go on from here; see [`Event::Checkpoint`].
    Checkpoint {
        /// Steps done.
        step: u64,
        /// Name and content, in the order in which to write them.
        #[serde(skip)]
        files: Vec<(String, Vec<u8>)>,
    },
    /// The end.
    Done(TuneDone),
}

/// What is known before the first step of a stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TuneStart {
    /// The stage.
    pub stage: &'static str,
    /// Steps already done, when a run goes on.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Numbers of the model.
    pub n_params: u64,
    /// Numbers that learn: all, or the adapter's.
    pub n_trained: u64,
    /// Which device, and why.
    pub device: String,
}

/// One step of a stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TuneStep {
    /// Steps done, this one included.
    pub step: u64,
    /// The loss, before the update.
    pub loss: f32,
    /// Learning rate of the step.
    pub lr: f32,
    /// Euclidean norm of the gradient before clipping.
    pub grad_norm: f32,
    /// Tokens a second that were read or written, over the latest steps.
    pub tokens_per_s: f32,
    /// Seconds until the last step, at this speed.
    pub seconds_left: f32,
    /// What else the stage measures, by name.
    #[serde(flatten)]
    pub metrics: Metrics,
}

/// How a stage ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TuneDone {
    /// Steps done.
    pub step: u64,
    /// Why.
    pub reason: Reason,
    /// Seconds spent in steps.
    pub seconds: f32,
}

/// Numbers by name, in the order in which to show them. As JSON each is a field.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(pub Vec<(&'static str, f32)>);

impl Metrics {
    /// The number of a name.
    pub fn get(&self, name: &str) -> Option<f32> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, x)| *x)
    }

    /// Adds a number.
    pub fn push(&mut self, name: &'static str, x: f32) {
        self.0.push((name, x));
    }
}

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, x) in &self.0 {
            map.serialize_entry(name, x)?;
        }
        map.end()
    }
}
