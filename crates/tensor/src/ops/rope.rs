//! Rotary position embedding.

use std::f64::consts::TAU;

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, GRAIN, HeadRows, Real, join_chunks};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::math::{cos_turn, ln};
use crate::ops::prologue::{POSSIBLE, Prologue};
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, expect_dtype, groups};
use crate::shader;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "rope", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("cos_sin", "rope");

/// A full turn as a phase: angles are u32 that wrap around.
const TURN: f64 = 4_294_967_296.0;

/// (x (B, T, H, D), frequency (D/2), [position (B) or (B, T)]) → y (B, T, H, D)
#[derive(Debug)]
struct Rope {
    /// The first heads, which are rotated; the others are copied.
    rotated: usize,
    /// Rotates backwards: the gradient of a rotation.
    inverse: bool,
    /// What the third input says, if there is one.
    position: Position,
}

/// Where the tokens of a sequence stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// At 0, 1, 2, …
    Counted,
    /// At `position[b]` and so on: `(B,)`.
    Started,
    /// Each at a place of its own: `(B, T)`.
    Given,
}

impl Op for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }
    /// A rotation is orthogonal, so its gradient is the rotation back.
    fn grad(&self, vjp: &Vjp) -> Vec<Option<Tensor>> {
        let (dy, frequency) = (with_whole_heads(vjp.dy(0)), vjp.x(1));
        let mut inputs = vec![&dy, frequency];
        inputs.extend((self.position != Position::Counted).then(|| vjp.x(2)));
        let mut dx = vec![None; inputs.len()];
        let back = Rope { rotated: self.rotated, inverse: !self.inverse, position: self.position };
        dx[0] = Some(dy.graph().record(back, &inputs, &[(dy.shape().clone(), DType::F32)]).remove(0));
        dx
    }
    fn flops(&self, io: &Operands) -> u64 {
        let &[b, t, _, d] = io.inputs[0].dims() else { unreachable!() };
        (b * t * self.rotated * d * 3) as u64
    }
    fn prologue(&self) -> Option<Prologue> {
        let turned = Prologue::Turned { rotated: self.rotated, possible: POSSIBLE? };
        (!self.inverse && self.position == Position::Started).then_some(turned)
    }
    fn strided_input(&self, i: usize) -> bool {
        i == 0
    }
    fn strided_output(&self, _: usize) -> bool {
        true
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let (x, y) = (&io.inputs[0].layout, &io.outputs[0].layout);
        let mut constants = vec![
            ("B", x.shape[0] as f64),
            ("T", x.shape[1] as f64),
            ("H", x.shape[2] as f64),
            ("ROTATED", self.rotated as f64),
            ("HALF", (x.shape[3] / 2) as f64),
            ("INVERSE", self.inverse as u8 as f64),
            ("HAS_POSITION", f64::from(self.position == Position::Started)),
            ("HAS_POSITIONS", f64::from(self.position == Position::Given)),
            ("X_OFFSET", x.offset as f64),
            ("Y_OFFSET", y.offset as f64),
        ];
        for (names, layout) in [(["X_B", "X_T", "X_H"], x), (["Y_B", "Y_T", "Y_H"], y)] {
            constants.extend(names.into_iter().zip(layout.strides.iter().map(|&s| s as f64)));
        }
        // Where there is no position, the table stands in its place and is not read.
        let position = Bind::Input(if self.position == Position::Counted { 1 } else { 2 });
        vec![Dispatch {
            shader: SHADER,
            entry: "rotate",
            constants,
            bindings: vec![Bind::Input(0), Bind::Input(1), position, Bind::Output(0)],
            workgroups: groups(x.numel() / 2, 64),
        }]
    }
}

impl Rope {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let (x, frequency) = (HeadRows::read(io.x(0), io.layout(0)), io.ids(1));
        let position = (self.position != Position::Counted).then(|| io.ids(2));
        let &[batch, t_len, heads, d] = io.dims(0) else { unreachable!() };
        let (y, layout) = io.take_strided(0);
        let y = HeadRows::write(y, layout);
        let rows = batch * t_len;
        let position = |row: usize| match (position, self.position) {
            (Some(position), Position::Given) => position[row] as usize,
            (Some(position), _) => position[row / t_len] as usize + row % t_len,
            (None, _) => row % t_len,
        };
        // A batch has fewer positions than rows: each has its angles once. Where text is generated it is the other way round.
        let positions = (0..rows).map(position).max().map_or(0, |last| last.saturating_add(1));
        let shared = positions <= rows;
        let mut angles = vec![F::ZERO; d * positions.min(rows)]; // rows of D/2 cosines and as many sines
        for (row, angles) in angles.chunks_exact_mut(d).enumerate() {
            let p = if shared { row } else { position(row) } as u32;
            let (cos, sin) = angles.split_at_mut(d / 2);
            for ((cos, sin), &f) in cos.iter_mut().zip(sin).zip(frequency) {
                (*cos, *sin) = self.cos_sin(p.wrapping_mul(f));
            }
        }
        let piece = (GRAIN / (heads * d)).max(1);
        join_chunks(rows.div_ceil(piece), |unit| {
            for row in unit * piece..rows.min((unit + 1) * piece) {
                let angles = &angles[if shared { position(row) } else { row } * d..][..d];
                for h in 0..heads {
                    let at = [row / t_len, row % t_len, h];
                    // SAFETY: the indices are within both tensors, and each row is written by one unit alone.
                    let (x, y) = unsafe { (x.row(at, d), y.row_mut(at, d)) };
                    if h < self.rotated {
                        rotate(x, angles, y);
                    } else {
                        y.copy_from_slice(x);
                    }
                }
            }
        });
    }

    fn cos_sin<F: Real>(&self, phase: u32) -> (F, F) {
        let turns = phase as f64 / TURN;
        let sin = cos_turn(turns - 0.25);
        (F::of(cos_turn(turns)), F::of(if self.inverse { -sin } else { sin }))
    }
}

/// One row of one head, by D/2 cosines and as many sines.
#[inline(always)]
fn rotate<F: Real>(x: &[F], angles: &[F], y: &mut [F]) {
    let half = x.len() / 2;
    let ((x0, x1), (cos, sin)) = (x.split_at(half), angles.split_at(half));
    let (y0, y1) = y.split_at_mut(half);
    for (((((&a, &b), &cos), &sin), ya), yb) in x0.iter().zip(x1).zip(cos).zip(sin).zip(y0).zip(y1) {
        *ya = a * cos - b * sin;
        *yb = a * sin + b * cos;
    }
}

impl Tensor {
    /// Rotary position embedding (Su et al. 2021, <https://arxiv.org/abs/2104.09864>), in Hugging Face's layout: element i
    /// is paired with element i + D/2, not with its neighbour.
    ///
    /// `(y[i], y[i + D/2]) = rotation(p · theta^(−2i/D)) · (x[i], x[i + D/2])` with `p = position[b] + t`, or
    /// `p = position[b, t]`.
    ///
    /// # Shapes
    /// `x (B, T, H, D)`, `position (B,)` or `(B, T)` of u32 → `(B, T, H, D)`; without `position` every sequence begins at 0.
    ///
    /// # Gradient
    /// The rotation by the opposite angle.
    ///
    /// # Cost
    /// One dispatch. x may be a slice; y is written into a concatenation in place.
    ///
    /// # Units
    /// Angles are counted in turns / 2³² and wrap around, so they are as precise at position 100,000 as at 1. Each
    /// frequency is off by at most 2⁻³³ turns a position: 7·10⁻⁷ radians at position 1,000.
    ///
    /// # Panics
    /// When x does not have four dimensions with even D, or position is neither `(B,)` nor `(B, T)` of u32.
    #[track_caller]
    pub fn rope(&self, position: Option<&Tensor>, theta: f64) -> Tensor {
        assert!(self.shape().len() == 4, "rope: expected (B, T, H, D), found {}", self.shape());
        self.rope_heads(position, &inverse_frequencies(self.dim(3), theta), self.dim(2))
    }

    /// Like [`rope`](Self::rope), with a frequency in radians a position for each pair, and for the first `rotated` heads
    /// only: the others are copied. So one dispatch serves the packed heads of q, k and v, of which v is not rotated.
    #[track_caller]
    pub fn rope_heads(&self, position: Option<&Tensor>, frequencies: &[f64], rotated: usize) -> Tensor {
        expect_dtype("rope", self, DType::F32);
        let &[b, t, heads, d] = self.dims() else {
            panic!("rope: expected (B, T, H, D), found {}", self.shape())
        };
        assert!(
            d % 2 == 0 && frequencies.len() == d / 2,
            "rope: {} frequencies for heads of width {d}",
            frequencies.len()
        );
        assert!(rotated <= heads, "rope: {rotated} heads to rotate of {heads}");
        let x = with_whole_heads(self);
        let phases: Vec<u32> =
            frequencies.iter().map(|f| (f / TAU * TURN).round().rem_euclid(TURN) as u32).collect();
        let frequency = self.graph().data((d / 2,), phases);
        let mut inputs = vec![&x, &frequency];
        if let Some(position) = position {
            expect_dtype("rope", position, DType::U32);
            inputs.push(position);
        }
        let position = match position.map(Tensor::dims) {
            None => Position::Counted,
            Some(&[n]) if n == b => Position::Started,
            Some(dims) if *dims == [b, t] => Position::Given,
            Some(dims) => panic!("rope: position must be ({b},) or ({b}, {t}), found {}", Shape::from(dims)),
        };
        let op = Rope { rotated, inverse: false, position };
        self.graph().record(op, &inputs, &[(self.shape().clone(), DType::F32)]).remove(0)
    }
}

/// The tensor itself where the elements of a head lie one after another, else a copy in which they do.
fn with_whole_heads(x: &Tensor) -> Tensor {
    if x.layout().strides[3] == 1 { x.clone() } else { x.contiguous() }
}

/// `theta^(−2i/D)` for each pair i < D/2: the radians by which a pair turns from one position to the next.
pub fn inverse_frequencies(d_head: usize, theta: f64) -> Vec<f64> {
    let ln_theta = ln(theta);
    (0..d_head / 2).map(|i| (-2.0 * i as f64 / d_head as f64 * ln_theta).exp()).collect()
}

fn samples() -> Vec<Sample> {
    let n = Range::Normal;
    let mut samples = Vec::new();
    for (b, t, h, d) in [(1, 1, 1, 2), (2, 3, 2, 8), (1, 257, 3, 16), (3, 5, 1, 64)] {
        samples.push(Sample::new(format!("({b}, {t}, {h}, {d})"), &[(&[b, t, h, d], n)], |x| {
            vec![x[0].rope(None, 1e4)]
        }));
    }
    samples.extend([
        Sample::new("positions", &[(&[3, 4, 2, 8], n), (&[3], Range::Ids(100_000))], |x| {
            vec![x[0].rope(Some(&x[1]), 5e5)]
        }),
        Sample::new("a position of each token", &[(&[3, 4, 2, 8], n), (&[3, 4], Range::Ids(100_000))], |x| {
            vec![x[0].rope(Some(&x[1]), 5e5)]
        }),
        Sample::new("slice of a packed matrix", &[(&[2, 5, 48], n)], |x| {
            vec![x[0].slice(2, 16, 32).reshape((2, 5, 2, 8)).rope(None, 1e4)]
        }),
        Sample::new("transposed", &[(&[2, 8, 3, 4], n)], |x| {
            vec![x[0].permute(&[0, 2, 3, 1]).rope(None, 1e4)]
        }),
        Sample::new("transposed gradient", &[(&[2, 3, 4, 8], n)], |x| {
            vec![x[0].rope(None, 1e4).permute(&[0, 2, 3, 1]) * 1.0]
        }),
        Sample::new("q and k rotated, v copied", &[(&[2, 5, 6, 8], n)], |x| {
            vec![x[0].rope_heads(None, &inverse_frequencies(8, 100.0), 5)]
        }),
        Sample::new("into a concatenation", &[(&[2, 5, 3, 4], n), (&[2, 5, 2, 4], n)], |x| {
            vec![crate::cat(&[x[0].rope(None, 1e4), x[1].exp()], 2)]
        }),
        Sample::new("beyond 65535 workgroups", &[(&[1, 65_537, 1, 128], n)], |x| vec![x[0].rope(None, 1e4)])
            .forward_only(),
    ]);
    samples
}

#[cfg(test)]
mod tests {
    use crate::{DType, Device, Graph};

    #[test]
    fn a_quarter_turn_swaps_the_pair() {
        // theta = 1 and D = 2 turn by 1 radian a position; 11 radians are 1.75 turns less 0.0044.
        let graph = Graph::new();
        let x = graph.input("x", (1, 1, 1, 2), DType::F32);
        let position = graph.input("position", (1,), DType::U32);
        let y = x.rope(Some(&position), 1.0);
        let mut program = Device::cpu().compile(&graph, &[("y", &y)], &[]).unwrap();
        program.write("x", &[1.0f32, 0.0][..]);
        program.write("position", &[11u32][..]);
        program.run();
        let y = pollster::block_on(program.read("y")).unwrap();
        assert!((y.f32()[0] - 11f32.cos()).abs() < 1e-6 && (y.f32()[1] - 11f32.sin()).abs() < 1e-6, "{y:?}");
    }
}
