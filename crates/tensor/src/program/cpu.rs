//! Runs a plan on the CPU.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use cloche_gpu::{Profile, Timing};
use web_time::Instant;

use super::{Elements, LOG_RUNS, logged};
use crate::cpu::{CpuIn, CpuIo, CpuOut, HAS_F64, Real, run_among_threads, run_expr};
use crate::dtype::DType;
use crate::graph::Data;
use crate::ops::Op;
use crate::plan::{BufferId, Operand, Plan, Work};
use crate::shape::Layout;

/// Memory of one slot, input, table or state.
pub(crate) enum CpuBuffer<F> {
    Float(UnsafeCell<Vec<F>>),
    Uint(UnsafeCell<Vec<u32>>),
}

impl<F: Real> CpuBuffer<F> {
    pub fn new(numel: usize, dtype: DType) -> Self {
        match dtype {
            DType::F32 => CpuBuffer::Float(vec![F::ZERO; numel].into()),
            DType::U32 => CpuBuffer::Uint(vec![0; numel].into()),
        }
    }

    pub fn write<'a>(&self, data: impl Into<Elements<'a>>) {
        // SAFETY: programs and states are not `Sync`, and no slice outlives a call (see `CpuProgram::step`).
        match (self, data.into()) {
            (CpuBuffer::Float(cell), Elements::F32(v)) => {
                let to = unsafe { &mut *cell.get() };
                to.iter_mut().zip(v).for_each(|(a, &b)| *a = F::of(b as f64));
            }
            (CpuBuffer::Uint(cell), Elements::U32(v)) => {
                let to = unsafe { &mut *cell.get() };
                to[..v.len()].copy_from_slice(v);
            }
            _ => panic!("data of another element type"),
        }
    }

    pub fn read(&self, dtype: DType, start: usize, numel: usize) -> Data {
        let part = start..start + numel;
        // SAFETY: as in `write`.
        match dtype {
            DType::F32 => {
                let part = unsafe { &*slice(self.floats(), part) };
                Data::F32(part.iter().map(|x| x.f64() as f32).collect())
            }
            DType::U32 => Data::U32(unsafe { &*slice(self.ids(), part) }.to_vec()),
        }
    }

    /// The elements as floats.
    fn floats(&self) -> *mut [F] {
        match self {
            CpuBuffer::Float(cell) => elements(cell),
            CpuBuffer::Uint(_) => panic!("the buffer holds whole numbers"),
        }
    }

    /// The elements as whole numbers. A slot, which values of both types use one after another, is memory for floats: none is
    /// shorter than a u32 or less aligned, and any bits are a number of either type.
    fn ids(&self) -> *mut [u32] {
        match self {
            CpuBuffer::Float(_) => {
                let memory = self.floats();
                std::ptr::slice_from_raw_parts_mut(memory.cast(), memory.len())
            }
            CpuBuffer::Uint(cell) => elements(cell),
        }
    }
}

/// What a vector holds, without a reference to it all: slices of other parts may be in use.
fn elements<T>(cell: &UnsafeCell<Vec<T>>) -> *mut [T] {
    // SAFETY: no vector grows, and nobody has a reference to one while this does.
    let memory = unsafe { &mut *cell.get() };
    std::ptr::slice_from_raw_parts_mut(memory.as_mut_ptr(), memory.len())
}

/// A part of it.
fn slice<T>(memory: *mut [T], part: Range<usize>) -> *mut [T] {
    assert!(part.start <= part.end && part.end <= memory.len(), "a part of another buffer");
    // SAFETY: it lies inside.
    let start = unsafe { memory.cast::<T>().add(part.start) };
    std::ptr::slice_from_raw_parts_mut(start, part.len())
}

/// A plan with memory, in elements of `F`.
pub(crate) struct CpuProgram<F> {
    steps: Vec<CpuStep<F>>,
    inputs: Vec<Rc<CpuBuffer<F>>>,
    buffers: Buffers<F>,
    scalars: Vec<u32>,
    logged: Vec<Operand>,
    log: VecDeque<Vec<Data>>,
}

struct Buffers<F> {
    slots: Vec<Rc<CpuBuffer<F>>>,
    inputs: Vec<Rc<CpuBuffer<F>>>,
    states: Vec<Rc<CpuBuffer<F>>>,
    data: Vec<Rc<CpuBuffer<F>>>,
}

impl<F> Buffers<F> {
    fn get(&self, id: BufferId) -> &Rc<CpuBuffer<F>> {
        match id {
            BufferId::Slot(i) => &self.slots[i],
            BufferId::Input(i) => &self.inputs[i],
            BufferId::State(i) => &self.states[i],
            BufferId::Data(i) => &self.data[i],
            BufferId::Scalar(_) => unreachable!("scalars have no buffer"),
        }
    }
}

struct CpuStep<F> {
    work: Work,
    inputs: Vec<Source<F>>,
    outputs: Vec<Place<F>>,
}

/// A part of a buffer, with the layout relative to the part.
struct Place<F> {
    buffer: Rc<CpuBuffer<F>>,
    start: usize,
    end: usize,
    layout: Layout,
    dtype: DType,
}

enum Source<F> {
    Tensor(Place<F>),
    Scalar { k: usize, dtype: DType },
    InPlace(Layout),
}

impl<F: Real> CpuProgram<F> {
    pub fn new(plan: &Plan, states: Vec<Rc<CpuBuffer<F>>>) -> Self {
        let buffers = Buffers {
            slots: plan.slots.iter().map(|s| Rc::new(CpuBuffer::new(s.numel, DType::F32))).collect(),
            inputs: plan.inputs.iter().map(|p| Rc::new(CpuBuffer::new(p.shape.numel(), p.dtype))).collect(),
            states,
            data: plan.data.iter().map(|d| Rc::new(CpuBuffer::new(d.len(), d.dtype()))).collect(),
        };
        buffers.data.iter().zip(&plan.data).for_each(|(buffer, data)| buffer.write(&**data));
        let steps = plan.steps.iter().map(|s| prepare(&buffers, &s.work, &s.inputs, &s.outputs)).collect();
        CpuProgram {
            steps,
            inputs: buffers.inputs.clone(),
            scalars: vec![0; plan.scalars.len()],
            buffers,
            logged: logged(&plan.outputs),
            log: VecDeque::new(),
        }
    }

    pub fn write(&mut self, input: usize, data: Elements) {
        self.inputs[input].write(data);
    }

    pub fn set(&mut self, k: usize, bits: u32) {
        self.scalars[k] = bits;
    }

    pub fn read(&self, operand: &Operand) -> Data {
        match operand.buffer {
            BufferId::Scalar(k) => Data::F32(vec![f32::from_bits(self.scalars[k])]),
            id => self.buffers.get(id).read(operand.dtype, operand.layout.offset, operand.layout.numel()),
        }
    }

    /// Reads a float output without rounding it to f32.
    pub fn read_exact(&self, operand: &Operand) -> Vec<f64> {
        assert!(operand.dtype == DType::F32, "the output is u32");
        // SAFETY: as in `CpuBuffer::write`.
        let whole = unsafe { &*self.buffers.get(operand.buffer).floats() };
        whole[operand.layout.offset..operand.layout.end()].iter().map(|x| x.f64()).collect()
    }

    pub fn drain(&mut self) -> Vec<Vec<Data>> {
        std::mem::take(&mut self.log).into()
    }
}

/// The two element types for which expressions have code.
pub(crate) trait Runs: Real {
    fn op(op: &dyn Op, io: CpuIo<Self>);
    fn expr(expr: &crate::ops::elementwise::Expr, inputs: &[CpuIn<Self>], output: CpuOut<Self>);
}

impl Runs for f32 {
    fn op(op: &dyn Op, io: CpuIo<f32>) {
        op.cpu_f32(io)
    }
    fn expr(expr: &crate::ops::elementwise::Expr, inputs: &[CpuIn<f32>], output: CpuOut<f32>) {
        run_expr(expr, inputs, output)
    }
}

impl Runs for f64 {
    fn op(op: &dyn Op, io: CpuIo<f64>) {
        op.cpu_f64(io)
    }
    fn expr(expr: &crate::ops::elementwise::Expr, inputs: &[CpuIn<f64>], output: CpuOut<f64>) {
        if HAS_F64 {
            run_expr(expr, inputs, output)
        }
    }
}

impl<F: Runs> CpuProgram<F> {
    /// Runs all steps, which together do so many operations.
    pub fn run(&mut self, flops: u64) {
        // SAFETY: no step keeps anything of the thread that runs it.
        unsafe { run_among_threads(flops, || self.steps.iter().for_each(|step| self.step(step))) };
        self.append_to_log();
    }

    /// Runs with a clock; `labels` names the steps.
    pub fn profile(&mut self, flops: u64, labels: &[String]) -> Profile {
        let began = Instant::now();
        let timing = |(step, label): (&CpuStep<F>, &String)| {
            let began = Instant::now();
            self.step(step);
            Timing { label: label.clone(), count: 1, seconds: began.elapsed().as_secs_f64() }
        };
        let mut timings = Vec::new();
        // SAFETY: as in `run`.
        unsafe { run_among_threads(flops, || timings.extend(self.steps.iter().zip(labels).map(timing))) };
        let wall_seconds = began.elapsed().as_secs_f64();
        self.append_to_log();
        Profile { timings, wall_seconds }
    }

    fn append_to_log(&mut self) {
        if !self.logged.is_empty() {
            let row = self.logged.iter().map(|y| self.read(y)).collect();
            self.log.push_back(row);
            if self.log.len() > LOG_RUNS {
                self.log.pop_front();
            }
        }
    }

    fn step(&self, step: &CpuStep<F>) {
        // SAFETY (of `input` and `output`): the planner never gives a step one buffer for reading and for writing, except
        // for updates in place, which are passed as outputs only; two outputs of a step are disjoint parts. The slices
        // end with this call.
        let inputs: Vec<CpuIn<F>> = step.inputs.iter().map(|x| self.input(x, &step.work)).collect();
        let mut outputs: Vec<CpuOut<F>> = step.outputs.iter().map(|y| unsafe { y.output() }).collect();
        match &step.work {
            Work::Op(op) => F::op(&**op, CpuIo::new(inputs, outputs)),
            Work::Expr(expr) => F::expr(expr, &inputs, outputs.remove(0)),
        }
    }

    fn input<'a>(&self, source: &'a Source<F>, work: &Work) -> CpuIn<'a, F> {
        match source {
            Source::Tensor(place) => unsafe { place.input() },
            Source::InPlace(layout) => CpuIn::InPlace(layout),
            Source::Scalar { k, dtype } => match (work, dtype) {
                (Work::Expr(_), DType::U32) => CpuIn::Scalar((self.scalars[*k] as f32).to_bits()),
                _ => CpuIn::Scalar(self.scalars[*k]),
            },
        }
    }
}

impl<F: Real> Place<F> {
    /// # Safety
    /// No mutable slice of this part exists meanwhile.
    unsafe fn input(&self) -> CpuIn<'_, F> {
        let part = self.start..self.end;
        match self.dtype {
            DType::F32 => CpuIn::Float(unsafe { &*slice(self.buffer.floats(), part) }, &self.layout),
            DType::U32 => CpuIn::Uint(unsafe { &*slice(self.buffer.ids(), part) }, &self.layout),
        }
    }

    /// # Safety
    /// No other slice of this part exists meanwhile.
    unsafe fn output(&self) -> CpuOut<'_, F> {
        let part = self.start..self.end;
        match self.dtype {
            DType::F32 => CpuOut::Float(unsafe { &mut *slice(self.buffer.floats(), part) }, &self.layout),
            DType::U32 => CpuOut::Uint(unsafe { &mut *slice(self.buffer.ids(), part) }, &self.layout),
        }
    }
}

fn prepare<F: Real>(
    buffers: &Buffers<F>,
    work: &Work,
    inputs: &[Operand],
    outputs: &[Operand],
) -> CpuStep<F> {
    let place = |operand: &Operand| Place {
        buffer: buffers.get(operand.buffer).clone(),
        start: operand.layout.offset,
        end: operand.layout.end(),
        layout: Layout { offset: 0, ..operand.layout.clone() },
        dtype: operand.dtype,
    };
    let updated: &[(usize, usize)] = if let Work::Op(op) = work { op.in_place() } else { &[] };
    let source = |(i, operand): (usize, &Operand)| match operand.buffer {
        BufferId::Scalar(k) => Source::Scalar { k, dtype: operand.dtype },
        _ if updated.iter().any(|&(_, input)| input == i) => Source::InPlace(place(operand).layout),
        _ => Source::Tensor(place(operand)),
    };
    CpuStep {
        work: work.clone(),
        inputs: inputs.iter().enumerate().map(source).collect(),
        outputs: outputs.iter().map(place).collect(),
    }
}
