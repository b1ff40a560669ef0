//! The learning rate, step by step.

use cloche_tensor::math::cos_turn;

/// Linear warm-up, then a cosine down to `min_lr`, where it stays.
///
/// Loshchilov and Hutter 2017, <https://arxiv.org/abs/1608.03983>, without restarts; the warm-up and the counting of
/// steps are nanoGPT's: step `s` of the warm-up has `lr · (s + 1) / (warmup_steps + 1)`.
///
/// # Example
/// ```
/// use cloche_nn::schedule::Schedule;
/// let schedule = Schedule { lr: 1.0, min_lr: 0.1, warmup_steps: 3, steps: 13 };
/// assert_eq!([0, 1, 2, 3].map(|step| schedule.at(step)), [0.25, 0.5, 0.75, 1.0]);
/// assert!((schedule.at(8) - 0.55).abs() < 1e-6); // halfway down
/// assert_eq!([13, 1000].map(|step| schedule.at(step)), [0.1, 0.1]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The rate after the warm-up.
    pub lr: f32,
    /// The rate at the end.
    pub min_lr: f32,
    /// Steps of the warm-up; 0 for none.
    pub warmup_steps: usize,
    /// The step at which `min_lr` is reached.
    pub steps: usize,
}

impl Schedule {
    /// The learning rate of a step; the first one is step 0.
    pub fn at(&self, step: usize) -> f32 {
        let (lr, min_lr) = (self.lr as f64, self.min_lr as f64);
        if step < self.warmup_steps {
            return (lr * (step + 1) as f64 / (self.warmup_steps + 1) as f64) as f32;
        }
        if step >= self.steps {
            return self.min_lr;
        }
        let progress = (step - self.warmup_steps) as f64 / (self.steps - self.warmup_steps) as f64;
        let share = 0.5 * (1.0 + cos_turn(0.5 * progress));
        (min_lr + share * (lr - min_lr)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of nanoGPT's `get_lr` with its settings for Tiny Shakespeare.
    #[test]
    fn the_rates_are_those_of_nanogpt() {
        let schedule = Schedule { lr: 1e-3, min_lr: 1e-4, warmup_steps: 100, steps: 2000 };
        for (step, lr) in [
            (0, 9.90099e-6),
            (99, 9.90099e-4),
            (100, 1e-3),
            (1050, 5.5e-4),
            (1999, 1.0000061e-4),
            (2000, 1e-4),
        ] {
            assert!(
                (schedule.at(step) / lr - 1.0).abs() < 1e-6,
                "step {step}: {}, expected {lr}",
                schedule.at(step)
            );
        }
    }

    #[test]
    fn without_warm_up_it_starts_at_the_top() {
        let schedule = Schedule { lr: 2.0, min_lr: 2.0, warmup_steps: 0, steps: 10 };
        assert!((0..20).all(|step| schedule.at(step) == 2.0));
        let all_warm_up = Schedule { lr: 1.0, min_lr: 0.0, warmup_steps: 5, steps: 5 };
        assert_eq!((all_warm_up.at(4), all_warm_up.at(5)), (5.0 / 6.0, 0.0));
    }
}
