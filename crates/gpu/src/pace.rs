//! Submissions that are short enough for a page to draw in between.
//!
//! A device runs what it was given to the end before it turns to anybody else, and a watchdog ends what takes seconds. So a
//! long list of dispatches is cut into parts by what each is expected to take, and what they then took corrects that.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use web_time::Instant;

/// What a submission is meant to take, in seconds: two frames of a page. Where a guess is wrong by half it is three.
const LIMIT: f64 = 0.03;

/// Before anything is measured: a CPU behind WebGPU, 5·10⁹ units of work a second.
const FIRST_GUESS: f64 = 2e-10;

/// How long a unit of work takes, learnt from one submission after the other. Work is in any unit that dispatches of one list
/// have in common, such as floating-point operations.
pub struct Pace(Arc<Mutex<Measured>>);

struct Measured {
    seconds_per_unit: f64,
    /// When the device finished what was measured last.
    free_since: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Pace(Arc::new(Mutex::new(Measured { seconds_per_unit: FIRST_GUESS, free_since: None })))
    }
}

impl Pace {
    /// Cuts a list of dispatches with these amounts of work into parts that are submitted one by one: at least one part, of as
    /// many dispatches as fit into 30 ms, and at least one if there is any.
    pub fn parts<'a>(&self, work: &'a [f64]) -> impl Iterator<Item = Range<usize>> + use<'a> {
        let most = LIMIT / self.measured().seconds_per_unit;
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let (start, mut left) = (next?, most);
            let fitting = work[start..].iter().take_while(|&&work| {
                left -= work;
                left >= 0.0
            });
            let end = work.len().min(start + fitting.count().max(1));
            next = (end < work.len()).then_some(end);
            Some(start..end)
        })
    }

    /// Begins to measure a submission of so much work: what is returned is called when it is done. A device that was busy with
    /// something else before it counts only from when that was done.
    pub fn watch(&self, work: f64) -> impl FnOnce() + Send + use<> {
        let (pace, submitted) = (Pace(self.0.clone()), Instant::now());
        move || {
            let now = Instant::now();
            let mut measured = pace.measured();
            let began = measured.free_since.map_or(submitted, |free| free.max(submitted));
            measured.learn((now - began).as_secs_f64() / work.max(1.0));
            measured.free_since = Some(now);
        }
    }

    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Measured {
    /// At once where it takes longer than thought, and slowly where it takes less: not every kernel is as good as the best.
    fn learn(&mut self, seconds_per_unit: f64) {
        let before = self.seconds_per_unit;
        self.seconds_per_unit = seconds_per_unit.max(0.98 * before + 0.02 * seconds_per_unit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paced(seconds_per_unit: f64) -> Pace {
        let pace = Pace::default();
        pace.measured().seconds_per_unit = seconds_per_unit;
        pace
    }

    #[test]
    fn parts_fit_into_the_limit_and_cover_the_list() {
        let work = [10.0, 20.0, 30.0, 1.0, 100.0, 1.0, 1.0];
        let parts = |seconds_per_unit| ends(&paced(seconds_per_unit), &work);
        assert_eq!(parts(1e-6), [(0, 7)]);
        assert_eq!(parts(LIMIT / 50.5), [(0, 2), (2, 4), (4, 5), (5, 7)], "a long dispatch stands alone");
        assert_eq!(parts(1.0).len(), 7, "each by itself");
        assert_eq!(ends(&paced(1.0), &[]), [(0, 0)], "what is to be copied still is");
    }

    fn ends(pace: &Pace, work: &[f64]) -> Vec<(usize, usize)> {
        pace.parts(work).map(|part| (part.start, part.end)).collect()
    }

    #[test]
    fn what_takes_longer_is_believed_at_once() {
        let pace = paced(1e-3);
        pace.measured().learn(1.0);
        assert_eq!(pace.measured().seconds_per_unit, 1.0);
        pace.measured().learn(0.5);
        assert!((pace.measured().seconds_per_unit - 0.99).abs() < 1e-12);
    }

    #[test]
    fn a_submission_is_timed_from_when_the_device_was_free() {
        let pace = paced(1e-12);
        let (first, second) = (pace.watch(1.0), pace.watch(1.0));
        std::thread::sleep(std::time::Duration::from_millis(20));
        first();
        let after_first = pace.measured().seconds_per_unit;
        assert!(after_first >= 0.02, "{after_first}");
        second();
        let after_second = pace.measured().seconds_per_unit;
        assert!(after_second < after_first, "the second took no time of its own: {after_second}");
    }
}
