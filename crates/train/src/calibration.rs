//! Whether a reward model is as sure as it is right.
//!
//! A Bradley–Terry model prefers one of two answers with probability `σ(|r_a − r_b|)`. Of all pairs that it is 80 % sure of,
//! 80 % should be ordered as people ordered them (Guo et al. 2017, <https://arxiv.org/abs/1706.04599>).

/// The pairs of which a model is about equally sure.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Bin {
    /// How sure it is on average, from ½ to 1.
    pub confidence: f32,
    /// The share that it orders as people did; a tie is half right.
    pub accuracy: f32,
    /// How many there are.
    pub pairs: usize,
}

/// Sorts pairs by confidence into `bins` equal parts of ½ to 1. A pair's margin is the chosen answer's reward less the
/// rejected one's.
///
/// # Panics
/// Without bins.
pub fn reliability(margins: &[f32], bins: usize) -> Vec<Bin> {
    assert!(bins > 0, "reliability: at least one bin");
    let mut sums = vec![(0.0f64, 0.0f64, 0usize); bins]; // of confidence, of right pairs, of pairs
    for &margin in margins {
        let confidence = 1.0 / (1.0 + (-margin.abs() as f64).exp());
        let place = ((2.0 * confidence - 1.0) * bins as f64) as usize;
        let right = if margin == 0.0 { 0.5 } else { f64::from(margin > 0.0) };
        let bin = &mut sums[place.min(bins - 1)];
        *bin = (bin.0 + confidence, bin.1 + right, bin.2 + 1);
    }
    let mean = |sum: f64, n: usize| (sum / n.max(1) as f64) as f32;
    let bin = |(sure, right, n)| Bin { confidence: mean(sure, n), accuracy: mean(right, n), pairs: n };
    sums.into_iter().map(bin).collect()
}

/// The expected calibration error: how far confidence and accuracy are apart, on average over pairs. 0 without pairs.
pub fn calibration_error(bins: &[Bin]) -> f32 {
    let pairs: usize = bins.iter().map(|bin| bin.pairs).sum();
    let apart: f32 = bins.iter().map(|b| b.pairs as f32 * (b.confidence - b.accuracy).abs()).sum();
    apart / pairs.max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_right_as_often_as_it_is_sure_has_no_error() {
        let sure = (0.8f32 / 0.2).ln();
        let margins = [sure, sure, sure, sure, -sure, 0.0, 0.0];
        let bins = reliability(&margins, 5);
        assert_eq!(bins[0], Bin { confidence: 0.5, accuracy: 0.5, pairs: 2 });
        let full = bins.iter().filter(|bin| bin.pairs == 5).collect::<Vec<_>>();
        assert!((full[0].confidence - 0.8).abs() < 1e-6 && full[0].accuracy == 0.8);
        assert!(calibration_error(&bins) < 1e-6);
    }

    #[test]
    fn a_model_that_is_sure_and_wrong_has_an_error_of_1() {
        let bins = reliability(&[-50.0; 3], 4);
        assert_eq!(bins[3], Bin { confidence: 1.0, accuracy: 0.0, pairs: 3 });
        assert_eq!(calibration_error(&bins), 1.0);
        assert_eq!(calibration_error(&reliability(&[], 4)), 0.0);
    }
}
