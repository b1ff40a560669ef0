//! Half precision for what is only kept: two numbers in a u32. The planner inserts these (`plan/halve.rs`); arithmetic stays
//! in f32.

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Kernel, Real, split_chunks, wide};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, expect_dtype, groups};
use crate::shader;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "half", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("half");

/// What there is at one end, f32 numbers, and at the other, pairs of halves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Half {
    /// x (N) → pairs (⌈N / 2⌉) of u32.
    Pack,
    /// Pairs (⌈N / 2⌉) of u32 → y (N).
    Unpack,
}

impl Op for Half {
    fn name(&self) -> &'static str {
        "half"
    }
    /// Bits have no gradient. (The planner inserts these after differentiation.)
    fn grad(&self, _: &Vjp) -> Vec<Option<Tensor>> {
        vec![None]
    }
    fn flops(&self, _: &Operands) -> u64 {
        0
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let (entry, x) = match self {
            Half::Pack => ("pack", &io.inputs[0]),
            Half::Unpack => ("unpack", &io.outputs[0]),
        };
        let n = x.layout.numel();
        vec![Dispatch {
            shader: SHADER,
            entry,
            constants: vec![("N", n as f64)],
            bindings: vec![Bind::Input(0), Bind::Output(0)],
            workgroups: groups(n.div_ceil(2), 64),
        }]
    }
}

impl Half {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        match self {
            Half::Pack => {
                let x = io.x(0);
                split_chunks(io.take_ids(0), 1, |first, pairs| wide(Pack { x: &x[2 * first..], pairs }));
            }
            Half::Unpack => {
                let pairs = io.ids(0);
                split_chunks(io.take(0), 2, |first, y| wide(Unpack { pairs: &pairs[first..], y }));
            }
        }
    }
}

/// So many pairs from the numbers on; the last one may lack its second.
struct Pack<'a, F> {
    x: &'a [F],
    pairs: &'a mut [u32],
}

impl<F: Real> Kernel for Pack<'_, F> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let (x, last) = self.x.as_chunks::<2>();
        for (pair, [low, high]) in self.pairs.iter_mut().zip(x) {
            *pair = narrowed(low.f64() as f32) | narrowed(high.f64() as f32) << 16;
        }
        if let Some(pair) = self.pairs.get_mut(x.len()) {
            *pair = narrowed(last[0].f64() as f32);
        }
    }
}

/// So many numbers from the pairs on.
struct Unpack<'a, F> {
    pairs: &'a [u32],
    y: &'a mut [F],
}

impl<F: Real> Kernel for Unpack<'_, F> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let (y, last) = self.y.as_chunks_mut::<2>();
        for ([low, high], pair) in y.iter_mut().zip(self.pairs) {
            (*low, *high) = (F::of(widened(pair & 0xffff) as f64), F::of(widened(pair >> 16) as f64));
        }
        if let [last] = last {
            *last = F::of(widened(self.pairs[y.len()] & 0xffff) as f64);
        }
    }
}

const INFINITY: u32 = 0x7f80_0000;
/// 112 in the exponent: 127 of f32 less 15 of f16.
const REBIAS: u32 = 0x3800_0000;

/// The bits of the nearest number in half precision, as the shader finds them, and without a branch, so that loops become
/// SIMD. Below 2⁻¹⁴ halves are multiples of 2⁻²⁴, and so is what f32 makes of such a number and a half.
#[inline(always)]
fn narrowed(number: f32) -> u32 {
    let bits = number.to_bits();
    let (sign, size) = (bits >> 16 & 0x8000, bits & 0x7fff_ffff);
    let unusual = if size > INFINITY { 0x7e00 } else { 0x7c00 };
    let small = (f32::from_bits(size) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let usual = (size.wrapping_sub(REBIAS).wrapping_add(0xfff + (size >> 13 & 1)) >> 13).min(0x7bff);
    let half = if size < REBIAS + 0x80_0000 { small } else { usual };
    sign | if size >= INFINITY { unusual } else { half }
}

/// The number of these bits, which f32 holds exactly.
#[inline(always)]
fn widened(half: u32) -> f32 {
    let (sign, size) = ((half & 0x8000) << 16, half & 0x7fff);
    let small = (size as i32 as f32 * 2f32.powi(-24)).to_bits();
    let usual = (size << 13) + if size < 0x7c00 { REBIAS } else { 2 * REBIAS };
    f32::from_bits(sign | if size < 0x400 { small } else { usual })
}

impl Tensor {
    /// The elements in half precision (IEEE 754 binary16), two in a u32, the first in the lower half.
    ///
    /// Rounded to the nearest, of two equally near ones to the even one, the same on all devices. Beyond ±65504 the largest
    /// finite number; infinities and NaN stay what they are.
    ///
    /// # Shapes
    /// Any of N elements → `(⌈N / 2⌉)` of u32.
    ///
    /// # Gradient
    /// None.
    ///
    /// # Cost
    /// One dispatch. Reads 4 bytes and writes 2 for each element.
    ///
    /// # Example
    /// ```text
    /// [1, 0.1].pack_halves() = [0x2e663c00]
    /// ```
    #[track_caller]
    pub fn pack_halves(&self) -> Tensor {
        expect_dtype("half", self, DType::F32);
        let pairs = Shape::from((self.shape().numel().div_ceil(2),));
        self.graph().record(Half::Pack, &[self], &[(pairs, DType::U32)]).remove(0)
    }

    /// The numbers that [`pack_halves`](Self::pack_halves) has packed.
    ///
    /// # Shapes
    /// `(⌈N / 2⌉)` of u32 → `shape`, of N elements.
    ///
    /// # Gradient
    /// None.
    ///
    /// # Panics
    /// When `shape` has another number of elements.
    #[track_caller]
    pub fn unpack_halves(&self, shape: impl Into<Shape>) -> Tensor {
        expect_dtype("half", self, DType::U32);
        let shape = shape.into();
        let pairs = self.shape().numel();
        assert_eq!(pairs, shape.numel().div_ceil(2), "half: {pairs} pairs are not as many as {shape} needs");
        self.graph().record(Half::Unpack, &[self], &[(shape, DType::F32)]).remove(0)
    }
}

fn samples() -> Vec<Sample> {
    let case = |n: usize| {
        Sample::new(format!("{n} numbers"), &[(&[n], Range::Normal)], move |x| {
            let halves = x[0].pack_halves();
            let tiny = (&x[0] * 1e-6).pack_halves();
            vec![halves.unpack_halves((n,)), tiny.unpack_halves((n,)), halves]
        })
        .forward_only()
    };
    // The last one takes more workgroups than one dimension has.
    [1, 2, 3, 255, 256, 257, 2 * 64 * 65_535 + 131].map(case).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::ops::test_devices;

    /// All numbers of half precision, those halfway between two of them, and the neighbours of both in f32.
    fn telling() -> Vec<f32> {
        let mut numbers = Vec::new();
        for half in 0..0x7c00u32 {
            let (this, next) = (widened(half), if half == 0x7bff { 65536.0 } else { widened(half + 1) });
            let middle = this + (next - this) / 2.0;
            for x in [this, middle] {
                let near = |d: i32| f32::from_bits(x.to_bits().saturating_add_signed(d));
                numbers.extend([near(-1), x, near(1)].iter().flat_map(|&x| [x, -x]));
            }
        }
        numbers.extend([
            1e-45,
            1e-38,
            65504.0,
            65519.9,
            65520.0,
            1e30,
            f32::MAX,
            f32::INFINITY,
            f32::NEG_INFINITY,
        ]);
        numbers.extend([0.1, -1.0, 0.0, f32::NAN]);
        numbers
    }

    #[test]
    fn the_nearest_number_is_the_one_of_the_crate_half() {
        for x in telling() {
            let expected = match half::f16::from_f32(x) {
                beyond if beyond.is_infinite() && x.is_finite() => half::f16::MAX.copysign(beyond),
                nearest => nearest,
            };
            let found = narrowed(x);
            if x.is_nan() {
                assert!(widened(found).is_nan());
                continue;
            }
            assert_eq!(found, u32::from(expected.to_bits()), "{x:e}");
            assert_eq!(widened(found).to_bits(), expected.to_f32().to_bits(), "{x:e}");
        }
    }

    #[test]
    fn all_devices_round_alike() {
        let x = telling();
        let graph = Graph::new();
        let input = graph.input("x", (x.len(),), DType::F32);
        let halves = input.pack_halves();
        let back = halves.unpack_halves((x.len(),));
        let expected: Vec<u32> =
            x.chunks(2).map(|x| narrowed(x[0]) | x.get(1).map_or(0, |&x| narrowed(x) << 16)).collect();
        for device in test_devices() {
            let mut program = device.compile(&graph, &[("halves", &halves), ("back", &back)], &[]).unwrap();
            program.write("x", &x);
            program.run();
            let read = |name: &str| pollster::block_on(program.read(name)).unwrap();
            let (halves, back) = (read("halves"), read("back"));
            for ((&found, &expected), x) in halves.u32().iter().zip(&expected).zip(x.chunks(2)) {
                assert_eq!(found, expected, "{x:?} on {}", device.describe());
            }
            for (&y, &x) in back.f32().iter().zip(&x) {
                assert_eq!(y.is_nan(), x.is_nan());
                assert!(y.is_nan() || y.to_bits() == widened(narrowed(x)).to_bits(), "{x:e} → {y:e}");
            }
        }
    }
}
