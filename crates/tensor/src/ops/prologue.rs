//! What happens to a row before it is multiplied by a matrix, or before an attention reads it, in the same kernel: on a GPU that
//! takes less time than a dispatch. Nobody records it: the planner puts it in the place of other operations.

use crate::autograd::Vjp;
use crate::cpu::{CpuIo, Real};
use crate::cpu_kernel;
use crate::ops::gated_row;
use crate::ops::matmul::Product;
use crate::ops::norm_row::{self, Norm};
use crate::ops::parts_row::{self, Parts};
use crate::ops::quantized_row;
use crate::ops::{Bind, Dispatch, GpuIo, Op, Operands, Shader};
use crate::shape::Layout;
use crate::tensor::Tensor;

/// What a kernel does to the rows that it reads first.
#[derive(Clone, Copy, Debug)]
pub enum Prologue {
    /// Normalises them: products.
    Norm(Norm),
    /// Adds up parts of an attention: products.
    Parts(Parts),
    /// SiLU of the first half of a row times the second: products.
    Gated {
        /// From a number to what it gates.
        apart: usize,
        /// For the compiler.
        possible: Possible,
    },
    /// Turns the first heads by their token's position (see [`Tensor::rope_heads`]): the newest token's attention.
    Turned {
        /// So many.
        rotated: usize,
        /// For the compiler.
        possible: Possible,
    },
}

/// Proof that a token is decoded in as few kernels as can be. A page that only trains has no use for it, and there is none there:
/// then the compiler leaves out all that contains one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Possible {
    #[cfg(any(not(target_arch = "wasm32"), feature = "few"))]
    /// It is.
    Yes,
}

/// The proof, if there is one.
pub(crate) const POSSIBLE: Option<Possible> = {
    #[cfg(any(not(target_arch = "wasm32"), feature = "few"))]
    {
        Some(Possible::Yes)
    }
    #[cfg(all(target_arch = "wasm32", not(feature = "few")))]
    {
        None
    }
};

impl Prologue {
    /// Inputs that it reads: rows, and what is needed beside them.
    pub(super) fn inputs(&self) -> usize {
        match self {
            Prologue::Norm(norm) => 2 + norm.bias as usize,
            Prologue::Parts(_) => 2,
            Prologue::Gated { .. } => 1,
            Prologue::Turned { .. } => 3,
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
            Prologue::Gated { .. } => 7,
            Prologue::Turned { .. } => 3,
        }
    }

    /// Tells a product's kernel, whose own bindings are up to 3, what it needs to know.
    pub(super) fn prepare(&self, dispatch: &mut Dispatch) {
        match self {
            Prologue::Norm(norm) => norm.prepare(dispatch),
            Prologue::Parts(parts) => parts.prepare(dispatch),
            Prologue::Gated { apart, .. } => dispatch.constants.push(("APART", *apart as f64)),
            Prologue::Turned { .. } => {}
        }
    }

    /// The kernels of products that do it first, where products can: of whole weights and of quantised ones.
    pub(super) fn shaders(&self) -> Option<[Shader; 2]> {
        match self {
            Prologue::Norm(_) => Some([norm_row::SHADER, quantized_row::NORM_SHADER]),
            Prologue::Parts(_) => Some([parts_row::SHADER, quantized_row::PARTS_SHADER]),
            Prologue::Gated { .. } => Some([gated_row::SHADER, quantized_row::GATED_SHADER]),
            Prologue::Turned { .. } => None,
        }
    }
}

/// (what the prologue reads, b (1, K, N)) → the prologue's row times b (1, 1, N).
#[derive(Debug)]
pub(super) struct PreparedRow {
    pub prologue: Prologue,
    pub shader: Shader,
}

impl Op for PreparedRow {
    fn name(&self) -> &'static str {
        self.shader.stem
    }
    fn grad(&self, _: &Vjp) -> Vec<Option<Tensor>> {
        unreachable!("only plans contain it")
    }
    fn flops(&self, io: &Operands) -> u64 {
        let k = io.inputs[self.prologue.inputs()].layout.shape[1] as u64;
        self.prologue.each() * k + 2 * k * io.outputs[0].layout.numel() as u64
    }
    fn strided_input(&self, i: usize) -> bool {
        i == self.prologue.inputs()
    }
    fn strided_output(&self, _: usize) -> bool {
        true
    }
    fn epilogue(&self) -> bool {
        true
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let b = self.prologue.inputs();
        let matrix = &io.inputs[b].layout;
        let row = Layout::contiguous((1, 1, matrix.shape[1]));
        let mut dispatch = Product::of(&row, matrix, &io.outputs[0].layout).row(self.shader);
        dispatch.bindings = vec![Bind::Input(0), Bind::Input(b), Bind::Output(0)];
        self.prologue.prepare(&mut dispatch);
        vec![dispatch]
    }
}

impl PreparedRow {
    fn run<F: Real>(&self, _: CpuIo<F>) {
        unreachable!("plans for the CPU do not contain it")
    }
}
