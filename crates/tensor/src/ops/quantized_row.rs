//! The kernels of [`super::quantized_matmul`] for GPUs and few rows, what decoding a token consists of: of rows as they are, and
//! of those that [`Prologue`] prepares.

use std::rc::Rc;

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real};
use crate::cpu_kernel;
use crate::ops::layout::cat;
use crate::ops::prologue::Prologue;
use crate::ops::quantized_matmul::{PANEL, QuantizedMatmul};
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, groups};
use crate::plan::Operand;
use crate::shader;
use crate::shape::Layout;
use crate::tensor::Tensor;

/// Registry row. Its samples are products of normalised rows; others are among those of `quantized_matmul`.
pub const ENTRY: OpEntry = OpEntry { name: "quantized_row", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("row_plain", "matmul_row", "quantized_row");
pub(super) const NORM_SHADER: Shader = shader!("norm_row", "matmul_row", "quantized_row");
pub(super) const PARTS_SHADER: Shader = shader!("parts_row", "matmul_row", "quantized_row");
pub(super) const GATED_SHADER: Shader = shader!("gated_row", "matmul_row", "quantized_row");

/// Rows that are few: each is multiplied by itself, and all but one find the codes in a cache.
pub(super) const MOST: usize = 16;

/// The product of rows (M, K) as they are.
pub(super) fn plain(product: QuantizedMatmul, extents: [usize; 2]) -> Dispatch {
    let bindings = vec![Bind::Input(0), Bind::Input(1), Bind::Output(0), Bind::Input(2)];
    Dispatch { bindings, ..dispatch(SHADER, product, extents) }
}

fn dispatch(shader: Shader, QuantizedMatmul { bits, n }: QuantizedMatmul, [m, k]: [usize; 2]) -> Dispatch {
    // Few columns a workgroup where there are few sums, so that no processor of a large GPU is idle.
    let quads = 1 << (m * n / 1024).max(1).ilog2().min(4);
    let constants = [("Z", m), ("N", n), ("K", k), ("YZ", n), ("YN", 1), ("BITS", bits), ("QUADS", quads)];
    Dispatch {
        shader,
        entry: "packed",
        constants: constants.map(|(name, value)| (name, value as f64)).to_vec(),
        bindings: Vec::new(),
        workgroups: m as u64 * groups(n, 4 * quads),
    }
}

/// The product behind a prologue, as [`Op::after`] asks.
pub(super) fn after(
    product: QuantizedMatmul,
    prologue: Prologue,
    at: &[usize],
    inputs: &[Layout],
) -> Option<Rc<dyn Op>> {
    let [_, shader] = prologue.shaders()?;
    let few = *at == [0] && inputs[0].shape[0] <= MOST;
    few.then(|| Rc::new(QuantizedRow { prologue, shader, product }) as Rc<dyn Op>)
}

/// (what the prologue reads, codes, scales) → the product of the prologue's rows (M, N)
#[derive(Debug)]
struct QuantizedRow {
    prologue: Prologue,
    shader: Shader,
    product: QuantizedMatmul,
}

impl QuantizedRow {
    /// Rows, and their length.
    fn extents(&self, io: [&[Operand]; 2]) -> [usize; 2] {
        let codes = io[0][self.prologue.inputs()].dims();
        [io[1][0].layout.numel() / self.product.n, 32 * codes[1]]
    }
}

impl Op for QuantizedRow {
    fn name(&self) -> &'static str {
        "quantized_row"
    }
    fn grad(&self, _: &Vjp) -> Vec<Option<Tensor>> {
        unreachable!("only plans contain it")
    }
    fn flops(&self, io: &Operands) -> u64 {
        let [m, k] = self.extents([io.inputs, io.outputs]).map(|n| n as u64);
        m * k * (self.prologue.each() + 2 * self.product.n as u64)
    }
    fn epilogue(&self) -> bool {
        true
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let extents = self.extents([io.inputs, io.outputs]);
        let mut dispatch = dispatch(self.shader, self.product, extents);
        let codes = self.prologue.inputs();
        dispatch.bindings = vec![Bind::Input(0), Bind::Input(codes), Bind::Output(0)];
        self.prologue.prepare(&mut dispatch);
        dispatch.bindings.push(Bind::Input(codes + 1));
        vec![dispatch]
    }
}

impl QuantizedRow {
    fn run<F: Real>(&self, _: CpuIo<F>) {
        unreachable!("plans for the CPU do not contain it")
    }
}

fn samples() -> Vec<Sample> {
    let (n, any) = (Range::Normal, Range::Ids(u32::MAX));
    let layer_norm = |[m, k, columns]: [usize; 3], bits: usize| {
        let panels = columns.div_ceil(PANEL);
        let shapes: [(&[usize], Range); 6] = [
            (&[m, k], n),
            (&[k], n),
            (&[k], n),
            (&[panels, k / 32, bits * PANEL], any),
            (&[panels, k / 32, PANEL], n),
            (&[columns], n),
        ];
        Sample::new(format!("{m}x{k}x{columns}, {bits} bits, layer norm"), &shapes, move |x| {
            let h = x[0].layer_norm(&x[1], Some(&x[2]), 1e-5).quantized_matmul(&x[3], &x[4], columns);
            vec![(h + &x[5]).gelu()]
        })
        .forward_only()
    };
    let side_by_side = |rows: usize, bits: usize| {
        let inputs: [(&[usize], Range); 4] =
            [(&[rows, 64], n), (&[64], n), (&[4, 2, bits * PANEL], any), (&[4, 2, PANEL], n)];
        Sample::new(format!("{rows} rows by three matrices side by side, {bits} bits"), &inputs, |x| {
            let h = x[0].rms_norm(&x[1], 1e-3);
            let product = |from: usize, to: usize, columns: usize| {
                h.quantized_matmul(&x[2].slice(0, from, to), &x[3].slice(0, from, to), columns)
            };
            let y = [product(0, 2, 2 * PANEL), product(2, 3, PANEL), product(3, 4, 20)];
            vec![cat(&y, 1).reshape((x[0].dim(0) * (3 * PANEL + 20),)) * 2.0]
        })
        .forward_only()
    };
    vec![
        side_by_side(1, 8),
        side_by_side(3, 4),
        layer_norm([1, 96, 70], 8),
        layer_norm([1, 96, 70], 4),
        layer_norm([3, 1056, 715], 8),
        layer_norm([2, 768, 2050], 4),
        layer_norm([16, 32, 515], 4),
        layer_norm([1, 32, 16_387], 8),
        Sample::new(
            "two products of one rms norm, residual",
            &[
                (&[1, 2, 64], n),
                (&[64], n),
                (&[1, 2, 8 * PANEL], any),
                (&[1, 2, PANEL], n),
                (&[1, 2, 4 * PANEL], any),
                (&[1, 2, PANEL], n),
                (&[1, 2, 20], n),
            ],
            |x| {
                let h = x[0].rms_norm(&x[1], 1e-3);
                let gate = h.quantized_matmul(&x[2], &x[3], 20).silu();
                vec![gate * h.quantized_matmul(&x[4], &x[5], 20) + &x[6]]
            },
        )
        .forward_only(),
    ]
}
