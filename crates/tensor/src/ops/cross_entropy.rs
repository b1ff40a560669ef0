//! Cross-entropy of integer targets: log-softmax and negative log-likelihood in one kernel.

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real, row_max, row_sum, split_chunks, split_rows2, wide_fn};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, expect_dtype, groups};
use crate::shader;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "cross_entropy", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("cross_entropy");

/// (logits (R, V), targets (R)) → losses (R), lse (R): the logarithm of the sum of exponentials.
#[derive(Debug)]
struct CrossEntropy {
    ignore_index: u32,
}

/// (logits, targets, lse, dloss (R)) → dlogits (R, V).
#[derive(Debug)]
struct CrossEntropyGrad {
    ignore_index: u32,
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }
    fn grad(&self, vjp: &Vjp) -> Vec<Option<Tensor>> {
        let (logits, targets, lse, dloss) = (vjp.x(0), vjp.x(1), vjp.y(1), vjp.dy(0));
        let op = CrossEntropyGrad { ignore_index: self.ignore_index };
        let outputs = [(logits.shape().clone(), DType::F32)];
        let dlogits = logits.graph().record(op, &[logits, targets, lse, dloss], &outputs).remove(0);
        vec![Some(dlogits), None]
    }
    fn flops(&self, io: &Operands) -> u64 {
        6 * io.inputs[0].layout.numel() as u64
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let (mut constants, rows, v) = constants(io, self.ignore_index);
        let lanes = if v < 1024 { 64 } else { 256 };
        constants.push(("LANES", lanes as f64));
        let software = io.software_for(2 * v + v / 64);
        let rows_per_group = if software { 32 } else { 256 / lanes };
        vec![Dispatch {
            shader: SHADER,
            entry: if software { "forward_software" } else { "forward_gpu" },
            constants,
            bindings: vec![Bind::Input(0), Bind::Input(1), Bind::Output(0), Bind::Output(1)],
            workgroups: groups(rows, rows_per_group),
        }]
    }
}

impl Op for CrossEntropyGrad {
    fn name(&self) -> &'static str {
        "cross_entropy_grad"
    }
    fn grad(&self, _: &Vjp) -> Vec<Option<Tensor>> {
        panic!("cross_entropy: second derivatives are not implemented")
    }
    fn flops(&self, io: &Operands) -> u64 {
        6 * io.outputs[0].layout.numel() as u64
    }
    fn epilogue(&self) -> bool {
        true
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let (constants, rows, v) = constants(io, self.ignore_index);
        vec![Dispatch {
            shader: SHADER,
            entry: "backward",
            constants,
            bindings: [0, 1, 2, 3].map(Bind::Input).into_iter().chain([Bind::Output(0)]).collect(),
            workgroups: groups(rows * v, 256),
        }]
    }
}

fn constants(io: &GpuIo, ignore_index: u32) -> (Vec<(&'static str, f64)>, usize, usize) {
    let &[rows, v] = io.inputs[0].dims() else { unreachable!("logits are (R, V)") };
    (vec![("R", rows as f64), ("V", v as f64), ("IGNORE", ignore_index as f64)], rows, v)
}

impl CrossEntropy {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let (logits, targets) = (io.x(0), io.ids(1));
        let v = io.dims(0)[1];
        split_rows2((io.take(0), 1), (io.take(1), 1), 4 * v, |first, losses, lse| {
            let rows = logits[first * v..].chunks_exact(v).zip(&targets[first..]);
            for (((x, &target), loss), lse) in rows.zip(losses).zip(lse) {
                *lse = log_sum_exp(x);
                *loss = if target == self.ignore_index { F::ZERO } else { *lse - x[index(target, v)] };
            }
        });
    }
}

impl CrossEntropyGrad {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let (logits, targets, lse, dloss) = (io.x(0), io.ids(1), io.x(2), io.x(3));
        let v = io.dims(0)[1];
        split_chunks(io.take(0), v, |first, dx| {
            for (i, dx) in dx.chunks_exact_mut(v).enumerate() {
                let r = first + i;
                if targets[r] == self.ignore_index {
                    dx.fill(F::ZERO);
                    continue;
                }
                shares(&logits[r * v..], lse[r], dloss[r], dx);
                dx[index(targets[r], v)] += -dloss[r];
            }
        });
    }
}

wide_fn! {
    /// ln Σ eˣ
    fn log_sum_exp<F: Real>(x: &[F]) -> F {
        let (max, by) = (row_max(x), &F::coefficients::<FUSED>());
        max + row_sum(x, |x| (x - max).exp(by)).ln()
    }
}

wide_fn! {
    /// e^(x − lse)·d
    fn shares<F: Real>(x: &[F], lse: F, d: F, dx: &mut [F]) {
        let by = &F::coefficients::<FUSED>();
        for (dx, &x) in dx.iter_mut().zip(x) {
            *dx = (x - lse).exp(by) * d;
        }
    }
}

/// # Panics
/// When the target is no token of the vocabulary.
fn index(target: u32, v: usize) -> usize {
    assert!((target as usize) < v, "cross_entropy: target {target} is beyond the vocabulary of {v}");
    target as usize
}

impl Tensor {
    /// Cross-entropy of each row of logits, fused log-softmax and negative log-likelihood.
    ///
    /// `losses[r] = ln Σᵥ exp(logits[r, v]) − logits[r, targets[r]]`, and 0 where the target is `ignore_index`. Divide the
    /// sum by the number of counted rows for the mean.
    ///
    /// # Shapes
    /// logits `(R, V)`, targets `(R)` of u32 → losses `(R)`.
    ///
    /// # Gradient
    /// `dlogits[r, v] = (softmax(logits[r])[v] − [v = targets[r]]) · dloss[r]`.
    ///
    /// # Cost
    /// One dispatch forward, one backward. Keeps one number a row, no probabilities.
    ///
    /// # Units
    /// Nats per row.
    ///
    /// # Example
    /// ```text
    /// [[0, 0], [0, ln 3]].cross_entropy([0, 0]) = [ln 2, ln 4]
    /// ```
    ///
    /// # Panics
    /// When the shapes disagree. A target beyond V that is not `ignore_index` panics on the CPU when the program runs; a GPU,
    /// which cannot report it, ignores the row.
    #[track_caller]
    pub fn cross_entropy(&self, targets: &Tensor, ignore_index: u32) -> Tensor {
        expect_dtype("cross_entropy", self, DType::F32);
        expect_dtype("cross_entropy", targets, DType::U32);
        assert!(
            self.shape().len() == 2 && self.dim(1) > 0 && targets.dims() == &self.dims()[..1],
            "cross_entropy: logits {} need shape (R, V), targets {} shape (R)",
            self.shape(),
            targets.shape()
        );
        let rows = (Shape::from(targets.shape()), DType::F32);
        self.graph().record(CrossEntropy { ignore_index }, &[self, targets], &[rows.clone(), rows]).remove(0)
    }
}

fn samples() -> Vec<Sample> {
    const NONE: u32 = u32::MAX;
    let n = Range::Normal;
    let mut samples = Vec::new();
    for v in [1, 3, 65, 255, 256, 257, 3000] {
        samples.push(Sample::new(
            format!("{v} logits"),
            &[(&[7, v], n), (&[7], Range::Ids(v as u32))],
            |x| vec![x[0].cross_entropy(&x[1], NONE)],
        ));
    }
    for r in [1, 3, 255, 256, 257] {
        samples.push(Sample::new(
            format!("{r} rows, some ignored"),
            &[(&[r, 5], n), (&[r], Range::Ids(5))],
            |x| vec![x[0].cross_entropy(&x[1], 2) * 0.1],
        ));
    }
    samples.extend([
        Sample::new("a large vocabulary", &[(&[3, 50_257], n), (&[3], Range::Ids(50_257))], |x| {
            vec![x[0].cross_entropy(&x[1], NONE)]
        }),
        Sample::new("large logits", &[(&[9, 40], n), (&[9], Range::Ids(40))], |x| {
            vec![(&x[0] * 1e4).cross_entropy(&x[1], NONE)]
        })
        .forward_only(),
        Sample::new("logits used twice", &[(&[9, 40], n), (&[9], Range::Ids(40))], |x| {
            vec![x[0].cross_entropy(&x[1], NONE), &x[0] * 0.5]
        }),
        Sample::new("beyond 65535 workgroups", &[(&[262_200, 3], n), (&[262_200], Range::Ids(3))], |x| {
            vec![x[0].cross_entropy(&x[1], 1)]
        })
        .forward_only(),
    ]);
    samples
}

#[cfg(test)]
mod tests {
    use crate::{DType, Device, Graph};

    fn loss_of(targets: &[u32]) -> Vec<f32> {
        let graph = Graph::new();
        let logits = graph.data((2, 2), vec![0.0, 0.0, 0.0, 3f32.ln()]);
        let ids = graph.input("targets", (2,), DType::U32);
        let losses = logits.cross_entropy(&ids, 7);
        let mut program = Device::cpu().compile(&graph, &[("losses", &losses)], &[]).unwrap();
        program.write("targets", targets);
        program.run();
        pollster::block_on(program.read("losses")).unwrap().f32().to_vec()
    }

    #[test]
    fn losses_are_in_nats_and_ignored_rows_lose_nothing() {
        let losses = loss_of(&[0, 0]);
        assert!((losses[0] - 2f32.ln()).abs() < 1e-6 && (losses[1] - 4f32.ln()).abs() < 1e-6);
        assert_eq!(loss_of(&[7, 7]), [0.0, 0.0]);
    }

    #[test]
    #[should_panic(expected = "target 2 is beyond the vocabulary of 2")]
    fn a_target_that_is_no_token_panics_on_the_cpu() {
        loss_of(&[0, 2]);
    }
}
