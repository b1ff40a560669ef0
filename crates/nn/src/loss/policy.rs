//! Policy gradients: the clipped surrogate that PPO and GRPO share, and how far a policy has moved.
//!
//! The two differ in where advantages come from (a value model, or the other answers of the group) and in where the KL
//! divergence to the reference is charged: in the rewards of PPO, on the host; in the loss of GRPO, here.
//!
//! ```text
//! PPO    Σ surrogate / tokens + c · Σ clipped value loss / tokens + γ · Σ token losses of pre-training text / its tokens
//! GRPO   Σ (surrogate + β · KL to the reference) / tokens
//! ```
//!
//! Ouyang et al. 2022 (InstructGPT), equation 2, <https://arxiv.org/abs/2203.02155>; Shao et al. 2024 (DeepSeekMath),
//! equation 3, <https://arxiv.org/abs/2402.03300>. Tokens are those of the whole step, so that a token weighs the same in
//! an answer of any length (Yu et al. 2025, DAPO, <https://arxiv.org/abs/2503.14476>; Liu et al. 2025, Dr. GRPO,
//! <https://arxiv.org/abs/2503.20783>).

use cloche_tensor::Tensor;

use super::where_marked;

/// What a policy did: tokens, as four tensors of one shape, such as `(B, T)`.
///
/// Only `log_probs` has a gradient. What stands where a token is not marked does not matter.
#[derive(Clone, Copy)]
pub struct Actions<'a> {
    /// ln π of each token, under the policy that learns: [`token_log_probs`](super::token_log_probs).
    pub log_probs: &'a Tensor,
    /// The same under the policy that the tokens were drawn from.
    pub old_log_probs: &'a Tensor,
    /// How much better the token was than expected. May broadcast: `(B, 1)` has one for each answer.
    pub advantages: &'a Tensor,
    /// 1 where the token is an action, 0 for prompts and padding: [`marks`](super::marks).
    pub marks: &'a Tensor,
}

/// How far below and above 1 the probability ratio of a token may go before there is nothing more to gain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// Down to 1 − low.
    pub low: f64,
    /// Up to 1 + high. A larger one leaves rare tokens room to grow (DAPO's "clip-higher").
    pub high: f64,
}

impl Clip {
    /// As far below as above: PPO's ε.
    pub fn both(epsilon: f64) -> Clip {
        Clip { low: epsilon, high: epsilon }
    }
}

/// The loss of each token and its metrics, in the shape of the actions; all are 0 where a token is not marked.
pub struct Surrogate {
    /// `−min(r A, clip(r, 1 − low, 1 + high) A)` with the ratio `r = π/π_old` and the advantage `A`.
    pub losses: Tensor,
    /// 1 where the clip is what holds the ratio, and so there is no gradient.
    pub clipped: Tensor,
    /// An estimate of KL(π_old ‖ π), in nats: [`k3`] of ln r.
    pub kl: Tensor,
}

/// PPO's clipped surrogate (Schulman et al. 2017, equation 7, <https://arxiv.org/abs/1707.06347>), as a loss of each
/// token.
pub fn clipped_surrogate(actions: Actions, clip: Clip) -> Surrogate {
    let Actions { log_probs, old_log_probs, advantages, marks } = actions;
    let number = |x: f64| log_probs.graph().constant(x);
    let log_ratio = log_ratio(log_probs, old_log_probs, marks);
    let ratio = log_ratio.exp();
    let held = ratio.maximum(&number(1.0 - clip.low)).minimum(&number(1.0 + clip.high));
    let (free, held) = (ratio * advantages, held * advantages);
    Surrogate {
        losses: where_marked(marks, &-free.minimum(&held)),
        clipped: where_marked(marks, &held.lt(&free)),
        kl: where_marked(marks, &k3(&log_ratio)),
    }
}

/// An estimate of KL(π ‖ π_ref) at each token, in nats, with a gradient: [`k3`] of `ln(π_ref/π)`; 0 where a token is not
/// marked.
///
/// # Shapes
/// three of one shape → the same
pub fn kl_to_reference(log_probs: &Tensor, reference: &Tensor, marks: &Tensor) -> Tensor {
    where_marked(marks, &k3(&log_ratio(reference, log_probs, marks)))
}

/// `eˣ − 1 − x` of a log-ratio `x = ln(q/p)`: over draws from p its mean is KL(p ‖ q), and it is never negative.
///
/// Schulman 2020, "Approximating KL Divergence", <http://joschu.net/blog/kl-approx.html>. In f32 it is off by about 10⁻⁷,
/// which is more than itself where |x| < 10⁻⁴.
pub fn k3(log_ratio: &Tensor) -> Tensor {
    log_ratio.exp() - 1.0 - log_ratio
}

/// `a − b` where it is marked, else 0. Kept within ±20, a ratio of 5·10⁸: its exponential must not become infinite, since a
/// gradient of 0 times infinity is no number. A token that has moved so far has no gradient.
fn log_ratio(a: &Tensor, b: &Tensor, marks: &Tensor) -> Tensor {
    let number = |x: f64| a.graph().constant(x);
    where_marked(marks, &(a - b)).maximum(&number(-20.0)).minimum(&number(20.0))
}
