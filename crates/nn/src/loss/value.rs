//! The value model of PPO: how much reward is still to come, predicted at each token.

use cloche_tensor::Tensor;

use super::where_marked;

/// Predicted values and what they should have been: tensors of one shape, such as `(B, T)`. Only `values` has a gradient.
#[derive(Clone, Copy)]
pub struct Values<'a> {
    /// What the value model says now.
    pub values: &'a Tensor,
    /// What it said when the answers were drawn.
    pub old_values: &'a Tensor,
    /// What came: advantages + old values.
    pub returns: &'a Tensor,
    /// 1 where the token is an action, else 0.
    pub marks: &'a Tensor,
}

/// The loss of each token and whether it was clipped, in the shape of the values; 0 where a token is not marked.
pub struct ValueLoss {
    /// `½ max((v − R)², (clip(v, v_old − ε, v_old + ε) − R)²)`
    pub losses: Tensor,
    /// 1 where the clipped value's error is the larger one, and so there is no gradient.
    pub clipped: Tensor,
}

/// Half the squared error of each value, which may move by at most `epsilon` from where it was: the larger error of both
/// counts, so that moving further is not rewarded.
///
/// Schulman et al. 2016, <https://arxiv.org/abs/1506.02438>, section 5, limits the value function's step; the clipped form
/// is that of OpenAI's implementation of PPO (Engstrom et al. 2020, <https://arxiv.org/abs/2005.12729>, section 3).
pub fn clipped_value_loss(v: Values, epsilon: f64) -> ValueLoss {
    let held = v.values.maximum(&(v.old_values - epsilon)).minimum(&(v.old_values + epsilon));
    // Errors that are 0 where nothing is marked, before they are squared.
    let error = |values: &Tensor| where_marked(v.marks, &(values - v.returns));
    let (free, held) = (error(v.values), error(&held));
    let (free, held) = (&free * &free, &held * &held);
    ValueLoss { losses: free.maximum(&held) * 0.5, clipped: held.gt(&free) }
}
