//! Values before training, the same bits on every machine.

use cloche_tensor::rng::{Rng, stream_id};

/// How a parameter begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All 0: biases.
    Zeros,
    /// All 1: weights of norms.
    Ones,
    /// Normal around 0.
    Normal {
        /// The standard deviation.
        std: f32,
    },
    /// Uniform in `[-bound, bound)`.
    Uniform {
        /// The largest magnitude.
        bound: f32,
    },
}

impl Init {
    /// A matrix that adds to the residual stream, which `n` such matrices do in all: `std / √n`, so that the stream's
    /// variance does not grow with depth (Radford et al. 2019, section 2.3, "Language Models are Unsupervised
    /// Multitask Learners"). A decoder of `L` layers has `n = 2L`.
    pub fn residual(std: f32, n: usize) -> Init {
        Init::Normal { std: std / (n as f32).sqrt() }
    }

    /// Writes the values of the parameter at `path`.
    ///
    /// The random stream is the path's own, so the values depend on the seed and the path alone, and not on what else
    /// the model has.
    pub fn fill(self, seed: u64, path: &str, values: &mut [f32]) {
        let mut rng = Rng::new(seed, stream_id(path));
        match self {
            Init::Zeros => values.fill(0.0),
            Init::Ones => values.fill(1.0),
            Init::Normal { std } => values.fill_with(|| std * rng.normal()),
            Init::Uniform { bound } => values.fill_with(|| bound * (2.0 * rng.uniform() - 1.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(init: Init, seed: u64, path: &str) -> Vec<f32> {
        let mut values = vec![f32::NAN; 10_000];
        init.fill(seed, path, &mut values);
        values
    }

    #[test]
    fn values_depend_on_seed_and_path() {
        let init = Init::Normal { std: 0.02 };
        let first = values(init, 1, "a");
        assert_eq!(first, values(init, 1, "a"));
        assert_ne!(first, values(init, 2, "a"));
        assert_ne!(first, values(init, 1, "b"));
    }

    #[test]
    fn the_spread_is_what_was_asked_for() {
        let std = |v: &[f32]| (v.iter().map(|x| x * x).sum::<f32>() / v.len() as f32).sqrt();
        assert!((std(&values(Init::Normal { std: 0.02 }, 1, "w")) - 0.02).abs() < 0.0005);
        assert!((std(&values(Init::residual(0.02, 8), 1, "w")) - 0.02 / 8f32.sqrt()).abs() < 0.0002);
        let uniform = values(Init::Uniform { bound: 0.5 }, 1, "w");
        assert!(uniform.iter().all(|x| (-0.5..0.5).contains(x)));
        assert!((std(&uniform) - 0.5 / 3f32.sqrt()).abs() < 0.005);
    }
}
