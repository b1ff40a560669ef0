//! Softmax and its logarithm over the last dimension.

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real, dot, row_max, row_sum, split_chunks, wide_fn};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, expect_dtype, groups};
use crate::shader;
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "softmax", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("softmax");

/// `y = exp(x − max x) / Σ exp(x − max x)` along each row of (R, N), or the logarithm of it.
#[derive(Clone, Copy, Debug)]
struct Softmax {
    log: bool,
}

/// The gradient: (y, dy) → dx.
#[derive(Clone, Copy, Debug)]
struct SoftmaxGrad {
    log: bool,
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax" } else { "softmax" }
    }
    /// dx = y·(dy − Σ y·dy); of the logarithm dx = dy − eʸ·Σ dy.
    fn grad(&self, vjp: &Vjp) -> Vec<Option<Tensor>> {
        vec![Some(softmax_grad(self.log, vjp.y(0), vjp.dy(0)))]
    }
    /// Subtraction, exponential, sum, maximum and scaling.
    fn flops(&self, io: &Operands) -> u64 {
        8 * io.outputs[0].layout.numel() as u64
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let bindings = vec![Bind::Input(0), Bind::Output(0)];
        vec![dispatch(io, self.log, ["software", "gpu"], bindings)]
    }
}

impl Op for SoftmaxGrad {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax_grad" } else { "softmax_grad" }
    }
    /// With u the gradient of dx: the function is linear in dy, and its other factor is y or eʸ.
    fn grad(&self, vjp: &Vjp) -> Vec<Option<Tensor>> {
        let (y, dy, u) = (vjp.x(0), vjp.x(1), vjp.dy(0));
        if self.log {
            let (p, sum) = (y.exp(), dy.sum_keep(1)); // (R, N), (R, 1)
            return vec![Some(-(u * &p * sum)), Some(u - (u * p).sum_keep(1))];
        }
        let by_y = u * (dy - (y * dy).sum_keep(1)) - dy * (u * y).sum_keep(1);
        vec![Some(by_y), Some(softmax_grad(false, y, u))]
    }
    fn flops(&self, io: &Operands) -> u64 {
        4 * io.outputs[0].layout.numel() as u64
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let bindings = vec![Bind::Input(0), Bind::Input(1), Bind::Output(0)];
        vec![dispatch(io, self.log, ["software_grad", "gpu_grad"], bindings)]
    }
}

/// A thread for each row, or a workgroup where there are lanes to fill.
fn dispatch(io: &GpuIo, log: bool, [thread, workgroup]: [&'static str; 2], bindings: Vec<Bind>) -> Dispatch {
    let &[rows, n] = io.inputs[0].layout.shape.dims() else { unreachable!("two dimensions") };
    let (entry, workgroups) = match io.software_for(3 * n) || n <= 32 {
        true => (thread, groups(rows, 64)),
        false => (workgroup, rows as u64),
    };
    let lanes = if n <= 1024 { 64 } else { 256 };
    let constants = [("R", rows), ("N", n), ("LOG", log as usize), ("LANES", lanes)];
    let constants = constants.map(|(name, value)| (name, value as f64)).to_vec();
    Dispatch { shader: SHADER, entry, constants, bindings, workgroups }
}

impl Softmax {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let (x, n) = (io.x(0), io.dims(0)[1]);
        split_chunks(io.take(0), n, |first, y| shares(&x[first * n..], n, self.log, y));
    }
}

wide_fn! {
    /// Softmax, or its logarithm, of as many rows of n numbers as y has.
    fn shares<F: Real>(x: &[F], n: usize, log: bool, y: &mut [F]) {
        let by = &F::coefficients::<FUSED>();
        for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
            let largest = row_max(x);
            for (y, &x) in y.iter_mut().zip(x) {
                *y = (x - largest).exp(by);
            }
            let total = row_sum(y, |y| y);
            if log {
                let by = largest + total.ln();
                y.iter_mut().zip(x).for_each(|(y, &x)| *y = x - by);
            } else {
                let by = F::ONE / total;
                y.iter_mut().for_each(|y| *y *= by);
            }
        }
    }
}

impl SoftmaxGrad {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let (y, dy, n) = (io.x(0), io.x(1), io.dims(0)[1]);
        split_chunks(io.take(0), n, |first, dx| slopes(&y[first * n..], &dy[first * n..], n, self.log, dx));
    }
}

wide_fn! {
    /// As many rows of dx as there is room for.
    fn slopes<F: Real>(y: &[F], dy: &[F], n: usize, log: bool, dx: &mut [F]) {
        let by = &F::coefficients::<FUSED>();
        for ((y, dy), dx) in y.chunks_exact(n).zip(dy.chunks_exact(n)).zip(dx.chunks_exact_mut(n)) {
            if log {
                let total = row_sum(dy, |dy| dy);
                for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
                    *dx = dy - y.exp(by) * total;
                }
            } else {
                let total = dot(y, dy);
                dx.iter_mut().zip(y).zip(dy).for_each(|((dx, &y), &dy)| *dx = y * (dy - total));
            }
        }
    }
}

/// (R, N), (R, N) → (R, N)
fn softmax_grad(log: bool, y: &Tensor, dy: &Tensor) -> Tensor {
    y.graph().record(SoftmaxGrad { log }, &[y, dy], &[(y.shape().clone(), DType::F32)]).remove(0)
}

impl Tensor {
    #[track_caller]
    fn record_softmax(&self, log: bool) -> Tensor {
        expect_dtype("softmax", self, DType::F32);
        let n = *self.shape().last().expect("softmax: a scalar has no last dimension");
        assert!(n > 0, "softmax: the last dimension of {} is empty", self.shape());
        let x = self.reshape((self.shape().numel() / n, n)); // (R, N)
        let y = self.graph().record(Softmax { log }, &[&x], &[(x.shape().clone(), DType::F32)]).remove(0);
        y.reshape(self.shape().clone())
    }

    /// Softmax over the last dimension: `exp(x) / Σ exp(x)`. The largest element is subtracted first, which changes
    /// nothing but keeps the exponentials finite.
    ///
    /// # Gradient
    /// `dx = y·(dy − Σ y·dy)`, in one kernel.
    ///
    /// # Cost
    /// One dispatch; each element is read three times and written once.
    ///
    /// # Example
    /// ```text
    /// [0, ln 3].softmax() = [0.25, 0.75]
    /// ```
    ///
    /// # Panics
    /// For a scalar, or when the last dimension is empty.
    #[track_caller]
    pub fn softmax(&self) -> Tensor {
        self.record_softmax(false)
    }

    /// The logarithm of [`softmax`](Self::softmax), exact where the softmax itself would be 0.
    ///
    /// # Gradient
    /// `dx = dy − eʸ·Σ dy`, in one kernel.
    ///
    /// # Panics
    /// As [`softmax`](Self::softmax).
    #[track_caller]
    pub fn log_softmax(&self) -> Tensor {
        self.record_softmax(true)
    }
}

fn samples() -> Vec<Sample> {
    let n = Range::Normal;
    let mut samples = Vec::new();
    for size in [1, 3, 255, 256, 257, 2000] {
        samples.push(Sample::new(format!("rows of {size}"), &[(&[5, size], n)], |x| vec![x[0].softmax()]));
        samples.push(Sample::new(format!("log, rows of {size}"), &[(&[5, size], n)], |x| {
            vec![x[0].log_softmax()]
        }));
    }
    let both = |x: &Tensor| vec![x.softmax(), x.log_softmax()];
    samples.extend([
        Sample::new("one dimension", &[(&[40], n)], move |x| both(&x[0])),
        Sample::new("a transposed", &[(&[2, 40, 7], n)], move |x| both(&x[0].t())),
        // One element takes all: central differences would leap from one to the next.
        Sample::new("around 10000", &[(&[6, 300], n)], move |x| both(&(&x[0] * 1e4))).forward_only(),
        Sample::new("around -10000", &[(&[6, 300], n)], move |x| both(&(&x[0] - 1e4)))
            .tolerance(2e-3)
            .forward_only(),
        Sample::new("second derivative", &[(&[4, 37], n), (&[4, 37], n)], |x| {
            let loss = (x[0].softmax() * &x[1]).sum_all() + (x[0].log_softmax() * &x[1] * &x[1]).sum_all();
            x[0].graph().grad(&loss, &[&x[0]])
        }),
        Sample::new("long rows", &[(&[2, 32_000], n)], move |x| both(&x[0])).forward_only(),
        Sample::new("beyond 65535 rows", &[(&[65_600, 3], n)], move |x| both(&x[0])).forward_only(),
        Sample::new("beyond 65535 workgroups", &[(&[65_600, 34], n)], |x| vec![x[0].softmax()])
            .forward_only(),
    ]);
    samples
}
