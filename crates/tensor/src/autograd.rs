//! Reverse-mode differentiation: appends the backward pass to the same graph.
//!
//! This file names no operation. It walks the nodes backwards and asks each for its vector–Jacobian product.
//!
//! Where tensors are marked by [`Tensor::checkpoint`], only those are kept: when the walk comes to a mark, the nodes between
//! it and the mark before are recorded again, and products are taken of these copies. Chen et al. 2016, "Training Deep Nets
//! with Sublinear Memory Cost", <https://arxiv.org/abs/1604.06174>. Recording order is execution order, so the copies run
//! just before they are read, and the planner leaves out those that nobody reads. Results are the same to the bit: a copy
//! is the same operation on the same values, and random numbers depend on nothing else either.

use crate::graph::{Graph, ValueId};
use crate::tensor::Tensor;

/// What an operation sees when it is differentiated: its inputs, its outputs, and the gradients `dy` of the outputs.
pub struct Vjp<'a> {
    inputs: &'a [Tensor],
    outputs: &'a [Tensor],
    dy: Vec<Option<Tensor>>,
    needs: Vec<bool>,
}

impl Vjp<'_> {
    /// Input `i`.
    pub fn x(&self, i: usize) -> &Tensor {
        &self.inputs[i]
    }

    /// Output `k`, as the forward pass computed it.
    pub fn y(&self, k: usize) -> &Tensor {
        &self.outputs[k]
    }

    /// The gradient of output `k`.
    ///
    /// # Panics
    /// When nothing depends on output `k`. An operation with one output is asked only when something does.
    #[track_caller]
    pub fn dy(&self, k: usize) -> &Tensor {
        self.dy[k].as_ref().expect("no gradient flows into this output")
    }

    /// The gradient of output `k`, or `None` when nothing depends on it.
    pub fn dy_opt(&self, k: usize) -> Option<&Tensor> {
        self.dy[k].as_ref()
    }

    /// Whether the gradient of input `i` is wanted by anybody.
    pub fn needs(&self, i: usize) -> bool {
        self.needs[i]
    }
}

impl Graph {
    /// Appends the gradient of the scalar `loss` with respect to each of `wrt`.
    ///
    /// A tensor that `loss` does not depend on gets zeros. What lies before a [checkpoint](Tensor::checkpoint) is computed
    /// again, from states as they are before any update.
    ///
    /// # Panics
    /// When `loss` has more than one element.
    #[track_caller]
    pub fn grad(&self, loss: &Tensor, wrt: &[&Tensor]) -> Vec<Tensor> {
        assert_eq!(loss.shape.numel(), 1, "grad: the loss must be one number, found shape {}", loss.shape);
        self.backward(loss, || self.constant(1.0).broadcast_to(&loss.shape), wrt)
    }

    /// Appends, for each of `wrt`, the gradient of a loss that depends on it through `y` alone and whose gradient with respect to
    /// `y` is `dy`: the product of a vector with the Jacobian. Otherwise as [`grad`](Self::grad).
    ///
    /// # Panics
    /// When `dy` has another shape than `y`.
    #[track_caller]
    pub fn vjp(&self, y: &Tensor, dy: &Tensor, wrt: &[&Tensor]) -> Vec<Tensor> {
        assert_eq!(y.shape, dy.shape, "vjp: a gradient has the shape of its tensor");
        self.backward(y, || dy.clone(), wrt)
    }

    fn backward(&self, y: &Tensor, dy: impl FnOnce() -> Tensor, wrt: &[&Tensor]) -> Vec<Tensor> {
        self.begin_backward();
        // 1. Which values depend on `wrt`? Only those carry a gradient.
        let n_nodes = self.read().nodes.len();
        let mut active = vec![false; self.read().values.len()];
        wrt.iter().for_each(|x| active[x.id.0] = true);
        for node in &self.read().nodes {
            if node.inputs.iter().any(|x| active[x.0]) {
                node.outputs.iter().for_each(|y| active[y.0] = true);
            }
        }
        // 2. Backwards over the nodes: each adds to the gradients of its inputs. What was not kept is computed again.
        let mut grads: Vec<Option<Tensor>> = vec![None; active.len()];
        grads[y.id.0] = Some(dy());
        let mut at_hand: Vec<ValueId> = (0..active.len()).map(ValueId).collect();
        let mut checkpoints = self.read().checkpoints.clone();
        for node in (0..n_nodes).rev() {
            if checkpoints.last() == Some(&node) {
                checkpoints.pop();
                let first = checkpoints.last().map_or(0, |before| before + 1);
                self.repeat(first..node, &mut at_hand);
            }
            self.backward_node(node, &active, &at_hand, &mut grads);
        }
        wrt.iter()
            .map(|x| grads[x.id.0].clone().unwrap_or_else(|| self.constant(0.0).broadcast_to(&x.shape)))
            .collect()
    }

    fn backward_node(&self, node: usize, active: &[bool], at_hand: &[ValueId], grads: &mut [Option<Tensor>]) {
        let (op, input_ids, output_ids) = {
            let record = self.read();
            let n = &record.nodes[node];
            (n.op.clone(), n.inputs.clone(), n.outputs.clone())
        };
        let dy: Vec<Option<Tensor>> = output_ids.iter().map(|y| grads[y.0].clone()).collect();
        let needs: Vec<bool> = input_ids.iter().map(|x| active[x.0]).collect();
        if !needs.contains(&true) || dy.iter().all(Option::is_none) {
            return;
        }
        let tensors = |ids: &[ValueId]| ids.iter().map(|&id| self.tensor(at_hand[id.0])).collect::<Vec<_>>();
        let (inputs, outputs) = (tensors(&input_ids), tensors(&output_ids));
        let dx = op.grad(&Vjp { inputs: &inputs, outputs: &outputs, dy, needs });
        assert_eq!(dx.len(), inputs.len(), "{}: gradient count differs from input count", op.name());
        for ((x, dx), id) in inputs.iter().zip(dx).zip(input_ids) {
            let Some(dx) = dx.filter(|_| active[id.0]) else { continue };
            assert_eq!(dx.shape, x.shape, "{}: a gradient's shape differs from its input's", op.name());
            let sum = match grads[id.0].take() {
                Some(old) => old + dx,
                None => dx,
            };
            grads[id.0] = Some(sum);
        }
    }
}
