//! Dropout, with a mask that is computed twice and never stored.

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real, split_chunks};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, expect_dtype, groups};
use crate::rng::{philox, stream_id};
use crate::shader;
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "dropout", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("dropout");

/// The second word of the generator's key: no other consumer of the same seed gets these numbers.
const KEY: u32 = stream_id("dropout") as u32;

/// Blocks of four numbers that the CPU draws together.
const BATCH: usize = 16;

/// (x, seed, step) → y. The gradient is the same operation on dy, which makes the same mask again.
#[derive(Clone, Debug)]
struct Dropout {
    p: f64,
    stream: u32,
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }
    fn grad(&self, vjp: &Vjp) -> Vec<Option<Tensor>> {
        vec![Some(self.record(vjp.dy(0), vjp.x(1), vjp.x(2))), None, None]
    }
    fn flops(&self, io: &Operands) -> u64 {
        // Ten rounds of about twelve integer operations make four words.
        30 * io.outputs[0].layout.numel() as u64
    }
    fn epilogue(&self) -> bool {
        true
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let n = io.outputs[0].layout.numel();
        let constants = vec![
            ("N", n as f64),
            ("SEED", io.scalar(1)),
            ("STEP", io.scalar(2)),
            ("STREAM", self.stream as f64),
            ("KEY", KEY as f64),
            ("THRESHOLD", self.threshold() as f64),
            ("SCALE", self.scale()),
        ];
        let bindings = vec![Bind::Input(0), Bind::Output(0)];
        vec![Dispatch { shader: SHADER, entry: "main", constants, bindings, workgroups: groups(n, 4 * 64) }]
    }
}

impl Dropout {
    /// An element is dropped when its 32 random bits are below this.
    fn threshold(&self) -> u32 {
        (self.p * (1u64 << 32) as f64) as u32
    }

    fn scale(&self) -> f64 {
        1.0 / (1.0 - self.p)
    }

    fn record(&self, x: &Tensor, seed: &Tensor, step: &Tensor) -> Tensor {
        x.graph().record(self.clone(), &[x, seed, step], &[(x.shape().clone(), DType::F32)]).remove(0)
    }

    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let x = io.x(0);
        let (seed, step) = (io.scalar_u32(1), io.scalar_u32(2));
        let (threshold, scale) = (self.threshold(), F::of(self.scale()));
        split_chunks(io.take(0), 4 * BATCH, |first, y| {
            for (i, y) in y.chunks_mut(4 * BATCH).enumerate() {
                let batch = BATCH * (first + i);
                // Numbers first, then elements: two loops that each vectorise.
                let mut words = [[0; 4]; BATCH];
                for (block, words) in words.iter_mut().enumerate() {
                    *words = philox([(batch + block) as u32, self.stream, step, 0], [seed, KEY]);
                }
                for ((y, &x), &bits) in y.iter_mut().zip(&x[4 * batch..]).zip(words.as_flattened()) {
                    *y = if bits >= threshold { x * scale } else { F::ZERO };
                }
            }
        });
    }
}

impl Tensor {
    /// Inverted dropout: each element is kept with probability 1 − p and then divided by it, else it becomes 0.
    ///
    /// Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
    /// <https://jmlr.org/papers/v15/srivastava14a.html>; dividing while training, so that inference needs nothing, is
    /// today's custom.
    ///
    /// `seed` and `step` are per-run u32 scalars, `stream` tells the places of a model apart. The mask depends on the three
    /// and on the element's index alone: it is the same on every device, a resumed run repeats it, and the backward pass
    /// computes it again instead of keeping it.
    ///
    /// # Shapes
    /// Any → the same. With p = 0, the tensor itself.
    ///
    /// # Gradient
    /// dx = dy / (1 − p) where kept, else 0.
    ///
    /// # Cost
    /// One dispatch forward, one backward; nothing kept.
    ///
    /// # Panics
    /// When p is not in [0, 1).
    #[track_caller]
    pub fn dropout(&self, p: f64, seed: &Tensor, step: &Tensor, stream: u32) -> Tensor {
        expect_dtype("dropout", self, DType::F32);
        expect_dtype("dropout", seed, DType::U32);
        expect_dtype("dropout", step, DType::U32);
        assert!((0.0..1.0).contains(&p), "dropout: p must be at least 0 and below 1");
        if p == 0.0 { self.clone() } else { Dropout { p, stream }.record(self, seed, step) }
    }
}

/// Dropout with the scalars that samples and tests set.
fn seeded(x: &Tensor, p: f64, stream: u32) -> Tensor {
    x.dropout(p, &x.graph().scalar_u32("seed"), &x.graph().scalar_u32("step"), stream)
}

fn samples() -> Vec<Sample> {
    let n = Range::Normal;
    let mut samples = Vec::new();
    for size in [1, 3, 255, 256, 257, 70_001] {
        samples
            .push(Sample::new(format!("{size} elements"), &[(&[size], n)], |x| vec![seeded(&x[0], 0.2, 1)]));
    }
    samples.extend([
        Sample::new("p = 0", &[(&[5, 7], n)], |x| vec![seeded(&x[0], 0.0, 1) * 2.0]),
        Sample::new("mid-graph, with a residual", &[(&[5, 77], n), (&[5, 77], n)], |x| {
            vec![&x[1] + seeded(&(&x[0] * 3.0), 0.5, 9).gelu()]
        }),
        Sample::new("beyond 65535 workgroups", &[(&[65_537 * 256], n)], |x| vec![seeded(&x[0], 0.9, 2)])
            .forward_only(),
    ]);
    samples.into_iter().map(|s| s.scalar("seed", 0xdead_beef).scalar("step", 77)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Graph};

    fn kept(device: &Device, p: f64, stream: u32, step: u32) -> Vec<bool> {
        let graph = Graph::new();
        let y = seeded(&graph.full((40_000,), 1.0).contiguous(), p, stream);
        let mut program = device.compile(&graph, &[("y", &y)], &[]).unwrap();
        program.set_u32("seed", 5);
        program.set_u32("step", step);
        program.run();
        let y = pollster::block_on(program.read("y")).unwrap();
        y.f32().iter().map(|&y| y != 0.0).collect()
    }

    #[test]
    fn masks_keep_the_right_share_and_differ_by_stream_and_step() {
        for p in [0.1, 0.5] {
            let share = kept(&Device::cpu(), p, 0, 0).iter().filter(|&&k| k).count() as f64 / 40_000.0;
            let deviation = (p * (1.0 - p) / 40_000.0).sqrt();
            assert!((share - (1.0 - p)).abs() < 4.0 * deviation, "p = {p}: kept {share}");
        }
        let masks = [(0, 0), (1, 0), (0, 1)].map(|(stream, step)| kept(&Device::cpu(), 0.5, stream, step));
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            let same = masks[a].iter().zip(&masks[b]).filter(|(a, b)| a == b).count();
            assert!((19_600..20_400).contains(&same), "{same} of 40000 agree");
        }
    }

    #[test]
    fn every_device_draws_the_same_mask() {
        let [first, rest @ ..] = &crate::ops::test_devices()[..] else { unreachable!() };
        let mask = kept(first, 0.2, 3, 4);
        rest.iter().for_each(|device| assert!(kept(device, 0.2, 3, 4) == mask, "{}", device.describe()));
    }
}
