//! Dropout, with random bits that are a function of seed, step and place.

use std::cell::Cell;
use std::rc::Rc;

use cloche_tensor::{Graph, Tensor};

/// Where a model drops activations, or not: see [`Dropout::train`] and [`Dropout::off`].
///
/// Each place of a model draws from a stream of its own, numbered in recording order. The masks depend on the per-run
/// scalars `seed` and `step`, so a resumed run draws the masks that an uninterrupted one would have drawn. Srivastava et
/// al. 2014, <https://jmlr.org/papers/v15/srivastava14a.html>; what is kept is scaled by 1 / (1 − p).
#[derive(Clone, Default)]
pub struct Dropout(Option<Source>);

#[derive(Clone)]
struct Source {
    graph: Graph,
    p: f32,
    next_stream: Rc<Cell<u32>>,
}

impl Dropout {
    /// No dropout: evaluation and generation.
    pub fn off() -> Self {
        Self::default()
    }

    /// Drops a share `p` of what it is applied to; with `p` = 0 nothing is recorded.
    pub fn train(graph: &Graph, p: f32) -> Self {
        Dropout(Some(Source { graph: graph.clone(), p, next_stream: Rc::default() }))
    }

    /// The same in training or not, with another share. Places of both draw from different streams.
    pub fn with_share(&self, p: f32) -> Self {
        Dropout(self.0.as_ref().map(|source| Source { p, ..source.clone() }))
    }

    /// `x` with the share `p` of its elements at 0. Same shape.
    pub fn apply(&self, x: Tensor) -> Tensor {
        let Some(Source { graph, p, next_stream }) = self.0.as_ref().filter(|s| s.p > 0.0) else { return x };
        let stream = next_stream.replace(next_stream.get() + 1);
        x.dropout(*p as f64, &graph.scalar_u32("seed"), &graph.scalar_u32("step"), stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloche_tensor::{DType, Device};

    fn masks(seed: u32, step: u32) -> [Vec<f32>; 2] {
        let graph = Graph::new();
        let dropout = Dropout::train(&graph, 0.25);
        let x = graph.input("x", (1000,), DType::F32);
        let (a, b) = (dropout.apply(x.clone()), dropout.apply(x));
        let mut program = Device::cpu().compile(&graph, &[("a", &a), ("b", &b)], &[]).unwrap();
        program.write("x", &vec![3.0f32; 1000]);
        program.set_u32("seed", seed);
        program.set_u32("step", step);
        program.run();
        ["a", "b"].map(|name| pollster::block_on(program.read(name)).unwrap().f32().to_vec())
    }

    #[test]
    fn places_steps_and_seeds_draw_masks_of_their_own() {
        let [a, b] = masks(1, 1);
        assert!(a.iter().all(|&x| x == 0.0 || x == 4.0));
        let dropped = a.iter().filter(|&&x| x == 0.0).count();
        assert!((200..300).contains(&dropped), "{dropped} of 1000, expected about 250");
        assert_ne!(a, b);
        assert_ne!(a, masks(1, 2)[0]);
        assert_ne!(a, masks(2, 1)[0]);
        assert_eq!(a, masks(1, 1)[0]);
    }

    #[test]
    fn another_share_draws_from_streams_of_its_own() {
        let graph = Graph::new();
        let off = Dropout::train(&graph, 0.0);
        let half = off.with_share(0.5);
        let x = graph.input("x", (1000,), DType::F32);
        let (a, b) = (half.apply(x.clone()), half.with_share(0.5).apply(x));
        let mut program = Device::cpu().compile(&graph, &[("a", &a), ("b", &b)], &[]).unwrap();
        program.write("x", &vec![1.0f32; 1000]);
        program.run();
        let [a, b] = ["a", "b"].map(|name| pollster::block_on(program.read(name)).unwrap().f32().to_vec());
        let both = a.iter().zip(&b).filter(|(a, b)| **a > 0.0 && **b > 0.0).count();
        assert!((200..300).contains(&both), "{both} of 1000 kept by both, expected about 250");
        assert!(Dropout::off().with_share(0.5).0.is_none());
    }

    #[test]
    fn without_dropout_nothing_is_recorded() {
        let graph = Graph::new();
        let x = graph.input("x", (8,), DType::F32);
        let before = format!("{x:?}");
        assert_eq!(format!("{:?}", Dropout::off().apply(x.clone())), before);
        assert_eq!(format!("{:?}", Dropout::train(&graph, 0.0).apply(x)), before);
    }
}
