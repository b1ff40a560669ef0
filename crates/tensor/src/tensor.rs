//! A symbolic tensor, and the operators that Rust has a sign for. All other methods stand beside their operations in
//! [`crate::ops`].

use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::dtype::DType;
use crate::graph::{Graph, ValueId};
use crate::shape::{Layout, Shape};

/// A symbolic tensor: a place in a [`Graph`], with a shape and an element type, but no data.
///
/// A wrong shape is a bug in the caller: methods panic at the caller's line and name the operation and the shapes.
#[derive(Clone)]
pub struct Tensor {
    pub(crate) graph: Graph,
    pub(crate) id: ValueId,
    pub(crate) shape: Shape,
    pub(crate) dtype: DType,
}

impl Tensor {
    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The extents, for destructuring: `let &[b, t, c] = x.dims() else { … }`.
    pub fn dims(&self) -> &[usize] {
        &self.shape
    }

    /// The extent of dimension `d`.
    #[track_caller]
    pub fn dim(&self, d: usize) -> usize {
        self.shape[d]
    }

    /// The extent of the last dimension.
    ///
    /// # Panics
    /// For a scalar.
    #[track_caller]
    pub fn last_dim(&self) -> usize {
        *self.shape.last().expect("last_dim: the tensor is a scalar ()")
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The graph that the tensor is recorded in.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Names the tensor, so that a probe can ask for it when the graph is compiled. Costs nothing until then.
    pub fn named(self, name: &str) -> Tensor {
        self.graph.set_probe(self.id, name);
        self
    }

    /// Marks the tensor as one to keep for the backward pass, in place of all that lies between it and the mark before it:
    /// [`Graph::grad`] computes that again. For the end of each block of a model,
    /// in the order of the blocks.
    pub fn checkpoint(self) -> Tensor {
        self.graph.mark_checkpoint(self.id);
        self
    }

    /// How the tensor lies in its buffer.
    pub(crate) fn layout(&self) -> Layout {
        self.graph.read().values[self.id.0].layout.clone()
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor #{} {} {}", self.id.0, self.shape, self.dtype)
    }
}

/// Implements a binary operator for owned and borrowed tensors and for numbers on the right.
macro_rules! operator {
    ($trait:ident, $method:ident, $call:ident) => {
        impl $trait<&Tensor> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor {
                Tensor::$call(self, other)
            }
        }
        impl $trait<Tensor> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor {
                Tensor::$call(self, &other)
            }
        }
        impl $trait<&Tensor> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor {
                Tensor::$call(&self, other)
            }
        }
        impl $trait<Tensor> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor {
                Tensor::$call(&self, &other)
            }
        }
        impl $trait<f64> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: f64) -> Tensor {
                Tensor::$call(self, &self.graph.constant(other))
            }
        }
        impl $trait<f64> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: f64) -> Tensor {
                Tensor::$call(&self, &self.graph.constant(other))
            }
        }
        impl $trait<&Tensor> for f64 {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor {
                Tensor::$call(&other.graph.constant(self), other)
            }
        }
        impl $trait<Tensor> for f64 {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor {
                Tensor::$call(&other.graph.constant(self), &other)
            }
        }
    };
}
operator!(Add, add, plus);
operator!(Sub, sub, minus);
operator!(Mul, mul, times);
operator!(Div, div, over);

impl Neg for &Tensor {
    type Output = Tensor;
    fn neg(self) -> Tensor {
        self * -1.0
    }
}

impl Neg for Tensor {
    type Output = Tensor;
    fn neg(self) -> Tensor {
        &self * -1.0
    }
}
