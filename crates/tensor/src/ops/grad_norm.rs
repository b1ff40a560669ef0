//! The global norm of a flat gradient, what clipping makes of it, and whether it holds a NaN or an infinity.

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real, row_sum, split_rows};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, expect_dtype, groups};
use crate::shader;
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "grad_norm", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("grad_norm");

/// What PyTorch adds to the norm, so that a gradient of zeros is not divided by zero.
const EPS: f64 = 1e-6;

/// grads (N) → stats (4), and scratch (P, 2) for partial sums.
#[derive(Debug)]
struct GradNorm {
    /// 0 for no clipping.
    max_norm: f64,
}

impl Op for GradNorm {
    fn name(&self) -> &'static str {
        "grad_norm"
    }
    fn grad(&self, _: &Vjp) -> Vec<Option<Tensor>> {
        panic!(
            "grad_norm: not differentiable here; write (g * g).sum_all().sqrt() where a gradient is needed"
        )
    }
    fn flops(&self, io: &Operands) -> u64 {
        2 * io.inputs[0].layout.numel() as u64
    }
    fn dispatches(&self, _: &Operands) -> u64 {
        2
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let n = io.inputs[0].layout.numel();
        let partials = io.outputs[1].dims()[0];
        let constants = vec![("N", n as f64), ("P", partials as f64), ("MAX_NORM", self.max_norm)];
        let dispatch = |entry, bindings, workgroups| Dispatch {
            shader: SHADER,
            entry,
            constants: constants.clone(),
            bindings,
            workgroups,
        };
        let (entry, workgroups) = match io.software() {
            true => ("partials_software", groups(partials, 16)),
            false => ("partials_gpu", partials as u64),
        };
        vec![
            dispatch(entry, vec![Bind::Input(0), Bind::Output(1)], workgroups),
            dispatch("finish", vec![Bind::Output(1), Bind::Output(0)], 1),
        ]
    }
}

impl GradNorm {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let (grads, stats, scratch) = (io.x(0), io.take(0), io.take(1));
        let (partials, _) = scratch.split_at_mut(scratch.len() / 2);
        let len = grads.len().div_ceil(partials.len());
        split_rows((&mut *partials, 1), len, |first, partials| {
            for (i, partial) in partials.iter_mut().enumerate() {
                let start = ((first + i) * len).min(grads.len());
                let end = (start + len).min(grads.len());
                *partial = row_sum(&grads[start..end], |g| g * g);
            }
        });
        // The square of a NaN or an infinity stays one, and so does a sum with it: no second test is needed.
        let sum = row_sum(partials, |p| p);
        let norm = sum.sqrt();
        let clipped = F::of(self.max_norm) / (norm + F::of(EPS));
        let scale = match (sum.is_finite(), self.max_norm > 0.0) {
            (false, _) => F::ZERO,
            (true, true) => clipped.min(F::ONE),
            (true, false) => F::ONE,
        };
        stats.copy_from_slice(&[norm, scale, F::from_bool(!sum.is_finite()), F::ZERO]);
    }
}

impl Tensor {
    /// The global norm of a flat gradient and what follows from it, for [`adamw`](crate::ops::adamw::adamw): the norm ‖g‖₂,
    /// the factor `min(1, max_norm / (‖g‖₂ + 10⁻⁶))` that clips it, 1 if an element is NaN or infinite else 0, and 0.
    ///
    /// Clipping by the global norm: Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural
    /// networks", <https://arxiv.org/abs/1211.5063>; the 10⁻⁶ is PyTorch's. A `max_norm` of 0 or infinity clips nothing. A
    /// norm that overflows f32 counts as infinite; the factor is 0 then.
    ///
    /// # Shapes
    /// `(N,)` → `(4,)`.
    ///
    /// # Cost
    /// Two dispatches; reads the gradient once, and nothing is read back.
    ///
    /// # Example
    /// ```text
    /// [3, 4].grad_norm(1.0) = [5, 0.2, 0, 0]
    /// ```
    ///
    /// # Panics
    /// When the tensor is not one-dimensional, is empty, or `max_norm` is negative or NaN.
    #[track_caller]
    pub fn grad_norm(&self, max_norm: f64) -> Tensor {
        expect_dtype("grad_norm", self, DType::F32);
        assert!(
            self.shape().len() == 1 && self.dim(0) > 0,
            "grad_norm: expected a flat gradient (N,), found {}",
            self.shape()
        );
        assert!(max_norm >= 0.0, "grad_norm: max_norm must be at least 0");
        let op = GradNorm { max_norm: if max_norm.is_finite() { max_norm } else { 0.0 } };
        // A thread that makes a partial sum by itself must not loop too long: see `GpuIo::software_for`.
        let n = self.dim(0);
        let partials = n.div_ceil(256).min(1024).max(n.div_ceil(32 * 1024));
        let outputs = [((4,).into(), DType::F32), ((partials, 2).into(), DType::F32)];
        self.graph().record(op, &[self], &outputs).remove(0)
    }
}

fn samples() -> Vec<Sample> {
    let n = Range::Normal;
    let mut samples = Vec::new();
    for size in [1, 3, 255, 256, 257, 100_000, 3_000_000] {
        samples.push(
            Sample::new(format!("{size} elements"), &[(&[size], n)], |x| vec![x[0].grad_norm(1.0)])
                .forward_only(),
        );
    }
    let without = |name, max_norm| {
        Sample::new(name, &[(&[1000], n)], move |x| vec![x[0].grad_norm(max_norm)]).forward_only()
    };
    samples.extend([without("no clipping", 0.0), without("clipping at infinity", f64::INFINITY)]);
    samples.push(without("below the clip", 1e4));
    samples
}

#[cfg(test)]
mod tests {
    use crate::ops::test_devices;
    use crate::{DType, Device, Graph};

    fn stats(device: &Device, grads: &[f32]) -> Vec<f32> {
        let graph = Graph::new();
        let g = graph.input("g", (grads.len(),), DType::F32);
        let mut program = device.compile(&graph, &[("stats", &g.grad_norm(1.0))], &[]).unwrap();
        program.write("g", grads);
        program.run();
        pollster::block_on(program.read("stats")).unwrap().f32().to_vec()
    }

    #[test]
    fn one_bad_element_is_found_wherever_it_is() {
        for device in test_devices() {
            assert_eq!(stats(&device, &[3.0, 4.0]), [5.0, 1.0 / 5.000_001, 0.0, 0.0]);
            for (at, bad) in [(0, f32::NAN), (299, f32::INFINITY), (130, f32::NEG_INFINITY), (7, 1e30)] {
                let mut grads = vec![0.5; 300];
                grads[at] = bad;
                assert_eq!(stats(&device, &grads)[1..], [0.0, 1.0, 0.0], "{bad} on {}", device.describe());
            }
        }
    }
}
