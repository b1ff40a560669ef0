//! Writes the steps, in recording order, on virtual buffers: one for each value that is not placed elsewhere.

use std::rc::Rc;

use super::fuse::{Chain, Fusion};
use super::live::Live;
use super::place::Places;
use super::{BufferId, Epilogue, Operand, Port, Step, Target, Work};
use crate::dtype::DType;
use crate::graph::{Data, Record, Source, ValueId};
use crate::ops::elementwise::{Expr, Instr};
use crate::shape::Layout;
use crate::tensor::Tensor;

/// Steps on virtual buffers. [`super::slots::assign`] turns these into slots.
#[derive(Default)]
pub(super) struct Emitted {
    pub steps: Vec<Step>,
    /// The first step of the backward pass, where there is one.
    pub backward: Option<usize>,
    pub buffers: Vec<Virtual>,
    pub inputs: Vec<Port>,
    pub states: Vec<Port>,
    pub scalars: Vec<(String, DType)>,
    pub data: Vec<Rc<Data>>,
    pub outputs: Vec<(String, Operand)>,
}

/// A buffer of its own, before memory is shared.
pub(super) struct Virtual {
    pub numel: usize,
    pub dtype: DType,
    /// Zeroed once and never shared.
    pub dedicated: bool,
}

struct Emitter<'a> {
    record: &'a Record,
    places: &'a Places,
    target: Target,
    out: Emitted,
    /// By value that owns a buffer: where it lies.
    at: Vec<Option<(BufferId, Layout)>>,
}

pub(super) fn emit(
    record: &Record,
    live: &Live,
    fusion: &Fusion,
    places: &Places,
    outputs: &[(&str, &Tensor)],
    target: Target,
) -> Emitted {
    let at = vec![None; record.values.len()];
    let mut emitter = Emitter { record, places, target, out: Emitted::default(), at };
    for n in (0..record.nodes.len()).filter(|&n| live.runs[n]) {
        let in_a_chain = record.nodes[n].op.element().is_some() && fusion.chains[n].is_none();
        if in_a_chain || fusion.hosted[n] {
            continue;
        }
        if record.forward.is_some_and(|nodes| n >= nodes) {
            emitter.out.backward.get_or_insert(emitter.out.steps.len());
        }
        match (&fusion.chains[n], &places.copies[n]) {
            (Some(chain), _) => emitter.chain(fusion, chain, n),
            (None, Some(copies)) => {
                copies.iter().for_each(|(x, part)| emitter.copy_into(*x, record.nodes[n].outputs[0], part))
            }
            (None, None) => emitter.node(n),
        }
    }
    for (name, y) in outputs {
        // The host reads, and logs, elements side by side.
        let operand = match emitter.operand(y.id) {
            apart if !apart.layout.is_contiguous() => emitter.contiguous(apart),
            operand => operand,
        };
        emitter.out.outputs.push((name.to_string(), operand));
    }
    emitter.out
}

impl Emitter<'_> {
    /// A plain operation.
    fn node(&mut self, n: usize) {
        let node = &self.record.nodes[n];
        let op = node.op.clone();
        let inputs: Vec<Operand> =
            (0..node.inputs.len()).map(|i| self.input(&*op, i, node.inputs[i])).collect();
        for &(output, input) in op.in_place() {
            let base = self.record.values[node.inputs[input].0].base;
            let view = self.record.values[node.inputs[input].0].layout.clone();
            let (buffer, _) = self.locate(base);
            self.at[node.outputs[output].0] = Some((buffer, view));
        }
        let outputs = node.outputs.iter().map(|&y| self.operand(y)).collect();
        self.out.steps.push(Step { work: Work::Op(op), inputs, outputs, epilogue: None });
    }

    /// A chain of element-wise nodes, by itself or at the end of its host.
    fn chain(&mut self, fusion: &Fusion, chain: &Chain, root: usize) {
        let loads = fusion.loads(self.record, root);
        let expr = fusion.expr(self.record, root);
        let y = self.record.nodes[root].outputs[0];
        let operands: Vec<Operand> = loads.iter().map(|&x| self.operand(x)).collect();
        let Some((host, value)) = chain.host else {
            let outputs = vec![self.operand(y)];
            self.out.steps.push(Step {
                work: Work::Expr(Rc::new(expr)),
                inputs: operands,
                outputs,
                epilogue: None,
            });
            return;
        };
        let node = &self.record.nodes[host];
        let op = node.op.clone();
        let mut inputs: Vec<Operand> =
            (0..node.inputs.len()).map(|i| self.input(&*op, i, node.inputs[i])).collect();
        let epilogue = Epilogue { expr, first_input: inputs.len(), keeps_input: chain.keeps_input };
        inputs.extend(operands);
        // The chain's result takes the place of output 0, in the shape that the operation gives it.
        let mut result = self.operand(y);
        let shape = &self.record.values[value.0].layout.shape;
        result.layout = result.layout.reshape(shape).expect("a chain's result has its host's shape");
        let mut outputs = vec![result];
        outputs.extend(node.outputs[1..].iter().map(|&y| self.operand(y)));
        if chain.keeps_input {
            outputs.push(self.operand(value));
        }
        self.out.steps.push(Step { work: Work::Op(op), inputs, outputs, epilogue: Some(epilogue) });
    }

    /// An input as the operation can read it: copied first when it lies in a way that the operation cannot follow.
    fn input(&mut self, op: &dyn crate::ops::Op, i: usize, x: ValueId) -> Operand {
        let operand = self.operand(x);
        let aligned =
            operand.layout.is_contiguous() && operand.layout.offset.is_multiple_of(self.target.alignment);
        if aligned || op.strided_input(i) || operand.buffer.scalar().is_some() {
            return operand;
        }
        self.contiguous(operand)
    }

    /// A copy whose elements lie side by side.
    fn contiguous(&mut self, operand: Operand) -> Operand {
        let copy = Operand {
            buffer: self.virtual_buffer(operand.layout.numel(), operand.dtype, false),
            layout: Layout::contiguous(&operand.layout.shape),
            dtype: operand.dtype,
        };
        self.copy(operand, copy.clone());
        copy
    }

    fn copy_into(&mut self, x: ValueId, whole: ValueId, part: &Layout) {
        let from = self.operand(x);
        let (buffer, _) = self.locate(whole);
        let dtype = from.dtype;
        let layout = part.clone();
        self.copy(from, Operand { buffer, layout, dtype });
    }

    fn copy(&mut self, from: Operand, to: Operand) {
        let work = Work::Expr(Rc::new(Expr { code: vec![Instr::Load(0)] }));
        self.out.steps.push(Step { work, inputs: vec![from], outputs: vec![to], epilogue: None });
    }

    /// Where a value, which may be a view, lies.
    fn operand(&mut self, x: ValueId) -> Operand {
        let value = &self.record.values[x.0];
        let (buffer, base) = self.locate(value.base);
        // A view is a layout on its base's own elements; the base itself may start anywhere.
        let layout = match x == value.base {
            true => base,
            false => {
                assert!(base.is_contiguous(), "views of placed values are read by their concatenation only");
                Layout { offset: base.offset + value.layout.offset, ..value.layout.clone() }
            }
        };
        Operand { buffer, layout, dtype: value.dtype }
    }

    /// The buffer of a value that owns one, and the value's layout in it.
    fn locate(&mut self, base: ValueId) -> (BufferId, Layout) {
        if let Some(found) = &self.at[base.0] {
            return found.clone();
        }
        let value = &self.record.values[base.0];
        let layout = value.layout.clone();
        let (numel, dtype) = (layout.numel(), value.dtype);
        let port = |name: &String| Port { name: name.clone(), shape: layout.shape.clone(), dtype };
        let found = match (&value.source, &self.places.inside[base.0]) {
            (Source::Input(name), _) => {
                self.out.inputs.push(port(name));
                (BufferId::Input(self.out.inputs.len() - 1), layout)
            }
            (Source::State(name), _) => {
                self.out.states.push(port(name));
                (BufferId::State(self.out.states.len() - 1), layout)
            }
            (Source::Scalar(name), _) => {
                self.out.scalars.push((name.clone(), dtype));
                (BufferId::Scalar(self.out.scalars.len() - 1), layout)
            }
            (Source::Data(data), _) => {
                self.out.data.push(data.clone());
                (BufferId::Data(self.out.data.len() - 1), layout)
            }
            (Source::Node { .. }, Some((whole, part))) => {
                let (whole, part) = (*whole, part.clone());
                (self.locate(whole).0, part)
            }
            (Source::Node { .. }, None) => {
                (self.virtual_buffer(numel, dtype, self.places.gaps.contains(&base)), layout)
            }
        };
        self.at[base.0] = Some(found.clone());
        found
    }

    fn virtual_buffer(&mut self, numel: usize, dtype: DType, dedicated: bool) -> BufferId {
        self.out.buffers.push(Virtual { numel, dtype, dedicated });
        BufferId::Slot(self.out.buffers.len() - 1)
    }
}
