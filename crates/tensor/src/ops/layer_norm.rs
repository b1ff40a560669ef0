//! Layer normalisation: each row to mean 0 and variance 1, then scaled and shifted.

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real, row_sum, row_sums, split_chunks2, wide_fn};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::norm_row::Norm;
use crate::ops::prologue::Prologue;
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, expect_dtype, groups};
use crate::shader;
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "layer_norm", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("layer_norm");

/// (x (R, C), w (C), b (C) if there is one) → y (R, C), stats (R, 2): the mean and 1/√(variance + eps) of each row.
#[derive(Debug)]
struct LayerNorm {
    eps: f64,
    bias: bool,
}

/// (x, w, dy, stats) → dx (R, C), dw (C), db (C).
#[derive(Debug)]
struct LayerNormGrad;

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }
    fn grad(&self, vjp: &Vjp) -> Vec<Option<Tensor>> {
        let (x, w, dy, stats) = (vjp.x(0), vjp.x(1), vjp.dy(0), vjp.y(1));
        let (f, c) = (DType::F32, w.shape().clone());
        let outputs = [(x.shape().clone(), f), (c.clone(), f), (c, f)];
        let grads = x.graph().record(LayerNormGrad, &[x, w, dy, stats], &outputs);
        grads.into_iter().take(2 + self.bias as usize).map(Some).collect()
    }
    fn flops(&self, io: &Operands) -> u64 {
        8 * io.outputs[0].layout.numel() as u64
    }
    fn prologue(&self) -> Option<Prologue> {
        Some(Prologue::Norm(Norm { eps: self.eps, rms: false, bias: self.bias }))
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let &[rows, cols] = io.inputs[0].dims() else { unreachable!("x is (R, C)") };
        let grid = Grid::new(io, (rows, cols), 3 * cols);
        let mut constants = grid.constants();
        constants.extend([("EPS", self.eps), ("BIAS", self.bias as u32 as f64)]);
        // Without b the shader reads w in its place and does not use it.
        let b = Bind::Input(if self.bias { 2 } else { 1 });
        vec![Dispatch {
            shader: SHADER,
            entry: if grid.software { "forward_software" } else { "forward_gpu" },
            constants,
            bindings: vec![Bind::Input(0), Bind::Input(1), b, Bind::Output(0), Bind::Output(1)],
            workgroups: grid.row_groups,
        }]
    }
}

impl Op for LayerNormGrad {
    fn name(&self) -> &'static str {
        "layer_norm_grad"
    }
    fn grad(&self, _: &Vjp) -> Vec<Option<Tensor>> {
        panic!("layer_norm: second derivatives are not implemented")
    }
    fn flops(&self, io: &Operands) -> u64 {
        16 * io.outputs[0].layout.numel() as u64
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
            bindings: [0, 1, 2, 3].map(Bind::Input).into_iter().chain([0, 1, 2].map(Bind::Output)).collect(),
            workgroups: grid.row_groups + grid.column_groups,
        }]
    }
}

/// How rows and columns are dealt out to workgroups. `rms_norm` has the same grid.
pub(super) struct Grid {
    rows: usize,
    cols: usize,
    lanes: usize,
    /// Whether a row or a column is one thread's work.
    pub software: bool,
    /// Workgroups that work on rows.
    pub row_groups: u64,
    /// Workgroups that work on columns, in the backward pass.
    pub column_groups: u64,
}

impl Grid {
    /// A grid for a kernel in which a thread alone would run `trips` loop iterations.
    pub fn new(io: &GpuIo, (rows, cols): (usize, usize), trips: usize) -> Grid {
        // Few rows leave most of a GPU idle, so what counts is how long each takes.
        let lanes = if cols <= 64 || (cols < 1024 && rows >= 64) { 64 } else { 256 };
        let software = io.software_for(trips);
        let (rows_per_group, columns_per_group) = if software { (32, 32) } else { (256 / lanes, 16) };
        let (row_groups, column_groups) = (groups(rows, rows_per_group), groups(cols, columns_per_group));
        Grid { rows, cols, lanes, software, row_groups, column_groups }
    }

    pub fn constants(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("R", self.rows as f64),
            ("C", self.cols as f64),
            ("LANES", self.lanes as f64),
            ("ROW_GROUPS", self.row_groups as f64),
        ]
    }
}

impl LayerNorm {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let (x, w) = (io.x(0), io.x(1));
        let cols = w.len();
        let zeros;
        let b = if self.bias {
            io.x(2)
        } else {
            zeros = vec![F::ZERO; cols];
            &zeros
        };
        split_chunks2((io.take(0), cols), (io.take(1), 2), |first, y, stats| {
            normalize(&x[first * cols..], w, b, F::of(self.eps), y, stats);
        });
    }
}

wide_fn! {
    /// As many rows of x as y has.
    fn normalize<F: Real>(x: &[F], w: &[F], b: &[F], eps: F, y: &mut [F], stats: &mut [F]) {
        let (cols, n) = (w.len(), F::of(w.len() as f64));
        let rows = x.chunks_exact(cols).zip(y.chunks_exact_mut(cols)).zip(stats.chunks_exact_mut(2));
        for ((x, y), stats) in rows {
            let mean = row_sum(x, |x| x) / n;
            let variance = row_sum(x, |x| (x - mean) * (x - mean)) / n;
            let rstd = F::ONE / (variance + eps).sqrt();
            for (((y, &x), &w), &b) in y.iter_mut().zip(x).zip(w).zip(b) {
                *y = (x - mean) * rstd * w + b;
            }
            stats.copy_from_slice(&[mean, rstd]);
        }
    }
}

impl LayerNormGrad {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let (x, w, dy, stats) = (io.x(0), io.x(1), io.x(2), io.x(3));
        let cols = w.len();
        let mut dwb = vec![F::ZERO; 2 * cols];
        rows_and_columns((io.take(0), cols), &mut dwb, |first, dx, dwb| {
            slopes([&x[first * cols..], w, &dy[first * cols..], &stats[2 * first..]], dx, dwb);
        });
        io.take(1).copy_from_slice(&dwb[..cols]);
        io.take(2).copy_from_slice(&dwb[cols..]);
    }
}

wide_fn! {
    /// As many rows of dx as there is room for; what they give to dw and db is added to those.
    fn slopes<F: Real>(read: [&[F]; 4], dx: &mut [F], dwb: &mut [F]) {
        let [x, w, dy, stats] = read;
        let (cols, n) = (w.len(), F::of(w.len() as f64));
        let (dw, db) = dwb.split_at_mut(cols);
        let rows = x.chunks_exact(cols).zip(dy.chunks_exact(cols)).zip(stats.chunks_exact(2));
        for (((x, dy), stats), dx) in rows.zip(dx.chunks_exact_mut(cols)) {
            let (mean, rstd) = (stats[0], stats[1]);
            let [mean_g, mean_gh] = row_sums([x, w, dy], |x, w, dy| [dy * w, dy * w * (x - mean) * rstd]);
            let (mean_g, mean_gh) = (mean_g / n, mean_gh / n);
            let sums = dw.iter_mut().zip(db.iter_mut());
            for ((((dx, &x), &w), &dy), (dw, db)) in dx.iter_mut().zip(x).zip(w).zip(dy).zip(sums) {
                let h = (x - mean) * rstd;
                *dx = rstd * (dy * w - mean_g - h * mean_gh);
                *dw += dy * h;
                *db += dy;
            }
        }
    }
}

/// Calls `f(first_row, rows, sums)` on pieces of `dx`, each with sums of its own, and adds those up into `sums`.
///
/// Pieces have about as many elements as `split_chunks` takes for worth a thread; a piece also adds up its share of a
/// column, which keeps the rounding error of many rows small.
pub(super) fn rows_and_columns<F: Real>(
    (dx, cols): (&mut [F], usize),
    sums: &mut [F],
    f: impl Fn(usize, &mut [F], &mut [F]) + Sync + Send,
) {
    let rows = (16 * 1024 / cols).max(1);
    let mut parts = vec![F::ZERO; dx.len().div_ceil(rows * cols) * sums.len()];
    split_chunks2((dx, rows * cols), (&mut parts, sums.len()), |first, dx, parts| {
        let pieces = dx.chunks_mut(rows * cols).zip(parts.chunks_exact_mut(sums.len()));
        pieces.enumerate().for_each(|(i, (dx, part))| f((first + i) * rows, dx, part));
    });
    for part in parts.chunks_exact(sums.len()) {
        sums.iter_mut().zip(part).for_each(|(sum, &part)| *sum += part);
    }
}

impl Tensor {
    /// Layer normalisation over the last dimension: `y = (x − mean) / √(variance + eps) · w + b`.
    ///
    /// Mean and (biased) variance are those of each row. Ba, Kiros & Hinton 2016, "Layer Normalization",
    /// <https://arxiv.org/abs/1607.06450>.
    ///
    /// # Shapes
    /// x `(…, C)`, w `(C)`, b `(C)` or none → `(…, C)`.
    ///
    /// # Gradient
    /// With h = (x − mean)·rstd and g = dy·w: dx = rstd·(g − mean(g) − h·mean(g·h)), dw = Σ dy·h, db = Σ dy over rows.
    ///
    /// # Cost
    /// One dispatch forward, one backward. Keeps two numbers a row.
    ///
    /// # Example
    /// ```text
    /// [1, 3].layer_norm(w = [1, 1], b = [0, 10], eps = 0) = [−1, 11]
    /// ```
    ///
    /// # Panics
    /// When w or b is not as long as a row.
    #[track_caller]
    pub fn layer_norm(&self, w: &Tensor, b: Option<&Tensor>, eps: f64) -> Tensor {
        let cols = self.last_dim();
        for x in [self, w].into_iter().chain(b) {
            expect_dtype("layer_norm", x, DType::F32);
        }
        for weight in [w].into_iter().chain(b) {
            assert!(
                weight.dims() == [cols],
                "layer_norm: rows of {} need weights ({cols},), found {}",
                self.shape(),
                weight.shape()
            );
        }
        let x = self.reshape((self.shape().numel() / cols.max(1), cols)); // (R, C)
        let op = LayerNorm { eps, bias: b.is_some() };
        let inputs: Vec<&Tensor> = [&x, w].into_iter().chain(b).collect();
        let outputs = [(x.shape().clone(), DType::F32), ((x.dim(0), 2).into(), DType::F32)];
        self.graph().record(op, &inputs, &outputs).remove(0).reshape(self.shape())
    }
}

fn samples() -> Vec<Sample> {
    let n = Range::Normal;
    let mut samples = Vec::new();
    for c in [3, 64, 255, 256, 257, 1500] {
        samples.push(Sample::new(format!("rows of {c}"), &[(&[5, c], n), (&[c], n), (&[c], n)], |x| {
            vec![x[0].layer_norm(&x[1], Some(&x[2]), 1e-5)]
        }));
    }
    for r in [1, 3, 255, 256, 257] {
        samples.push(Sample::new(format!("{r} rows without bias"), &[(&[r, 40], n), (&[40], n)], |x| {
            vec![x[0].layer_norm(&x[1], None, 1e-5)]
        }));
    }
    samples.extend([
        Sample::new("rows of one element are b", &[(&[4, 1], n), (&[1], n), (&[1], n)], |x| {
            vec![x[0].layer_norm(&x[1], Some(&x[2]), 1e-5) + &x[0]]
        }),
        Sample::new(
            "a transposed input, with a residual",
            &[(&[20, 3, 6], n), (&[20], n), (&[20], n)],
            |x| {
                let h = x[0].permute(&[1, 2, 0]); // (3, 6, 20)
                vec![&h + h.layer_norm(&x[1], Some(&x[2]), 1e-5).gelu()]
            },
        ),
        Sample::new("a sliced input", &[(&[9, 32], n), (&[10], n)], |x| {
            vec![x[0].slice(1, 7, 17).layer_norm(&x[1], None, 1e-3)]
        }),
        Sample::new("more rows than a thread may loop over", &[(&[70_000, 3], n), (&[3], n)], |x| {
            vec![x[0].layer_norm(&x[1], None, 1e-2)]
        }),
        Sample::new("beyond 65535 workgroups", &[(&[262_200, 3], n), (&[3], n)], |x| {
            vec![x[0].layer_norm(&x[1], None, 1e-1)]
        })
        .forward_only(),
    ]);
    samples
}
