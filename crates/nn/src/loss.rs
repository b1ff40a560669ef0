//! Losses: pure functions of tensors.
//!
//! What is computed of tokens has one number for each token, and exactly 0, with a gradient of exactly 0, where a token
//! is not marked. A stage adds such numbers up and divides by how many count in the whole step ([`mean_over`]), losses and
//! metrics alike, so that micro-batches of different lengths add up to one large batch.
//!
//! Here: what every stage needs, and supervised fine-tuning, whose loss is `mean_over(&token_losses(…), &count)`. What
//! follows it, in reading order:

pub mod preference;
pub mod policy;
pub mod value;
pub mod distill;

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

/// 1 where the target counts, 0 where it is [`IGNORE_INDEX`]. Same shape, f32.
pub fn marks(targets: &Tensor) -> Tensor {
    // Far below IGNORE_INDEX, which no f32 is equal to, and far above any vocabulary.
    targets.lt(&targets.graph().constant(2f64.powi(31)))
}

/// `x` where it is marked, else 0. Whatever stands there otherwise, be it infinite, leaves neither a trace in the value
/// nor in the gradient, as a product with 0 would.
pub(crate) fn where_marked(marks: &Tensor, x: &Tensor) -> Tensor {
    marks.select(x, &x.graph().constant(0.0))
}

/// The log-probability of each target, in nats; 0 where it does not count.
///
/// # Shapes
/// logits `(…, V)`, targets `(…)` of u32 → as the targets
pub fn token_log_probs(logits: &Tensor, targets: &Tensor) -> Tensor {
    -token_losses(logits, targets).reshape(targets.shape().clone())
}

/// The log-probability of each answer, in nats: the sum over the targets of a row that count.
///
/// # Shapes
/// logits `(B, T, V)`, targets `(B, T)` of u32 → `(B,)`
pub fn answer_log_probs(logits: &Tensor, targets: &Tensor) -> Tensor {
    token_log_probs(logits, targets).sum(1)
}

/// The mean log-probability of an answer's tokens, in nats per token: [`answer_log_probs`] over the length. 0 for a row
/// without a target that counts.
///
/// # Shapes
/// logits `(B, T, V)`, targets `(B, T)` of u32 → `(B,)`
pub fn mean_answer_log_probs(logits: &Tensor, targets: &Tensor) -> Tensor {
    let lengths = marks(targets).sum(1); // (B,)
    answer_log_probs(logits, targets) / lengths.maximum(&logits.graph().constant(1.0))
}

/// 1 where the largest logit is the target's, else 0; 0 also where the target does not count. Has no gradient.
///
/// # Shapes
/// logits `(…, V)`, targets `(…)` of u32 → as the targets
pub fn token_hits(logits: &Tensor, targets: &Tensor) -> Tensor {
    logits.argmax(logits.dims().len() - 1).eq(targets) // no argmax is IGNORE_INDEX
}

/// The entropy of each predicted distribution, `−Σᵥ p(v) ln p(v)` in nats; 0 where it is not marked.
///
/// # Shapes
/// logits `(…, V)`, marks `(…)` → as the marks
pub fn token_entropy(logits: &Tensor, marks: &Tensor) -> Tensor {
    let log_p = logits.log_softmax(); // (…, V)
    let negative = (log_p.exp() * log_p).sum(logits.dims().len() - 1);
    where_marked(marks, &-negative)
}

/// `ln σ(x) = −ln(1 + e⁻ˣ)`, finite for every finite x, with the gradient `σ(−x)`. Same shape.
///
/// ```text
/// [0, -1000, 1000].log_sigmoid = [-ln 2, -1000, 0]
/// ```
pub fn log_sigmoid(x: &Tensor) -> Tensor {
    // −ln(1 + e⁻ˣ) = −(max(−x, 0) + ln(1 + e^−|x|)). At 0, where every DPO run begins, `maximum` gives |x| the slope 1 and
    // `relu` the slope 0, which makes ½; with the slope 0 of `abs` it would be 0.
    let minus = -x;
    let size = x.maximum(&minus);
    -(minus.relu() + (1.0 + (-size).exp()).log())
}
