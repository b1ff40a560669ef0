//! From a graph to a list of steps with places in memory: what will run, in which order, on which buffers, at which cost.
//! Nothing is allocated here.
//!
//! The passes, in order: which products become one ([`join`]); which nodes become one, and which are cut into parts
//! ([`merge`]); which are needed ([`live`]); which element-wise nodes form one chain, and which chains become the epilogue of
//! another kernel ([`fuse`]); which outputs are written straight into a concatenation ([`place`]); the steps ([`emit`]); what is
//! kept in half precision ([`halve`]); which buffers can share memory ([`slots`]).

mod emit;
mod fuse;
mod halve;
mod join;
mod live;
mod merge;
mod place;
mod slots;

use std::rc::Rc;

use crate::dtype::DType;
use crate::graph::{Data, Graph};
use crate::ops::elementwise::Expr;
use crate::ops::prologue::POSSIBLE;
use crate::ops::{Op, Operands};
use crate::shape::{Layout, Shape};
use crate::tensor::Tensor;

/// What a plan must respect on the device it is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Fuse element-wise chains into the kernels before them.
    pub epilogues: bool,
    /// Merge operations where that saves a dispatch.
    pub merges: bool,
    /// Storage buffers that a kernel can bind.
    pub max_bindings: usize,
    /// A contiguous operand must start at a multiple of this many elements.
    pub alignment: usize,
}

impl Target {
    /// The CPU device: any start, no limit that matters, no epilogues (a second pass over a cached block costs little).
    pub const CPU: Target = Target { epilogues: false, merges: false, max_bindings: 32, alignment: 1 };
    /// WebGPU's default limits: 8 storage buffers, binding offsets in multiples of 256 bytes.
    pub const GPU: Target = Target { epilogues: true, merges: true, max_bindings: 8, alignment: 64 };
}

/// A compiled graph before memory is allocated.
pub struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) inputs: Vec<Port>,
    pub(crate) states: Vec<Port>,
    pub(crate) scalars: Vec<(String, DType)>,
    pub(crate) data: Vec<Rc<Data>>,
    pub(crate) outputs: Vec<(String, Operand)>,
}

/// A leaf that the host fills or binds.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub name: String,
    pub shape: Shape,
    pub dtype: DType,
}

impl Port {
    fn bytes(&self) -> u64 {
        self.shape.numel() as u64 * self.dtype.bytes() as u64
    }
}

/// Memory that values share one after another, whatever their type: all elements take four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub numel: usize,
}

impl Slot {
    fn bytes(&self) -> u64 {
        4 * self.numel as u64
    }
}

/// The buffer behind an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BufferId {
    /// A slot of the plan.
    Slot(usize),
    /// An input that the host writes.
    Input(usize),
    /// A persistent state.
    State(usize),
    /// A constant table.
    Data(usize),
    /// A value of the uniform block.
    Scalar(usize),
}

impl BufferId {
    /// The index within the uniform block, when the operand is a per-run scalar.
    pub fn scalar(self) -> Option<usize> {
        match self {
            BufferId::Scalar(k) => Some(k),
            _ => None,
        }
    }
}

/// A tensor as a step sees it: a buffer, and how the tensor lies in it.
#[derive(Clone, Debug)]
pub struct Operand {
    /// The buffer.
    pub buffer: BufferId,
    /// Shape, strides and start.
    pub layout: Layout,
    /// Element type.
    pub dtype: DType,
}

impl Operand {
    /// The extents.
    pub fn dims(&self) -> &[usize] {
        &self.layout.shape
    }

    /// Bytes that a kernel moves for it: each element once, broadcast ones not repeated.
    pub fn bytes(&self) -> u64 {
        let distinct: usize = self
            .layout
            .shape
            .iter()
            .zip(&self.layout.strides)
            .map(|(&n, &s)| if s == 0 { 1 } else { n })
            .product();
        distinct as u64 * self.dtype.bytes() as u64
    }
}

/// One kernel, or on the CPU one loop.
pub(crate) struct Step {
    pub work: Work,
    /// The operation's inputs, then those of the epilogue.
    pub inputs: Vec<Operand>,
    /// The operation's outputs, then what the epilogue keeps.
    pub outputs: Vec<Operand>,
    pub epilogue: Option<Epilogue>,
}

/// What a step computes.
#[derive(Clone)]
pub(crate) enum Work {
    Op(Rc<dyn Op>),
    Expr(Rc<Expr>),
}

/// An element-wise chain at the end of an operation's kernel.
pub(crate) struct Epilogue {
    pub expr: Expr,
    /// Where its operands begin among the step's inputs.
    pub first_input: usize,
    /// Whether the value before the chain is stored too, as the step's last output.
    pub keeps_input: bool,
}

/// What a program will need, known before anything is allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes of all buffers together: slots, inputs, constant tables and bound states.
    pub peak_bytes: u64,
    /// Of these, bytes in persistent states, which programs share.
    pub state_bytes: u64,
    /// Floating-point operations of one run.
    pub flops: u64,
    /// Bytes read and written by one run, counting each operand of each kernel once.
    pub bytes_moved: u64,
    /// Kernels of one run.
    pub dispatches: u64,
}

impl Plan {
    /// Plans the computation of `outputs` and of every in-place update of the graph.
    pub fn new(graph: &Graph, outputs: &[(&str, &Tensor)], target: Target) -> Plan {
        let mut record = graph.read().clone();
        if target.merges {
            if POSSIBLE.is_some() {
                join::join(&mut record, outputs);
            }
            merge::merge(&mut record, outputs);
            if POSSIBLE.is_some() {
                // What has become one node may have one reader less to ask.
                merge::merge(&mut record, outputs);
                merge::split(&mut record, outputs);
            }
        }
        let live = live::Live::new(&record, outputs);
        let fusion = fuse::Fusion::new(&record, &live, target);
        let places = place::Places::new(&record, &live, &fusion, target);
        let mut emitted = emit::emit(&record, &live, &fusion, &places, outputs, target);
        if record.halved {
            halve::halve(&mut emitted);
        }
        slots::assign(emitted)
    }

    /// The operation of a step by itself, so many times, without what is fused to its end: inputs and outputs, by their numbers,
    /// are buffers of their own.
    ///
    /// # Panics
    /// For a chain of element-wise operations.
    pub(crate) fn of_step(step: &Step, times: usize) -> Plan {
        assert!(matches!(step.work, Work::Op(_)), "a chain has one kernel");
        let count = step.epilogue.as_ref().map_or(step.inputs.len(), |e| e.first_input);
        let kept = step.epilogue.as_ref().is_some_and(|e| e.keeps_input) as usize;
        let own = |x: &Operand, buffer| {
            let offset = x.layout.offset % Target::GPU.alignment;
            Operand { buffer, layout: Layout { offset, ..x.layout.clone() }, dtype: x.dtype }
        };
        let inputs: Vec<Operand> =
            step.inputs[..count].iter().enumerate().map(|(i, x)| own(x, BufferId::Input(i))).collect();
        let results = &step.outputs[..step.outputs.len() - kept];
        let outputs: Vec<Operand> =
            results.iter().enumerate().map(|(k, y)| own(y, BufferId::Slot(k))).collect();
        let whole = |y: &Operand| Operand { layout: Layout::contiguous((y.layout.end(),)), ..y.clone() };
        let port = |(i, x): (usize, &Operand)| Port {
            name: i.to_string(),
            shape: (x.layout.end(),).into(),
            dtype: x.dtype,
        };
        let alone = |_| Step {
            work: step.work.clone(),
            inputs: inputs.clone(),
            outputs: outputs.clone(),
            epilogue: None,
        };
        Plan {
            steps: (0..times).map(alone).collect(),
            slots: outputs.iter().map(|y| Slot { numel: y.layout.end() }).collect(),
            inputs: inputs.iter().enumerate().map(port).collect(),
            states: Vec::new(),
            scalars: Vec::new(),
            data: Vec::new(),
            outputs: outputs.iter().enumerate().map(|(k, y)| (k.to_string(), whole(y))).collect(),
        }
    }

    /// What the program will need. Dispatches are counted by the steps; operations of several dispatches count each.
    pub fn cost(&self) -> Cost {
        let ports = |ports: &[Port]| ports.iter().map(Port::bytes).sum::<u64>();
        let slots: u64 = self.slots.iter().map(Slot::bytes).sum();
        let data: u64 = self.data.iter().map(|d| 4 * d.len() as u64).sum();
        let state_bytes = ports(&self.states);
        Cost {
            peak_bytes: slots + data + ports(&self.inputs) + state_bytes,
            state_bytes,
            flops: self.steps.iter().map(Step::flops).sum(),
            bytes_moved: self.steps.iter().map(Step::bytes).sum(),
            dispatches: self.steps.iter().map(Step::dispatches).sum(),
        }
    }

    /// Bytes of the largest buffer, which a device may limit more strictly than the sum of all.
    pub fn largest_buffer(&self) -> u64 {
        let slots = self.slots.iter().map(Slot::bytes);
        let ports = self.inputs.iter().chain(&self.states);
        slots.chain(ports.map(Port::bytes)).max().unwrap_or(0)
    }

    /// One line per step: what runs, on which shapes. For tests and for people who want to see the plan.
    pub fn describe(&self) -> Vec<String> {
        self.steps.iter().map(Step::describe).collect()
    }
}

impl Step {
    /// The operation's name, with its epilogue.
    pub fn label(&self) -> String {
        let name = match &self.work {
            Work::Op(op) => op.name().to_string(),
            Work::Expr(expr) => expr.label(),
        };
        match &self.epilogue {
            Some(e) => format!("{name}+{}", e.expr.label()),
            None => name,
        }
    }

    pub fn operands(&self) -> Operands<'_> {
        Operands { inputs: &self.inputs, outputs: &self.outputs }
    }

    /// Bytes read and written, each operand once.
    pub fn bytes(&self) -> u64 {
        self.inputs.iter().chain(&self.outputs).map(Operand::bytes).sum()
    }

    /// Floating-point operations.
    pub fn flops(&self) -> u64 {
        let numel = self.outputs.first().map_or(0, |y| y.layout.numel() as u64);
        let own = match &self.work {
            Work::Op(op) => op.flops(&self.operands()),
            Work::Expr(expr) => expr.flops() * numel,
        };
        own + self.epilogue.as_ref().map_or(0, |e| e.expr.flops() * numel)
    }

    fn dispatches(&self) -> u64 {
        match &self.work {
            Work::Op(op) => op.dispatches(&self.operands()),
            Work::Expr(_) => 1,
        }
    }

    fn describe(&self) -> String {
        let list = |operands: &[Operand]| {
            operands.iter().map(|o| format!("{:?}{}", o.buffer, o.layout.shape)).collect::<Vec<_>>().join(" ")
        };
        format!("{}: {} → {}", self.label(), list(&self.inputs), list(&self.outputs))
    }
}
