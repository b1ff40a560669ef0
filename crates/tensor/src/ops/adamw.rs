//! AdamW on all parameters at once: one kernel over the flat state.

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real, split_rows, wide_fn};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, expect_dtype, groups};
use crate::shader;
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "adamw", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("adamw");

/// Elements that share an entry of the decay table: parameters are padded to this length.
pub const DECAY_BLOCK: usize = 64;

/// What [`adamw`] reads and updates.
pub struct AdamW<'a> {
    /// State (N,): the parameters, updated.
    pub params: &'a Tensor,
    /// Their gradient (N,).
    pub grads: &'a Tensor,
    /// State (N,): the running mean of gradients, updated.
    pub m: &'a Tensor,
    /// State (N,): the running mean of squared gradients, updated.
    pub v: &'a Tensor,
    /// What [`grad_norm`](Tensor::grad_norm) says of `grads`: the clip factor, and whether to skip the step.
    pub stats: &'a Tensor,
    /// (N / 64,): what `weight_decay` is multiplied by, for each block of 64 parameters; 0 or 1 as a rule.
    pub decay: &'a Tensor,
    /// Per-run f32: the learning rate.
    pub lr: &'a Tensor,
    /// Per-run f32: 1 − beta1ᵗ at step t, counted from 1. The host computes it in f64, so that all devices agree.
    pub bias1: &'a Tensor,
    /// Per-run f32: 1 − beta2ᵗ.
    pub bias2: &'a Tensor,
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Keeps the division finite.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

/// (params, grads, m, v, stats, decay, lr, bias1, bias2) → params, m, v, in place.
#[derive(Debug)]
struct AdamWStep {
    beta1: f64,
    beta2: f64,
    eps: f64,
    weight_decay: f64,
}

impl Op for AdamWStep {
    fn name(&self) -> &'static str {
        "adamw"
    }
    fn grad(&self, _: &Vjp) -> Vec<Option<Tensor>> {
        panic!("adamw: an optimizer's step is not differentiable")
    }
    fn flops(&self, io: &Operands) -> u64 {
        15 * io.outputs[0].layout.numel() as u64
    }
    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0), (1, 2), (2, 3)]
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let n = io.outputs[0].layout.numel();
        assert!(
            4 * n as u64 <= io.limits.max_binding_bytes,
            "adamw: {n} parameters are {} bytes, the device binds at most {}",
            4 * n,
            io.limits.max_binding_bytes
        );
        let constants = vec![
            ("N4", (n / 4) as f64),
            ("LR", io.scalar(6)),
            ("BIAS1", io.scalar(7)),
            ("BIAS2", io.scalar(8)),
            ("KEEP1", 1.0 - self.beta1),
            ("BETA2", self.beta2),
            ("KEEP2", 1.0 - self.beta2),
            ("EPS", self.eps),
            ("WEIGHT_DECAY", self.weight_decay),
        ];
        let inputs = [1, 4, 5].map(Bind::Input);
        let outputs = [0, 1, 2].map(Bind::Output);
        vec![Dispatch {
            shader: SHADER,
            entry: "main",
            constants,
            bindings: inputs.into_iter().chain(outputs).collect(),
            workgroups: groups(n / 4, 64),
        }]
    }
}

impl AdamWStep {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let (grads, stats, decay) = (io.x(1), io.x(4), io.x(5));
        let scalar = |i: usize| F::of(io.scalar(i) as f64);
        let (lr, bias1, bias2) = (scalar(6), scalar(7), scalar(8));
        let (clip, skip) = (stats[1], stats[2] != F::ZERO);
        if skip {
            return;
        }
        let root = bias2.sqrt();
        let by = Factors {
            clip,
            keep1: F::of(1.0 - self.beta1),
            beta2: F::of(self.beta2),
            keep2: F::of(1.0 - self.beta2),
            eps: F::of(self.eps) * root,
            step: lr / bias1 * root,
        };
        // One piece for each block: its parts of the three states.
        let [params, m, v] = [0, 1, 2].map(|k| io.take(k).chunks_mut(DECAY_BLOCK));
        let mut pieces: Vec<_> = params.zip(m).zip(v).collect();
        split_rows((&mut pieces, 1), DECAY_BLOCK, |first, pieces| {
            let table = decay[first..].iter().zip(grads[first * DECAY_BLOCK..].chunks_exact(DECAY_BLOCK));
            for (((params, m), v), (&decay, grads)) in pieces.iter_mut().zip(table) {
                let shrink = F::ONE - lr * F::of(self.weight_decay) * decay;
                update(params, m, v, grads, shrink, &by);
            }
        });
    }
}

/// What all parameters of a step share.
struct Factors<F> {
    clip: F,
    keep1: F,
    beta2: F,
    keep2: F,
    /// eps·√bias2
    eps: F,
    /// lr·√bias2/bias1
    step: F,
}

wide_fn! {
    /// One block of parameters and their moments.
    fn update<F: Real>(params: &mut [F], m: &mut [F], v: &mut [F], grads: &[F], shrink: F, by: &Factors<F>) {
        for (((p, m), v), &g) in params.iter_mut().zip(m).zip(v).zip(grads) {
            let g = g * by.clip;
            *m += by.keep1 * (g - *m);
            *v = by.beta2 * *v + by.keep2 * g * g;
            *p = *p * shrink - by.step * *m / ((*v).sqrt() + by.eps);
        }
    }
}

/// One AdamW step on all parameters: Adam with decoupled weight decay.
///
/// With g the clipped gradient, in PyTorch's order:
/// `p ← p − lr·weight_decay·decay·p`, `m ← m + (1 − beta1)(g − m)`, `v ← beta2·v + (1 − beta2)·g²`,
/// `p ← p − lr/bias1 · m / (√v/√bias2 + eps)`, both sides of the fraction times √bias2, which saves a division for each number.
/// Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization", <https://arxiv.org/abs/1711.05101>.
///
/// The whole step is skipped when `stats` reports a NaN or an infinity: parameters and moments keep their bits.
///
/// # Shapes
/// All `(N,)` with N a multiple of 64, `decay` `(N / 64,)`. Returns the updated params, m and v, which are the same states.
///
/// # Cost
/// One dispatch; reads 16 bytes and writes 12 for each parameter.
///
/// # Panics
/// When a shape differs, or N is not a multiple of 64. On a GPU, when the device cannot bind a state whole.
#[track_caller]
pub fn adamw(step: AdamW) -> [Tensor; 3] {
    let n = step.params.shape().numel();
    for (name, x, want) in [
        ("params", step.params, n),
        ("grads", step.grads, n),
        ("m", step.m, n),
        ("v", step.v, n),
        ("stats", step.stats, 4),
        ("decay", step.decay, n / DECAY_BLOCK),
    ] {
        expect_dtype("adamw", x, DType::F32);
        assert!(x.dims() == [want], "adamw: {name} needs shape ({want},), found {}", x.shape());
    }
    assert!(n.is_multiple_of(DECAY_BLOCK), "adamw: {n} parameters are not a multiple of {DECAY_BLOCK}");
    let AdamW { params, grads, m, v, stats, decay, lr, bias1, bias2, beta1, beta2, eps, weight_decay } = step;
    let flat = ((n,).into(), DType::F32);
    let outputs = params.graph().record(
        AdamWStep { beta1, beta2, eps, weight_decay },
        &[params, grads, m, v, stats, decay, lr, bias1, bias2],
        &[flat.clone(), flat.clone(), flat],
    );
    outputs.try_into().expect("three outputs")
}

/// A step on states of `n` elements in the graph of `grads`, with settings for tests.
fn record(grads: &Tensor, max_norm: f64) -> [Tensor; 3] {
    let (graph, n) = (grads.graph(), grads.dim(0));
    let state = |name: &str| graph.state(name, (n,), DType::F32);
    let decay =
        graph.data((n / DECAY_BLOCK,), (0..n / DECAY_BLOCK).map(|i| (i % 2) as f32).collect::<Vec<_>>());
    adamw(AdamW {
        params: &state("params"),
        grads,
        m: &state("m"),
        v: &state("v"),
        stats: &grads.grad_norm(max_norm),
        decay: &decay,
        lr: &graph.scalar("lr"),
        bias1: &graph.scalar("bias1"),
        bias2: &graph.scalar("bias2"),
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        weight_decay: 0.1,
    })
}

fn samples() -> Vec<Sample> {
    let sample = |n: usize, max_norm: f64| {
        Sample::new(format!("{n} parameters, clipped to {max_norm}"), &[(&[n], Range::Normal)], move |x| {
            record(&x[0], max_norm).to_vec()
        })
        .forward_only()
        .scalar("lr", 0.01f32.to_bits())
        .scalar("bias1", 0.1f32.to_bits())
        .scalar("bias2", 0.01f32.to_bits())
    };
    vec![sample(64, 0.0), sample(192, 1.0), sample(DECAY_BLOCK * 257, 1.0), sample(20_000 * DECAY_BLOCK, 1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Data;
    use crate::ops::test_devices;
    use crate::rng::Rng;
    use crate::{Device, Graph, State};

    const N: usize = 256;

    /// The algorithm as the paper and PyTorch write it, in f64.
    fn reference(state: &mut [[f64; 3]], grads: &[f32], t: i32, lr: f64) {
        let norm = grads.iter().map(|&g| (g as f64).powi(2)).sum::<f64>().sqrt();
        let clip = (1.0 / (norm + 1e-6)).min(1.0);
        for (i, ([p, m, v], g)) in state.iter_mut().zip(grads).enumerate() {
            let g = *g as f64 * clip;
            *p -= lr * 0.1 * ((i / 64) % 2) as f64 * *p;
            *m = 0.9 * *m + 0.1 * g;
            *v = 0.99 * *v + 0.01 * g * g;
            let (m_hat, v_hat) = (*m / (1.0 - 0.9f64.powi(t)), *v / (1.0 - 0.99f64.powi(t)));
            *p -= lr * m_hat / (v_hat.sqrt() + 1e-8);
        }
    }

    fn states(device: &Device, params: &[f32]) -> Vec<(&'static str, State)> {
        let states = ["params", "m", "v"].map(|name| (name, device.state(name, N, DType::F32).unwrap()));
        states[0].1.write(&Data::F32(params.to_vec()));
        states.into()
    }

    #[test]
    fn ten_steps_follow_the_paper_and_a_bad_step_changes_nothing() {
        let mut rng = Rng::new(3, 0);
        let params: Vec<f32> = (0..N).map(|_| rng.normal()).collect();
        let grads: Vec<Vec<f32>> = (0..10).map(|_| (0..N).map(|_| rng.normal()).collect()).collect();
        for device in test_devices() {
            let graph = Graph::new();
            record(&graph.input("grads", (N,), DType::F32), 1.0);
            let states = states(&device, &params);
            let bound: Vec<(&str, &State)> = states.iter().map(|(name, state)| (*name, state)).collect();
            let mut program = device.compile(&graph, &[], &bound).unwrap();
            let mut want: Vec<[f64; 3]> = params.iter().map(|&p| [p as f64, 0.0, 0.0]).collect();
            for (t, grads) in (1..).zip(&grads) {
                let lr = 0.01 / t as f32;
                reference(&mut want, grads, t, lr as f64);
                program.set("lr", lr);
                program.set("bias1", (1.0 - 0.9f64.powi(t)) as f32);
                program.set("bias2", (1.0 - 0.99f64.powi(t)) as f32);
                program.write("grads", grads);
                program.run();
            }
            let read = |k: usize| pollster::block_on(states[k].1.read()).unwrap().f32().to_vec();
            let after = [read(0), read(1), read(2)];
            for (k, got) in after.iter().enumerate() {
                let want: Vec<f64> = want.iter().map(|row| row[k]).collect();
                let got: Vec<f64> = got.iter().map(|&x| x as f64).collect();
                crate::check::compare(&want, &got, 1e-6).unwrap();
            }
            let mut bad = grads[0].clone();
            bad[N - 1] = f32::NAN;
            program.write("grads", &bad);
            program.run();
            assert_eq!([read(0), read(1), read(2)], after, "{}", device.describe());
        }
    }
}
