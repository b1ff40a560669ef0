//! From rewards to advantages: the arithmetic of reinforcement learning that needs no device.
//!
//! Plain functions of slices, in f64 inside. One answer's tokens are one slice; batches with padding come with marks, which
//! say where a token counts.

use serde::{Deserialize, Serialize};

/// An estimate of KL(π ‖ π_ref) from the log-probabilities of one token that π drew: `ln(π/π_ref)`. Its mean is right,
/// and single ones may be negative.
///
/// This and the next two: Schulman 2020, "Approximating KL Divergence", <http://joschu.net/blog/kl-approx.html>.
pub fn k1(log_prob: f32, reference: f32) -> f32 {
    log_prob - reference
}

/// `½ ln(π/π_ref)²`: never negative and of small variance, at the price of a small bias.
pub fn k2(log_prob: f32, reference: f32) -> f32 {
    let x = log_prob - reference;
    0.5 * x * x
}

/// `π_ref/π − 1 − ln(π_ref/π)`: never negative, and its mean is right.
pub fn k3(log_prob: f32, reference: f32) -> f32 {
    let x = reference as f64 - log_prob as f64;
    (x.exp_m1() - x) as f32
}

/// The rewards of one answer's tokens: each pays `beta` times its KL divergence from the reference, and the last one
/// receives the answer's score (Ouyang et al. 2022, equation 2, <https://arxiv.org/abs/2203.02155>).
///
/// ```
/// # use cloche_train::advantage::token_rewards;
/// assert_eq!(token_rewards(1.0, &[0.5, -0.25], 0.5), [-0.25, 1.125]);
/// ```
pub fn token_rewards(score: f32, kl: &[f32], beta: f32) -> Vec<f32> {
    let mut rewards: Vec<f32> = kl.iter().map(|kl| -beta * kl).collect();
    if let Some(last) = rewards.last_mut() {
        *last += score;
    }
    rewards
}

/// How generalised advantage estimation looks ahead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gae {
    /// What a reward one token later is worth. Answers end, so 1 is usual.
    pub gamma: f32,
    /// 1 trusts the rewards alone, 0 the next value alone.
    pub lambda: f32,
}

/// What each token of an answer was worth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimates {
    /// How much better it went than the value model had expected.
    pub advantages: Vec<f32>,
    /// What the value model should have said: advantage + value.
    pub returns: Vec<f32>,
}

impl Gae {
    /// Advantages and returns of one answer's tokens:
    /// `δ_t = r_t + γ V_{t+1} − V_t` and `A_t = δ_t + γλ A_{t+1}`.
    ///
    /// `after` is the value behind the last token: 0 where the answer has ended, the value model's guess where it was cut
    /// off. Schulman et al. 2016, equation 16, <https://arxiv.org/abs/1506.02438>.
    ///
    /// # Panics
    /// When there are not as many values as rewards.
    pub fn estimate(self, rewards: &[f32], values: &[f32], after: f32) -> Estimates {
        assert_eq!(rewards.len(), values.len(), "gae: one value for each reward");
        let (gamma, lambda) = (self.gamma as f64, self.lambda as f64);
        let mut found = Estimates { advantages: vec![0.0; rewards.len()], returns: vec![0.0; rewards.len()] };
        let (mut next_value, mut advantage) = (after as f64, 0.0);
        for t in (0..rewards.len()).rev() {
            let value = values[t] as f64;
            let delta = rewards[t] as f64 + gamma * next_value - value;
            advantage = delta + gamma * lambda * advantage;
            next_value = value;
            found.advantages[t] = advantage as f32;
            found.returns[t] = (advantage + value) as f32;
        }
        found
    }
}

/// Shifts and scales the marked numbers to mean 0 and variance 1; the others become 0.
///
/// The variance is that of a sample (n − 1), as in the reference implementations; 10⁻⁸ is added to it, so equal numbers
/// become 0.
///
/// # Panics
/// When there are not as many marks as numbers.
pub fn whiten(values: &mut [f32], marks: &[bool]) {
    let moments = Moments::of(marked(values, marks));
    let scale = 1.0 / (moments.sample_variance() + 1e-8).sqrt();
    for (x, &mark) in values.iter_mut().zip(marks) {
        *x = if mark { ((*x as f64 - moments.mean) * scale) as f32 } else { 0.0 };
    }
}

/// What a group's rewards, less their mean, are divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// Their standard deviation (of a sample, n − 1) + 10⁻⁴: GRPO (Shao et al. 2024, <https://arxiv.org/abs/2402.03300>).
    /// Questions that are nearly always or nearly never solved weigh as much as others.
    #[default]
    Deviation,
    /// Nothing: Dr. GRPO (Liu et al. 2025, <https://arxiv.org/abs/2503.20783>).
    Nothing,
}

/// The advantage of each answer over the other answers to the same prompt, which lie side by side in groups of `group`.
/// Answers that are all equally good teach nothing: their advantages are 0.
///
/// # Panics
/// When the rewards do not fill groups.
pub fn group_advantages(rewards: &[f32], group: usize, scale: Scale) -> Vec<f32> {
    assert!(
        group > 0 && rewards.len().is_multiple_of(group),
        "group advantages: {} rewards do not fill groups of {group}",
        rewards.len()
    );
    let mut advantages = Vec::with_capacity(rewards.len());
    for group in rewards.chunks_exact(group) {
        let moments = Moments::of(group.iter().map(|&x| x as f64));
        let by = match scale {
            Scale::Deviation => moments.sample_variance().sqrt() + 1e-4,
            Scale::Nothing => 1.0,
        };
        advantages.extend(group.iter().map(|&x| ((x as f64 - moments.mean) / by) as f32));
    }
    advantages
}

/// The share of the returns' variance that the values explain, over marked tokens: 1 for perfect values, 0 for any
/// constant, below 0 for worse. 0 where the returns do not vary.
///
/// # Panics
/// When the three are not of the same length.
pub fn explained_variance(values: &[f32], returns: &[f32], marks: &[bool]) -> f32 {
    assert_eq!(values.len(), returns.len(), "explained variance: one value for each return");
    let of_returns = Moments::of(marked(returns, marks));
    let of_errors = Moments::of(marked(returns, marks).zip(marked(values, marks)).map(|(r, v)| r - v));
    if of_returns.squares == 0.0 { 0.0 } else { (1.0 - of_errors.squares / of_returns.squares) as f32 }
}

fn marked<'a>(values: &'a [f32], marks: &'a [bool]) -> impl Iterator<Item = f64> + Clone + 'a {
    assert_eq!(values.len(), marks.len(), "marked numbers: one mark for each");
    values.iter().zip(marks).filter(|(_, mark)| **mark).map(|(&x, _)| x as f64)
}

/// Count, mean, and the sum of squared distances from the mean.
struct Moments {
    count: usize,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Moments {
        let count = values.clone().count();
        let mean = values.clone().sum::<f64>() / count.max(1) as f64;
        Moments { count, mean, squares: values.map(|x| (x - mean) * (x - mean)).sum() }
    }

    fn sample_variance(&self) -> f64 {
        self.squares / self.count.saturating_sub(1).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloche_tensor::rng::{Rng, stream_id};

    fn normal(name: &str, n: usize) -> Vec<f32> {
        let mut rng = Rng::new(5, stream_id(name));
        (0..n).map(|_| rng.normal()).collect()
    }

    fn close(a: f32, b: f32) -> bool {
        (a - b).abs() <= 1e-5 * (1.0 + b.abs())
    }

    #[test]
    fn gae_with_lambda_1_is_returns_minus_values() {
        let (rewards, values) = (normal("rewards", 9), normal("values", 9));
        let found = Gae { gamma: 0.9, lambda: 1.0 }.estimate(&rewards, &values, 0.7);
        for (t, value) in values.iter().enumerate() {
            let later = (t..9).map(|l| 0.9f64.powi((l - t) as i32) * rewards[l] as f64).sum::<f64>();
            let want = later + 0.9f64.powi((9 - t) as i32) * 0.7;
            assert!(close(found.returns[t], want as f32), "{t}: {}, expected {want}", found.returns[t]);
            assert!(close(found.advantages[t], want as f32 - value));
        }
    }

    #[test]
    fn gae_with_lambda_0_is_one_step_of_temporal_difference() {
        let (rewards, values) = (normal("rewards", 4), normal("values", 4));
        let found = Gae { gamma: 0.5, lambda: 0.0 }.estimate(&rewards, &values, 0.0);
        for t in 0..4 {
            let next = values.get(t + 1).copied().unwrap_or(0.0);
            assert!(close(found.advantages[t], rewards[t] + 0.5 * next - values[t]));
        }
    }

    /// By hand: δ = (0.5·3 − 2, 4 − 3) = (−0.5, 1); A₀ = −0.5 + 0.25·1.
    #[test]
    fn gae_by_hand() {
        let found = Gae { gamma: 0.5, lambda: 0.5 }.estimate(&[0.0, 4.0], &[2.0, 3.0], 0.0);
        assert_eq!(found, Estimates { advantages: vec![-0.25, 1.0], returns: vec![1.75, 4.0] });
    }

    #[test]
    fn whitened_numbers_have_mean_0_and_variance_1_and_unmarked_ones_are_0() {
        let mut values: Vec<f32> = normal("values", 50).iter().map(|x| 3.0 * x + 7.0).collect();
        values[9] = f32::NAN;
        let marks: Vec<bool> = (0..50).map(|i| i % 10 != 9).collect();
        whiten(&mut values, &marks);
        assert!((0..5).all(|i| values[10 * i + 9] == 0.0));
        let moments = Moments::of(marked(&values, &marks));
        assert!(moments.mean.abs() < 1e-6 && (moments.sample_variance() - 1.0).abs() < 1e-5);
        let mut equal = [2.5, 2.5, 1.0];
        whiten(&mut equal, &[true, true, false]);
        assert_eq!(equal, [0.0; 3]);
        whiten(&mut equal, &[false; 3]);
        assert_eq!(equal, [0.0; 3]);
    }

    #[test]
    fn group_advantages_sum_to_0() {
        let rewards = normal("rewards", 24);
        for scale in [Scale::Deviation, Scale::Nothing] {
            let advantages = group_advantages(&rewards, 8, scale);
            for (group, rewards) in advantages.chunks(8).zip(rewards.chunks(8)) {
                assert!(group.iter().sum::<f32>().abs() < 1e-5);
                let best = |x: &[f32]| (0..8).max_by(|&a, &b| x[a].total_cmp(&x[b]));
                assert_eq!(best(group), best(rewards));
            }
        }
        // Two of four are right: the mean is ½, and so is each distance from it; the deviation is √(1/3).
        let binary = group_advantages(&[1.0, 0.0, 0.0, 1.0], 4, Scale::Deviation);
        let want = 0.5 / ((1.0f32 / 3.0).sqrt() + 1e-4);
        assert!(binary.iter().zip([want, -want, -want, want]).all(|(&a, b)| close(a, b)));
        assert_eq!(group_advantages(&[1.0, 0.0, 0.0, 1.0], 2, Scale::Nothing), [0.5, -0.5, -0.5, 0.5]);
        assert_eq!(group_advantages(&[0.3; 6], 3, Scale::Deviation), [0.0; 6]);
    }

    /// A policy and a reference over three tokens: means over the policy are known.
    #[test]
    fn k1_and_k3_have_the_divergence_as_their_mean() {
        let (p, q) = ([0.5f32, 0.3, 0.2], [0.4f32, 0.2, 0.4]);
        let mean = |k: fn(f32, f32) -> f32| (0..3).map(|i| p[i] * k(p[i].ln(), q[i].ln())).sum::<f32>();
        let divergence: f32 = (0..3).map(|i| p[i] * (p[i] / q[i]).ln()).sum();
        assert!(close(mean(k1), divergence) && close(mean(k3), divergence));
        assert!((mean(k2) / divergence - 1.0).abs() < 0.1);
        assert!((0..3).all(|i| k3(p[i].ln(), q[i].ln()) >= 0.0));
        assert_eq!([k1(-1.0, -1.0), k2(-1.0, -1.0), k3(-1.0, -1.0)], [0.0; 3]);
    }

    #[test]
    fn explained_variance_is_1_for_perfect_values_and_0_for_a_constant() {
        let (returns, marks) = (normal("returns", 20), [true; 20]);
        assert_eq!(explained_variance(&returns, &returns, &marks), 1.0);
        assert!(explained_variance(&[3.0; 20], &returns, &marks).abs() < 1e-6);
        let opposite: Vec<f32> = returns.iter().map(|x| -x).collect();
        assert!(close(explained_variance(&opposite, &returns, &marks), -3.0));
        assert_eq!(explained_variance(&returns, &[1.0; 20], &marks), 0.0);
    }
}
