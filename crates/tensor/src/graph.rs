//! The record: values and the nodes that compute them, in the order in which they were written.

use std::cell::{Ref, RefCell};
use std::ops::Range;
use std::rc::Rc;

use crate::dtype::DType;
use crate::ops::Op;
use crate::shape::{Layout, Shape};
use crate::tensor::Tensor;

/// A recording of tensor operations: symbolic, without data.
///
/// Cloning is cheap and yields the same graph. Recording order is execution order, so a node comes after everything
/// that it reads.
#[derive(Clone, Default)]
pub struct Graph(Rc<RefCell<Record>>);

/// Index of a value within its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) usize);

#[derive(Clone, Default)]
pub(crate) struct Record {
    pub values: Vec<Value>,
    pub nodes: Vec<Node>,
    /// Nodes whose outputs [`Tensor::checkpoint`] has marked.
    pub checkpoints: Vec<usize>,
    /// Nodes of the forward pass, once there is a backward pass behind them.
    pub forward: Option<usize>,
    /// Whether [`Graph::keep_halves`] was asked for.
    pub halved: bool,
}

/// One tensor of the graph: where it comes from, and how it lies in the buffer of `base`.
#[derive(Clone)]
pub(crate) struct Value {
    pub dtype: DType,
    /// Relative to the buffer of `base`.
    pub layout: Layout,
    /// The value that owns the buffer: itself, except for views.
    pub base: ValueId,
    pub source: Source,
    /// A name by which labs may ask for the value.
    pub probe: Option<String>,
}

/// Where a value comes from.
#[derive(Clone)]
pub(crate) enum Source {
    /// Written by the host before a run.
    Input(String),
    /// A persistent buffer, bound when the graph is compiled.
    State(String),
    /// One 32-bit value of the uniform block, written once a run.
    Scalar(String),
    /// A constant table, uploaded when the graph is compiled.
    Data(Rc<Data>),
    /// An output of a node.
    Node { node: usize },
}

impl Source {
    /// What the host binds or sets, and under which name.
    fn port(&self) -> Option<(&'static str, &str)> {
        match self {
            Source::Input(name) => Some(("input", name)),
            Source::State(name) => Some(("state", name)),
            Source::Scalar(name) => Some(("scalar", name)),
            Source::Data(_) | Source::Node { .. } => None,
        }
    }
}

/// Host data of either element type.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// f32 elements.
    F32(Vec<f32>),
    /// u32 elements.
    U32(Vec<u32>),
}

impl Data {
    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Data::F32(_) => DType::F32,
            Data::U32(_) => DType::U32,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Data::F32(v) => v.len(),
            Data::U32(v) => v.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as f32.
    ///
    /// # Panics
    /// When the data are u32.
    #[track_caller]
    pub fn f32(&self) -> &[f32] {
        match self {
            Data::F32(v) => v,
            Data::U32(_) => panic!("data are u32, expected f32"),
        }
    }

    /// The elements as u32.
    ///
    /// # Panics
    /// When the data are f32.
    #[track_caller]
    pub fn u32(&self) -> &[u32] {
        match self {
            Data::U32(v) => v,
            Data::F32(_) => panic!("data are f32, expected u32"),
        }
    }
}

impl From<Vec<f32>> for Data {
    fn from(v: Vec<f32>) -> Self {
        Data::F32(v)
    }
}

impl From<Vec<u32>> for Data {
    fn from(v: Vec<u32>) -> Self {
        Data::U32(v)
    }
}

/// One recorded operation.
#[derive(Clone)]
pub(crate) struct Node {
    pub op: Rc<dyn Op>,
    pub inputs: Vec<ValueId>,
    pub outputs: Vec<ValueId>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// A tensor that the host writes before a run, by `name`.
    #[track_caller]
    pub fn input(&self, name: &str, shape: impl Into<Shape>, dtype: DType) -> Tensor {
        self.leaf(Source::Input(name.into()), shape.into(), dtype)
    }

    /// A tensor in a persistent buffer (parameters, moments, cache), bound by `name` when the graph is compiled.
    #[track_caller]
    pub fn state(&self, name: &str, shape: impl Into<Shape>, dtype: DType) -> Tensor {
        self.leaf(Source::State(name.into()), shape.into(), dtype)
    }

    /// An f32 that the host sets before a run, by `name` (learning rate, temperature). Shape `()`.
    #[track_caller]
    pub fn scalar(&self, name: &str) -> Tensor {
        self.leaf(Source::Scalar(name.into()), Shape::from(()), DType::F32)
    }

    /// A u32 that the host sets before a run, by `name` (step, seed). Shape `()`.
    ///
    /// Operations receive all 32 bits of it; in element-wise arithmetic it is an f32, exact below 2²⁴.
    #[track_caller]
    pub fn scalar_u32(&self, name: &str) -> Tensor {
        self.leaf(Source::Scalar(name.into()), Shape::from(()), DType::U32)
    }

    /// A constant table (a mask, rotary angles), uploaded once.
    ///
    /// # Panics
    /// When `data` does not have as many elements as `shape`.
    #[track_caller]
    pub fn data(&self, shape: impl Into<Shape>, data: impl Into<Data>) -> Tensor {
        let (shape, data) = (shape.into(), data.into());
        assert_eq!(shape.numel(), data.len(), "data: shape {shape} needs {} elements", shape.numel());
        let dtype = data.dtype();
        self.leaf(Source::Data(Rc::new(data)), shape, dtype)
    }

    /// The tensor that was given this name by [`Tensor::named`], if any.
    pub fn probe(&self, name: &str) -> Option<Tensor> {
        let found = self.read().values.iter().position(|v| v.probe.as_deref() == Some(name))?;
        Some(self.tensor(ValueId(found)))
    }

    /// All names given by [`Tensor::named`], in recording order.
    pub fn probes(&self) -> Vec<String> {
        self.read().values.iter().filter_map(|v| v.probe.clone()).collect()
    }

    /// Keeps what the backward pass reads of the forward pass in half precision, while nobody reads it. Gradients are then
    /// those of activations that were rounded to 11 bits; sums, states and what is computed stay in f32.
    pub fn keep_halves(&self) {
        self.0.borrow_mut().halved = true;
    }

    /// Lengthens a one-dimensional state, so that parameters can be declared one after another.
    pub fn grow_state(&self, state: &Tensor, numel: usize) -> Tensor {
        self.0.borrow_mut().values[state.id.0].layout = Layout::contiguous((numel,));
        self.tensor(state.id)
    }

    /// Records an operation and returns its outputs, each of the given shape and element type.
    #[track_caller]
    pub fn record(&self, op: impl Op, inputs: &[&Tensor], outputs: &[(Shape, DType)]) -> Vec<Tensor> {
        self.push(Rc::new(op), inputs, outputs)
    }

    /// Apart from [`Graph::record`], so that it is compiled once, not for every operation.
    #[track_caller]
    #[inline(never)]
    fn push(&self, op: Rc<dyn Op>, inputs: &[&Tensor], outputs: &[(Shape, DType)]) -> Vec<Tensor> {
        for x in inputs {
            assert!(Rc::ptr_eq(&self.0, &x.graph.0), "{}: tensors of two graphs", op.name());
        }
        let mut record = self.0.borrow_mut();
        let node = record.nodes.len();
        let first = record.values.len();
        for (k, (shape, dtype)) in outputs.iter().enumerate() {
            record.values.push(Value {
                dtype: *dtype,
                layout: Layout::contiguous(shape),
                base: ValueId(first + k),
                source: Source::Node { node },
                probe: None,
            });
        }
        let ids: Vec<ValueId> = (first..first + outputs.len()).map(ValueId).collect();
        let inputs = inputs.iter().map(|x| x.id).collect();
        record.nodes.push(Node { op, inputs, outputs: ids.clone() });
        drop(record);
        ids.into_iter().map(|id| self.tensor(id)).collect()
    }

    /// Records `nodes` a second time; `again` says of each value which one stands for it by now.
    ///
    /// What they read is replaced likewise. An update in place is left alone: a state is not updated twice.
    pub(crate) fn repeat(&self, nodes: Range<usize>, again: &mut [ValueId]) {
        let Record { values, nodes: all, .. } = &mut *self.0.borrow_mut();
        for n in nodes {
            let Node { op, inputs, outputs } = &all[n];
            if !op.in_place().is_empty() {
                continue;
            }
            let (op, inputs) = (op.clone(), inputs.iter().map(|x| again[x.0]).collect());
            let mut copies = outputs.clone();
            for y in &mut copies {
                let Value { dtype, layout, base, .. } = &values[y.0];
                let (dtype, layout, base) = (*dtype, layout.clone(), base.0);
                let copy = ValueId(values.len());
                again[y.0] = copy;
                *y = copy;
                // A view goes on showing its base, or what stands for that by now.
                let (base, source) = (again[base], Source::Node { node: all.len() });
                values.push(Value { dtype, layout, base, source, probe: None });
            }
            all.push(Node { op, inputs, outputs: copies });
        }
    }

    pub(crate) fn mark_checkpoint(&self, id: ValueId) {
        let mut record = self.0.borrow_mut();
        if let Source::Node { node } = record.values[id.0].source {
            record.checkpoints.push(node);
        }
    }

    /// Records a view: another layout on the buffer of `x`.
    pub(crate) fn record_view(&self, op: impl Op, x: &Tensor, layout: Layout) -> Tensor {
        let y = self.record(op, &[x], &[(layout.shape.clone(), x.dtype)]).remove(0);
        let mut record = self.0.borrow_mut();
        let base = record.values[x.id.0].base;
        let value = &mut record.values[y.id.0];
        (value.base, value.layout) = (base, layout);
        drop(record);
        y
    }

    pub(crate) fn read(&self) -> Ref<'_, Record> {
        self.0.borrow()
    }

    pub(crate) fn begin_backward(&self) {
        let mut record = self.0.borrow_mut();
        let nodes = record.nodes.len();
        record.forward.get_or_insert(nodes);
    }

    pub(crate) fn set_probe(&self, id: ValueId, name: &str) {
        self.0.borrow_mut().values[id.0].probe = Some(name.into());
    }

    pub(crate) fn tensor(&self, id: ValueId) -> Tensor {
        let record = self.read();
        let value = &record.values[id.0];
        Tensor { graph: self.clone(), id, shape: value.layout.shape.clone(), dtype: value.dtype }
    }

    /// Asking for the same input, state or scalar again yields the tensor that is already there.
    #[track_caller]
    fn leaf(&self, source: Source, shape: Shape, dtype: DType) -> Tensor {
        let same = |v: &Value| v.source.port().is_some_and(|port| Some(port) == source.port());
        if let Some(known) = self.read().values.iter().position(same).map(ValueId) {
            let known = self.tensor(known);
            let (kind, name) = source.port().expect("found by it");
            assert!(
                known.shape == shape && known.dtype == dtype,
                "{kind} {name:?}: recorded as {} of {}, and again as {shape} of {dtype}",
                known.shape,
                known.dtype
            );
            return known;
        }
        let mut record = self.0.borrow_mut();
        let id = ValueId(record.values.len());
        record.values.push(Value { dtype, layout: Layout::contiguous(shape), base: id, source, probe: None });
        drop(record);
        self.tensor(id)
    }
}
