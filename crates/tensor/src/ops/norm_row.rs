//! A row that is normalised and then multiplied by a matrix, in one kernel for GPUs. Nobody records it: the planner puts it
//! in the place of a norm and the products that read it.

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real};
use crate::cpu_kernel;
use crate::ops::matmul::Product;
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader};
use crate::shader;
use crate::shape::Layout;
use crate::tensor::Tensor;

/// Registry row. Its samples are products of normalised rows, without gradients, which would read what a norm keeps.
pub const ENTRY: OpEntry = OpEntry { name: "norm_row", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("matmul_row", "norm_row");

/// A norm of rows, and (x (1, K), w (K), bias (K) if there is one, b (1, K, N)) → norm(x)·b (1, 1, N).
#[derive(Clone, Copy, Debug)]
pub struct NormRow {
    pub(super) eps: f64,
    /// Whether no mean is subtracted.
    pub(super) rms: bool,
    pub(super) bias: bool,
}

impl Op for NormRow {
    fn name(&self) -> &'static str {
        "norm_row"
    }
    fn grad(&self, _: &Vjp) -> Vec<Option<Tensor>> {
        unreachable!("only plans contain it")
    }
    fn flops(&self, io: &Operands) -> u64 {
        let k = io.inputs[0].layout.numel() as u64;
        self.each() * k + 2 * k * io.outputs[0].layout.numel() as u64
    }
    fn strided_input(&self, i: usize) -> bool {
        i == 2 + self.bias as usize
    }
    fn strided_output(&self, _: usize) -> bool {
        true
    }
    fn epilogue(&self) -> bool {
        true
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let (x, b) = (&io.inputs[0].layout, 2 + self.bias as usize);
        let row = Layout { offset: x.offset, ..Layout::contiguous((1, 1, x.numel())) };
        let mut dispatch = Product::of(&row, &io.inputs[b].layout, &io.outputs[0].layout).row(SHADER);
        dispatch.constants.extend(self.constants());
        dispatch.bindings = vec![Bind::Input(0), Bind::Input(b), Bind::Output(0)];
        dispatch.bindings.extend(self.bindings());
        vec![dispatch]
    }
}

impl NormRow {
    /// Floating-point operations for each number.
    pub(super) fn each(&self) -> u64 {
        if self.rms { 4 } else { 8 }
    }

    /// What `norm_row.wgsl` needs to know.
    pub(super) fn constants(&self) -> [(&'static str, f64); 3] {
        [("EPS", self.eps), ("RMS", f64::from(self.rms)), ("BIAS", f64::from(self.bias))]
    }

    /// What it binds from 4 on.
    pub(super) fn bindings(&self) -> [Bind; 2] {
        [Bind::Input(1), Bind::Input(1 + self.bias as usize)]
    }

    fn run<F: Real>(&self, _: CpuIo<F>) {
        unreachable!("plans for the CPU do not contain it")
    }
}

fn samples() -> Vec<Sample> {
    let n = Range::Normal;
    let across = |name: &str, k: usize, columns: usize| {
        Sample::new(name, &[(&[1, k], n), (&[k], n), (&[k], n), (&[k, columns], n), (&[columns], n)], |x| {
            vec![(x[0].layer_norm(&x[1], Some(&x[2]), 1e-5).matmul(&x[3]) + &x[4]).gelu()]
        })
        .forward_only()
    };
    vec![
        across("layer norm", 768, 72),
        across("a short row", 8, 20),
        across("many columns", 44, 2052),
        across("more columns", 532, 1000),
        Sample::new("without bias", &[(&[1, 40], n), (&[40], n), (&[40, 24], n)], |x| {
            vec![x[0].layer_norm(&x[1], None, 1e-2).matmul(&x[2])]
        })
        .forward_only(),
        Sample::new(
            "two transposed products of one rms norm",
            &[(&[1, 612], n), (&[612], n), (&[35, 612], n), (&[35, 612], n)],
            |x| {
                let h = (&x[0] * 2.0).rms_norm(&x[1], 1e-3);
                vec![h.matmul(&x[2].t()).silu() * h.matmul(&x[3].t())]
            },
        )
        .forward_only(),
        Sample::new("a large vocabulary", &[(&[1, 36], n), (&[36], n), (&[17_001, 36], n)], |x| {
            vec![x[0].rms_norm(&x[1], 1e-3).matmul(&x[2].t())]
        })
        .forward_only(),
    ]
}
