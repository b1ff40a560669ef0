//! How fast a run goes, and how long it will take.

/// Time spent in steps, without evaluations, samples and pauses.
#[derive(Default)]
pub(crate) struct Pace {
    /// Seconds in all.
    pub total: f64,
    /// Seconds, steps and tokens, each older reading counting less.
    recent: [f64; 3],
}

impl Pace {
    /// Notes how long so many steps took, and how many tokens they read.
    pub fn add(&mut self, seconds: f64, steps: u64, tokens: usize) {
        const MEMORY: f64 = 0.9;
        self.total += seconds;
        for (sum, new) in self.recent.iter_mut().zip([seconds, steps as f64, tokens as f64]) {
            *sum = MEMORY * *sum + new;
        }
    }

    /// Tokens a second, of late.
    pub fn tokens_per_s(&self) -> f32 {
        let [seconds, _, tokens] = self.recent;
        (tokens / seconds.max(1e-9)) as f32
    }

    /// Seconds that so many steps will take.
    pub fn seconds_for(&self, steps: u64) -> f32 {
        let [seconds, taken, _] = self.recent;
        (steps as f64 * seconds / taken.max(1.0)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_resumed_knows_how_long_the_rest_takes() {
        let mut pace = Pace::default();
        for _ in 0..3 {
            pace.add(0.5, 1, 100);
            assert!((pace.seconds_for(400) - 200.0).abs() < 1e-3);
            assert!((pace.tokens_per_s() - 200.0).abs() < 1e-3);
        }
        // Steps that are read together count as many.
        pace.add(4.0, 8, 800);
        assert!((pace.seconds_for(10) - 5.0).abs() < 1e-3);
        // What was slow is soon forgotten.
        (0..50).for_each(|_| pace.add(0.1, 1, 100));
        assert!((pace.seconds_for(10) - 1.0).abs() < 0.05);
        assert!((pace.total - 10.5).abs() < 1e-6);
    }
}
