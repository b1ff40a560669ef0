//! What a stage tells: the same lines in `--json`, in the worker and in a page.

use serde::Serialize;

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
