//! What happens to a row before it is multiplied by a matrix, in the product's kernel: on a GPU that takes less time than a
//! dispatch. Nobody records it: the planner puts it in the place of other operations.

use crate::autograd::Vjp;
use crate::cpu::{CpuIo, Real};
use crate::cpu_kernel;
use crate::ops::matmul::Product;
use crate::ops::norm_row::{self, Norm};
use crate::ops::parts_row::{self, Parts};
use crate::ops::quantized_row;
use crate::ops::{Bind, Dispatch, GpuIo, Op, Operands, Shader};
use crate::shape::Layout;
use crate::tensor::Tensor;

/// What a product of rows does to them first.
#[derive(Clone, Copy, Debug)]
pub enum Prologue {
    /// Normalises them.
    Norm(Norm),
    /// Adds up parts of an attention.
    Parts(Parts),
}

impl Prologue {
    /// Inputs that it reads: rows, and what is needed beside them.
    pub(super) fn inputs(&self) -> usize {
        match self {
            Prologue::Norm(norm) => 2 + norm.bias as usize,
            Prologue::Parts(_) => 2,
        }
    }

    /// Floating-point operations for each number of a row.
    pub(super) fn each(&self) -> u64 {
        match self {
            Prologue::Norm(norm) => {
                if norm.rms {
                    4
                } else {
                    8
                }
            }
            Prologue::Parts(parts) => 4 * parts.count as u64,
        }
    }

    /// Tells a product's kernel, whose own bindings are up to 3, what it needs to know.
    pub(super) fn prepare(&self, dispatch: &mut Dispatch) {
        match self {
            Prologue::Norm(norm) => norm.prepare(dispatch),
            Prologue::Parts(parts) => parts.prepare(dispatch),
        }
    }

    fn shader(&self) -> Shader {
        match self {
            Prologue::Norm(_) => norm_row::SHADER,
            Prologue::Parts(_) => parts_row::SHADER,
        }
    }

    /// Likewise for quantised weights.
    pub(super) fn quantized_shader(&self) -> Shader {
        match self {
            Prologue::Norm(_) => quantized_row::NORM_SHADER,
            Prologue::Parts(_) => quantized_row::PARTS_SHADER,
        }
    }
}

/// (what the prologue reads, b (1, K, N)) → the prologue's row times b (1, 1, N).
#[derive(Debug)]
pub(super) struct PreparedRow(pub Prologue);

impl Op for PreparedRow {
    fn name(&self) -> &'static str {
        self.0.shader().stem
    }
    fn grad(&self, _: &Vjp) -> Vec<Option<Tensor>> {
        unreachable!("only plans contain it")
    }
    fn flops(&self, io: &Operands) -> u64 {
        let k = io.inputs[self.0.inputs()].layout.shape[1] as u64;
        self.0.each() * k + 2 * k * io.outputs[0].layout.numel() as u64
    }
    fn strided_input(&self, i: usize) -> bool {
        i == self.0.inputs()
    }
    fn strided_output(&self, _: usize) -> bool {
        true
    }
    fn epilogue(&self) -> bool {
        true
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let b = self.0.inputs();
        let matrix = &io.inputs[b].layout;
        let row = Layout::contiguous((1, 1, matrix.shape[1]));
        let mut dispatch = Product::of(&row, matrix, &io.outputs[0].layout).row(self.0.shader());
        dispatch.bindings = vec![Bind::Input(0), Bind::Input(b), Bind::Output(0)];
        self.0.prepare(&mut dispatch);
        vec![dispatch]
    }
}

impl PreparedRow {
    fn run<F: Real>(&self, _: CpuIo<F>) {
        unreachable!("plans for the CPU do not contain it")
    }
}
