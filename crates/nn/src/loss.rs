//! Losses: pure functions of tensors.

use cloche_tensor::Tensor;

/// A target that does not count, such as padding.
pub const IGNORE_INDEX: u32 = u32::MAX;

/// The negative log-likelihood of each target, in nats; 0 where it is [`IGNORE_INDEX`].
///
/// # Shapes
/// logits `(…, V)`, targets `(…)` of u32 → `(R,)`, one for each target in row-major order
pub fn token_losses(logits: &Tensor, targets: &Tensor) -> Tensor {
    let (r, v) = (targets.shape().numel(), logits.last_dim());
    logits.reshape((r, v)).cross_entropy(&targets.reshape((r,)), IGNORE_INDEX)
}

/// The mean of losses that all count, of shape `()`. What pre-training on packed text needs.
pub fn mean(losses: &Tensor) -> Tensor {
    losses.mean_all()
}

/// The sum of losses over `count`, of shape `()`, where `count` is a per-run scalar that the host sets to the number of
/// targets that count, over all micro-batches of the step.
///
/// Dividing by the whole step's count makes the gradients of micro-batches add up to that of one large batch, also where
/// the micro-batches have different numbers of targets.
pub fn mean_over(losses: &Tensor, count: &Tensor) -> Tensor {
    losses.sum_all() / count
}
