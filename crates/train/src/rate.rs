//! How often something happens, and how sure one can be of it.

/// How often something happened in so many cases.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Cases in which it did; one that counts half, such as a tie, is ½.
    pub hits: f64,
    /// All cases.
    pub n: usize,
}

/// The quantile of the normal distribution that leaves 95 % between itself and its negative.
const Z: f64 = 1.959_963_984_540_054;

impl Rate {
    /// How often it is true.
    pub fn of(cases: impl IntoIterator<Item = bool>) -> Rate {
        cases.into_iter().map(|hit| f64::from(u8::from(hit))).collect()
    }

    /// How often one is worth more than the other, case by case; of equal ones each wins half.
    ///
    /// ```
    /// use cloche_train::rate::Rate;
    /// let won = Rate::of_wins(&[1.0, 0.0, 2.0, 2.0], &[0.0, 1.0, 2.0, 1.0]);
    /// assert_eq!(won, Rate { hits: 2.5, n: 4 });
    /// ```
    ///
    /// # Panics
    /// When there are not as many of the one as of the other.
    pub fn of_wins(one: &[f32], other: &[f32]) -> Rate {
        assert_eq!(one.len(), other.len(), "of_wins: as many of the one as of the other");
        let win = |(one, other): (&f32, &f32)| match one == other {
            true => 0.5,
            false => f64::from(u8::from(one > other)),
        };
        one.iter().zip(other).map(win).collect()
    }

    /// The share of cases in which it happened; NaN where there are none.
    pub fn share(&self) -> f64 {
        self.hits / self.n as f64
    }

    /// Where the true share lies, with 95 % confidence, if the cases are a fair draw: from the lower to the upper bound. It
    /// is within 0 to 1, and never of width 0, also where it always happened or never.
    ///
    /// `(p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)`, Wilson 1927, <https://doi.org/10.2307/2276774>. Cases that
    /// count a part vary less than those that count all or nothing: for them the interval is on the wide side.
    ///
    /// ```
    /// use cloche_train::rate::Rate;
    /// let [low, high] = Rate { hits: 8.0, n: 10 }.interval();
    /// assert!((low - 0.4902).abs() < 1e-4 && (high - 0.9433).abs() < 1e-4);
    /// ```
    pub fn interval(&self) -> [f64; 2] {
        if self.n == 0 {
            return [0.0, 1.0];
        }
        let (p, n) = (self.share(), self.n as f64);
        let (middle, z2) = (p + Z * Z / (2.0 * n), Z * Z / n);
        let half = Z * (p * (1.0 - p) / n + z2 / (4.0 * n)).max(0.0).sqrt();
        let [low, high] = [-half, half].map(|half| (middle + half) / (1.0 + z2));
        // At the ends rounding could leave the share itself out.
        [low.clamp(0.0, p), high.clamp(p, 1.0)]
    }
}

impl FromIterator<f64> for Rate {
    /// Of cases that count between 0 and 1 each.
    fn from_iter<I: IntoIterator<Item = f64>>(cases: I) -> Rate {
        cases.into_iter().fold(Rate::default(), |rate, x| Rate { hits: rate.hits + x, n: rate.n + 1 })
    }
}

/// A mean, and where the true one lies with 95 % confidence, as far as means are distributed normally.
///
/// ```
/// let (mean, [low, high]) = cloche_train::rate::mean_interval(&[1.0, 2.0, 3.0]);
/// assert_eq!(mean, 2.0); // ± 1.96 · 1 / √3
/// assert!((low - 0.8684).abs() < 1e-4 && (high - 3.1316).abs() < 1e-4);
/// ```
pub fn mean_interval(numbers: &[f64]) -> (f64, [f64; 2]) {
    let n = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / n;
    let squares: f64 = numbers.iter().map(|x| (x - mean).powi(2)).sum();
    let half = Z * (squares / (n - 1.0).max(1.0) / n).sqrt();
    (mean, [mean - half, mean + half])
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloche_tensor::rng::Rng;

    #[test]
    fn certainty_needs_cases() {
        let none = Rate::default();
        assert!(none.share().is_nan() && none.interval() == [0.0, 1.0]);
        // 0 of n: from 0 to z² / (n + z²).
        for n in 1..300 {
            assert_eq!(Rate { hits: 0.0, n }.interval()[0], 0.0);
            assert_eq!(Rate { hits: n as f64, n }.interval()[1], 1.0);
        }
        let never = Rate::of([false; 10]).interval();
        assert!(never[0] == 0.0 && (never[1] - Z * Z / (10.0 + Z * Z)).abs() < 1e-12, "{never:?}");
        let always = Rate::of([true; 10]).interval();
        assert!(always[1] == 1.0 && (always[0] + never[1] - 1.0).abs() < 1e-12, "{always:?}");
    }

    /// Of many draws of 50 cases, the interval holds the true share about 95 times of 100.
    #[test]
    fn the_interval_holds_what_it_promises() {
        let mut rng = Rng::new(1, 0);
        for share in [0.05, 0.5, 0.9] {
            let holds = |_| {
                let drawn = Rate::of((0..50).map(|_| (rng.below(1000) as f64) < share * 1000.0));
                let [low, high] = drawn.interval();
                (low..=high).contains(&share)
            };
            let held = Rate::of((0..2000).map(holds)).share();
            assert!((0.92..0.985).contains(&held), "{share}: {held}");
        }
    }
}
