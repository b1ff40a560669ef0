//! Root-mean-square normalisation: each row divided by its root mean square, then scaled.

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real, row_sum, row_sums, split_chunks2, wide_fn};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::layer_norm::{Grid, rows_and_columns};
use crate::ops::norm_row::Norm;
use crate::ops::prologue::Prologue;
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, expect_dtype};
use crate::shader;
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "rms_norm", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("rms_norm");

/// (x (R, C), w (C)) → y (R, C), scales (R): 1/√(mean(x²) + eps) of each row.
#[derive(Debug)]
struct RmsNorm {
    eps: f64,
}

/// (x, w, dy, scales) → dx (R, C), dw (C).
#[derive(Debug)]
struct RmsNormGrad;

impl Op for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }
    fn grad(&self, vjp: &Vjp) -> Vec<Option<Tensor>> {
        let (x, w, dy, scales) = (vjp.x(0), vjp.x(1), vjp.dy(0), vjp.y(1));
        let outputs = [(x.shape().clone(), DType::F32), (w.shape().clone(), DType::F32)];
        x.graph().record(RmsNormGrad, &[x, w, dy, scales], &outputs).into_iter().map(Some).collect()
    }
    fn flops(&self, io: &Operands) -> u64 {
        4 * io.outputs[0].layout.numel() as u64
    }
    fn prologue(&self) -> Option<Prologue> {
        Some(Prologue::Norm(Norm { eps: self.eps, rms: true, bias: false }))
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let &[rows, cols] = io.inputs[0].dims() else { unreachable!("x is (R, C)") };
        let grid = Grid::new(io, (rows, cols), 3 * cols);
        let mut constants = grid.constants();
        constants.push(("EPS", self.eps));
        vec![Dispatch {
            shader: SHADER,
            entry: if grid.software { "forward_software" } else { "forward_gpu" },
            constants,
            bindings: vec![Bind::Input(0), Bind::Input(1), Bind::Output(0), Bind::Output(1)],
            workgroups: grid.row_groups,
        }]
    }
}

impl Op for RmsNormGrad {
    fn name(&self) -> &'static str {
        "rms_norm_grad"
    }
    fn grad(&self, _: &Vjp) -> Vec<Option<Tensor>> {
        panic!("rms_norm: second derivatives are not implemented")
    }
    fn flops(&self, io: &Operands) -> u64 {
        11 * io.outputs[0].layout.numel() as u64
    }
    fn epilogue(&self) -> bool {
        true
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let &[rows, cols] = io.inputs[0].dims() else { unreachable!("x is (R, C)") };
        let grid = Grid::new(io, (rows, cols), rows.max(cols) * 2);
        vec![Dispatch {
            shader: SHADER,
            entry: if grid.software { "backward_software" } else { "backward_gpu" },
            constants: grid.constants(),
            bindings: [0, 1, 2, 3].map(Bind::Input).into_iter().chain([0, 1].map(Bind::Output)).collect(),
            workgroups: grid.row_groups + grid.column_groups,
        }]
    }
}

impl RmsNorm {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let (x, w) = (io.x(0), io.x(1));
        let cols = w.len();
        split_chunks2((io.take(0), cols), (io.take(1), 1), |first, y, scales| {
            normalize(&x[first * cols..], w, F::of(self.eps), y, scales);
        });
    }
}

wide_fn! {
    /// As many rows of x as y has.
    fn normalize<F: Real>(x: &[F], w: &[F], eps: F, y: &mut [F], scales: &mut [F]) {
        let (cols, n) = (w.len(), F::of(w.len() as f64));
        for ((x, y), scale) in x.chunks_exact(cols).zip(y.chunks_exact_mut(cols)).zip(scales) {
            *scale = F::ONE / (row_sum(x, |x| x * x) / n + eps).sqrt();
            y.iter_mut().zip(x).zip(w).for_each(|((y, &x), &w)| *y = x * *scale * w);
        }
    }
}

impl RmsNormGrad {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let (x, w, dy, scales) = (io.x(0), io.x(1), io.x(2), io.x(3));
        let cols = w.len();
        let dw = io.take(1);
        dw.fill(F::ZERO);
        rows_and_columns((io.take(0), cols), dw, |first, dx, dw| {
            slopes([&x[first * cols..], w, &dy[first * cols..], &scales[first..]], dx, dw);
        });
    }
}

wide_fn! {
    /// As many rows of dx as there is room for; what they give to dw is added to it.
    fn slopes<F: Real>(read: [&[F]; 4], dx: &mut [F], dw: &mut [F]) {
        let [x, w, dy, scales] = read;
        let (cols, n) = (w.len(), F::of(w.len() as f64));
        let rows = x.chunks_exact(cols).zip(dy.chunks_exact(cols)).zip(scales);
        for (((x, dy), &scale), dx) in rows.zip(dx.chunks_exact_mut(cols)) {
            let [sum, _] = row_sums([x, w, dy], |x, w, dy| [dy * w * x * scale, F::ZERO]);
            let mean = sum / n;
            for ((((dx, dw), &x), &w), &dy) in dx.iter_mut().zip(dw.iter_mut()).zip(x).zip(w).zip(dy) {
                let h = x * scale;
                *dx = scale * (dy * w - h * mean);
                *dw += dy * h;
            }
        }
    }
}

impl Tensor {
    /// Root-mean-square normalisation over the last dimension: `y = x / √(mean(x²) + eps) · w`.
    ///
    /// Zhang & Sennrich 2019, "Root Mean Square Layer Normalization", <https://arxiv.org/abs/1910.07467>.
    ///
    /// # Shapes
    /// x `(…, C)`, w `(C)` → `(…, C)`.
    ///
    /// # Gradient
    /// With s the row's scale, h = x·s and g = dy·w: dx = s·(g − h·mean(g·h)), dw = Σ dy·h over rows.
    ///
    /// # Cost
    /// One dispatch forward, one backward. Keeps one number a row.
    ///
    /// # Example
    /// ```text
    /// [3, 4, 0, 0].rms_norm(w = [1, 1, 1, 1], eps = 0) = [1.2, 1.6, 0, 0]
    /// ```
    ///
    /// # Panics
    /// When w is not as long as a row.
    #[track_caller]
    pub fn rms_norm(&self, w: &Tensor, eps: f64) -> Tensor {
        expect_dtype("rms_norm", self, DType::F32);
        expect_dtype("rms_norm", w, DType::F32);
        let cols = self.last_dim();
        assert!(
            w.dims() == [cols],
            "rms_norm: rows of {} need weights ({cols},), found {}",
            self.shape(),
            w.shape()
        );
        let x = self.reshape((self.shape().numel() / cols.max(1), cols)); // (R, C)
        let outputs = [(x.shape().clone(), DType::F32), ((x.dim(0),).into(), DType::F32)];
        self.graph().record(RmsNorm { eps }, &[&x, w], &outputs).remove(0).reshape(self.shape())
    }
}

fn samples() -> Vec<Sample> {
    let n = Range::Normal;
    let mut samples = Vec::new();
    for c in [1, 3, 64, 255, 256, 257, 1500] {
        samples.push(Sample::new(format!("rows of {c}"), &[(&[5, c], n), (&[c], n)], |x| {
            vec![x[0].rms_norm(&x[1], 1e-2)]
        }));
    }
    for r in [1, 3, 255, 256, 257] {
        samples.push(Sample::new(format!("{r} rows"), &[(&[r, 40], n), (&[40], n)], |x| {
            vec![x[0].rms_norm(&x[1], 1e-6)]
        }));
    }
    samples.extend([
        Sample::new("a transposed input, with a residual", &[(&[20, 3, 6], n), (&[20], n)], |x| {
            let h = x[0].permute(&[1, 2, 0]); // (3, 6, 20)
            vec![&h + h.rms_norm(&x[1], 1e-5).silu()]
        }),
        Sample::new("a sliced input", &[(&[9, 32], n), (&[10], n)], |x| {
            vec![x[0].slice(1, 7, 17).rms_norm(&x[1], 1e-3)]
        }),
        Sample::new("more rows than a thread may loop over", &[(&[70_000, 3], n), (&[3], n)], |x| {
            vec![x[0].rms_norm(&x[1], 1e-2)]
        }),
        Sample::new("beyond 65535 workgroups", &[(&[262_200, 3], n), (&[3], n)], |x| {
            vec![x[0].rms_norm(&x[1], 1e-1)]
        })
        .forward_only(),
    ]);
    samples
}
