//! Matrix product with a matrix of small whole numbers, for generation: a decoded token reads every weight once, so a
//! weight of a quarter or an eighth of the bytes takes about as much less time.
//!
//! Neighbours along k share a scale, [`GROUP`] at a time: w[k, n] = scale · (code − 2^(bits − 1)), Dettmers and Zettlemoyer
//! 2023, "The case for 4-bit precision", <https://arxiv.org/abs/2212.09720>. Sums are in f32, or exact within a group.
//! Columns lie in panels, of which a workgroup reads one group after the other; a group lies in strips of columns, so that a
//! processor that has registers for no more reads on and on. In a strip the words of one row are neighbours: a register of
//! the CPU, or threads side by side, read them at once.

use std::rc::Rc;

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
#[cfg(any(target_arch = "x86_64", target_arch = "wasm32"))]
use crate::cpu::RowsInDigits;
use crate::cpu::{CpuIo, FEW_ROWS, Kernel, Real, SendPtr, Triangle, add_product, join_chunks, threads, wide};
#[cfg(target_arch = "x86_64")]
use crate::cpu::{FewKernels, few_kernels};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::prologue::Prologue;
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, expect_dtype, groups, quantized_row};
use crate::shader;
use crate::shape::Layout;
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "quantized_matmul", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("quantized_matmul");

/// Neighbours along k that share a scale.
pub const GROUP: usize = 32;

/// Columns of a panel.
pub const PANEL: usize = 64;

/// Columns of a strip.
pub const STRIP: usize = 16;

/// A matrix (K, N) as [`Tensor::quantized_matmul`] reads it.
pub struct Quantized {
    /// `(⌈N / PANEL⌉, K / GROUP, bits·PANEL)`, the last of which is `(PANEL / STRIP, bits, STRIP)`: of a column's codes, the
    /// lower k in the lower bits.
    pub codes: Vec<u32>,
    /// `(⌈N / PANEL⌉, K / GROUP, PANEL)`.
    pub scales: Vec<f32>,
}

impl Quantized {
    /// Rounds a matrix (K, N), given by its elements (k, n), to codes of 8 or 4 bits. The largest of a group is met exactly.
    ///
    /// # Panics
    /// When K is not a multiple of [`GROUP`], or there are other bits.
    pub fn of([k, n]: [usize; 2], bits: usize, element: impl Fn(usize, usize) -> f32) -> Quantized {
        assert!(k.is_multiple_of(GROUP), "quantized: {k} rows, expected a multiple of {GROUP}");
        assert!(matches!(bits, 4 | 8), "quantized: {bits} bits, expected 4 or 8");
        let (groups, most) = (k / GROUP, ((1 << (bits - 1)) - 1) as f32);
        let panels = n.div_ceil(PANEL);
        let mut codes = vec![0u32; panels * groups * bits * PANEL];
        let mut scales = vec![0.0; panels * groups * PANEL];
        for column in 0..n {
            for group in 0..groups {
                let weights: [f32; GROUP] = std::array::from_fn(|i| element(group * GROUP + i, column));
                let largest = weights.iter().fold(0.0, |top: f32, w| top.max(w.abs()));
                let scale = largest / most;
                scales[place([column, group], [groups, 1])] = scale;
                for (i, w) in weights.iter().enumerate() {
                    let steps = if scale > 0.0 { (w / scale).round().clamp(-most, most) } else { 0.0 };
                    let code = (steps as i32 + (1 << (bits - 1))) as u32;
                    let word = group * bits + i * bits / 32;
                    codes[place([column, word], [groups, bits])] |= code << (i * bits % 32);
                }
            }
        }
        Quantized { codes, scales }
    }
}

/// Where word i of column j lies among panels of so many groups, each of so many words a column.
fn place([j, i]: [usize; 2], [groups, words]: [usize; 2]) -> usize {
    let group = j / PANEL * groups + i / words;
    let strip = group * (PANEL / STRIP) + j % PANEL / STRIP;
    (strip * words + i % words) * STRIP + j % STRIP
}

/// Rows of words as columns of panels: `(n, row)`, `words` of a group → `(⌈n / PANEL⌉, row / words, words·PANEL)`, missing
/// columns filled with `T::default()`.
pub fn to_panels<T: Copy + Default>(rows: &[T], [row, words]: [usize; 2]) -> Vec<T> {
    let mut panels = vec![T::default(); (rows.len() / row).next_multiple_of(PANEL) * row];
    for (at, &word) in rows.iter().enumerate() {
        panels[place([at / row, at % row], [row / words, words])] = word;
    }
    panels
}

/// Back from panels: `(⌈n / PANEL⌉, row / words, words·PANEL)` → `(n, row)`.
pub fn from_panels<T: Copy>(panels: &[T], n: usize, [row, words]: [usize; 2]) -> Vec<T> {
    let word = |at: usize| panels[place([at / row, at % row], [row / words, words])];
    (0..n * row).map(word).collect()
}

/// (x (M, K), codes, scales) → y (M, N)
#[derive(Clone, Copy, Debug)]
pub(super) struct QuantizedMatmul {
    pub bits: usize,
    pub n: usize,
}

impl Op for QuantizedMatmul {
    fn name(&self) -> &'static str {
        "quantized_matmul"
    }
    fn grad(&self, _: &Vjp) -> Vec<Option<Tensor>> {
        panic!("quantized_matmul: quantised weights are for generation and have no gradient")
    }
    fn flops(&self, io: &Operands) -> u64 {
        2 * io.outputs[0].layout.numel() as u64 * io.inputs[0].layout.shape[1] as u64
    }
    fn epilogue(&self) -> bool {
        true
    }
    fn after(&self, prologue: Prologue, at: &[usize], inputs: &[Layout]) -> Option<Rc<dyn Op>> {
        quantized_row::after(*self, prologue, at, inputs)
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let &[m, k] = io.inputs[0].dims() else { unreachable!() };
        let n = self.n;
        let software = io.software_for(k / 4 + k / GROUP + 16);
        if !software && m <= quantized_row::MOST {
            return vec![quantized_row::plain(*self, [m, k])];
        }
        let rows = if m == 1 { 1 } else { 4 };
        let blocks = m.div_ceil(rows) * n.div_ceil(PANEL);
        let constants = [("M", m), ("N", n), ("K", k), ("BITS", self.bits), ("ROWS", rows)];
        vec![Dispatch {
            shader: SHADER,
            entry: if software { "software" } else { "gpu" },
            constants: constants.map(|(name, value)| (name, value as f64)).to_vec(),
            bindings: vec![Bind::Input(0), Bind::Input(1), Bind::Input(2), Bind::Output(0)],
            workgroups: if software { groups(blocks * PANEL, 8) } else { blocks as u64 },
        }]
    }
}

/// The product by a matrix of n columns whose codes lie in this way.
pub(crate) fn product(codes: &Layout, n: usize) -> Rc<dyn Op> {
    Rc::new(QuantizedMatmul { bits: codes.shape[2] / PANEL, n })
}

impl QuantizedMatmul {
    fn run<F: Real>(&self, io: CpuIo<F>) {
        match self.bits {
            4 => run::<F, 4>(io, self.n),
            _ => run::<F, 8>(io, self.n),
        }
    }
}

/// The most rows that codes are multiplied for as they are. To unpack them takes as long for one row as for many: in a page, some
/// twenty times as long as to multiply them for one.
const MOST: usize = if cfg!(target_arch = "wasm32") { 2 * FEW_ROWS } else { FEW_ROWS };

/// Runs of panels for each thread, and the least number of weights in one: to wake a thread takes as long as to multiply them.
const PIECES: usize = 2;
const PIECE: usize = 1 << 16;

fn run<F: Real, const BITS: usize>(mut io: CpuIo<F>, n: usize) {
    let (x, codes, scales) = (io.x(0), io.ids(1), io.x(2));
    let &[m, k] = io.dims(0) else { unreachable!() };
    if m == 0 {
        return;
    }
    let few = (m <= MOST).then(|| Rows::<F, BITS>::of(x, [m, k]));
    let y = SendPtr(io.take(0).as_mut_ptr());
    let panels = n.div_ceil(PANEL);
    let pieces = panels.min(PIECES * threads()).min((n * k).div_ceil(PIECE));
    join_chunks(pieces, |piece| {
        let range = piece * panels / pieces..(piece + 1) * panels / pieces;
        let codes = &codes[range.start * k * BITS / 32 * PANEL..range.end * k * BITS / 32 * PANEL];
        let scales = &scales[range.start * k / GROUP * PANEL..range.end * k / GROUP * PANEL];
        let width = |p: usize| PANEL.min(n - p * PANEL);
        // SAFETY: each panel writes columns of its own, within y.
        let part = |row: usize, p: usize| unsafe {
            std::slice::from_raw_parts_mut(y.get().add(row * n + p * PANEL), width(p))
        };
        if let Some(few) = &few {
            let mut own = vec![F::ZERO; range.len() * m * PANEL];
            few.multiply([x, scales], [m, k], codes, &mut own);
            for (at, y) in own.chunks_exact(PANEL).enumerate() {
                let to = part(at % m, range.start + at / m);
                to.copy_from_slice(&y[..to.len()]);
            }
        } else {
            let mut own = vec![F::ZERO; k * PANEL];
            let panel = codes.chunks_exact(k * BITS / 32 * PANEL).zip(scales.chunks_exact(k / GROUP * PANEL));
            for (p, (codes, scales)) in range.zip(panel) {
                unpack::<F, BITS>(codes, scales, &mut own);
                // SAFETY: as above; x is (M, K), and what has been unpacked (K, PANEL).
                unsafe {
                    let (x, b) = ((x.as_ptr(), [k as isize, 1]), (own.as_ptr(), [PANEL as isize, 1]));
                    let c = (part(0, p).as_mut_ptr(), [n as isize, 1]);
                    F::gemm(Triangle::WHOLE, [m, k, width(p)], x, b, F::ZERO, c);
                }
            }
        }
    });
}

/// A few rows of x, in the form in which they are multiplied.
enum Rows<F, const BITS: usize> {
    One(Row<F>),
    /// As they are: a panel's groups are unpacked once for all of them.
    Plain,
    #[cfg(target_arch = "x86_64")]
    Columns(FewColumns<F>),
    #[cfg(any(target_arch = "x86_64", target_arch = "wasm32"))]
    Digits(RowsInDigits<BITS>),
}

impl<F: Real, const BITS: usize> Rows<F, BITS> {
    /// Whether there may be others than digits. In WebAssembly only numbers of 64 bits have none, and those no page computes with.
    const OTHERS: bool = cfg!(not(target_arch = "wasm32")) || size_of::<F>() > 4;

    /// Those of x (M, k) that suit this processor.
    fn of(x: &[F], [m, k]: [usize; 2]) -> Self {
        #[cfg(any(target_arch = "x86_64", target_arch = "wasm32"))]
        if let Some(digits) = RowsInDigits::of(x, k) {
            return Rows::Digits(digits);
        }
        #[cfg(target_arch = "x86_64")]
        if m > 1
            && let Some(columns) = FewColumns::of(x, k)
        {
            return Rows::Columns(columns);
        }
        if m == 1 { Rows::One(Row::new::<BITS>(x)) } else { Rows::Plain }
    }

    /// y (panels, M, PANEL) += x (M, k) times panels that follow each other.
    fn multiply(&self, [x, scales]: [&[F]; 2], [m, k]: [usize; 2], codes: &[u32], y: &mut [F]) {
        #[cfg(any(target_arch = "x86_64", target_arch = "wasm32"))]
        if let Rows::Digits(digits) = self {
            return digits.multiply(codes, scales, y);
        }
        let panels = codes.chunks_exact(k * BITS / 32 * PANEL).zip(scales.chunks_exact(k / GROUP * PANEL));
        for ((codes, scales), y) in panels.zip(y.chunks_exact_mut(m * PANEL)) {
            match self {
                Rows::One(row) if Self::OTHERS => wide(OneRow::<F, BITS> { row, codes, scales, y }),
                Rows::Plain if Self::OTHERS => few_rows::<F, BITS>([x, scales], k, codes, y),
                #[cfg(target_arch = "x86_64")]
                Rows::Columns(columns) => columns.multiply::<BITS>(codes, scales, y),
                _ => unreachable!("they are digits"),
            }
        }
    }
}

/// A row of x, prepared so that codes are multiplied where they are in their word: a code that stands `s` bits up is 2^s
/// times too large, so x is as much smaller. That the codes have an offset is made good for once a group.
struct Row<F> {
    scaled: Vec<F>,
    /// −2^(bits − 1) · Σ x, for each group.
    offsets: Vec<F>,
}

impl<F: Real> Row<F> {
    fn new<const BITS: usize>(x: &[F]) -> Row<F> {
        let per_word = 32 / BITS;
        // The highest code of a word is shifted down: as a whole number with a sign it might be negative.
        let shift = |i: usize| if i % per_word == per_word - 1 { 0 } else { i % per_word * BITS };
        let scaled =
            x.iter().enumerate().map(|(i, &x)| x * F::of(1.0 / f64::from(1u32 << shift(i)))).collect();
        let half = F::of(-f64::from(1 << (BITS - 1)));
        let sum = |group: &[F]| group.iter().fold(F::ZERO, |sum, &x| sum + x) * half;
        Row { scaled, offsets: x.chunks_exact(GROUP).map(sum).collect() }
    }
}

/// One row times one panel.
struct OneRow<'a, F, const BITS: usize> {
    row: &'a Row<F>,
    codes: &'a [u32],
    scales: &'a [F],
    y: &'a mut [F],
}

impl<F: Real, const BITS: usize> Kernel for OneRow<'_, F, BITS> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let OneRow { row, codes, scales, y } = self;
        let per_word = 32 / BITS;
        let groups = row.scaled.chunks_exact(GROUP).zip(&row.offsets);
        let panel = codes.chunks_exact(BITS * PANEL).zip(scales.chunks_exact(PANEL));
        for ((x, &offset), (codes, scales)) in groups.zip(panel) {
            let mut sums = [offset; PANEL];
            // Eight k at a time: one word of 4-bit codes, two of 8.
            for (eight, x) in x.chunks_exact(8).enumerate() {
                for (sums, strip) in sums.chunks_exact_mut(STRIP).zip(codes.chunks_exact(BITS * STRIP)) {
                    let words = &strip[eight * BITS / 4 * STRIP..][..BITS / 4 * STRIP];
                    for (j, sum) in sums.iter_mut().enumerate() {
                        let code =
                            |i: usize| in_place::<F, BITS>(words[i / per_word * STRIP + j], i % per_word);
                        let add = |sum: F, i: usize| add_product::<F, FUSED>(sum, x[i], code(i));
                        *sum = add(add(add(add(*sum, 4), 5), 6), 7) + add(add(add(x[0] * code(0), 1), 2), 3);
                    }
                }
            }
            for ((y, sum), &scale) in y.iter_mut().zip(sums).zip(scales) {
                *y = add_product::<F, FUSED>(*y, sum, scale);
            }
        }
    }
}

/// Code i of a word, not shifted down unless it is the highest one. Exact: it has few significant bits.
#[inline(always)]
fn in_place<F: Real, const BITS: usize>(word: u32, i: usize) -> F {
    F::from_i32(match i == 32 / BITS - 1 {
        true => word >> (32 - BITS),
        false => word & (((1 << BITS) - 1) << (i * BITS)),
    } as i32)
}

/// y (M, PANEL) += x (M, k) times one panel, whose groups are unpacked once for all of a few rows.
fn few_rows<F: Real, const BITS: usize>([x, scales]: [&[F]; 2], k: usize, codes: &[u32], y: &mut [F]) {
    let mut weights = [F::ZERO; GROUP * PANEL];
    let panel = codes.chunks_exact(BITS * PANEL).zip(scales.chunks_exact(PANEL));
    for (group, (codes, scales)) in panel.enumerate() {
        unpack::<F, BITS>(codes, scales, &mut weights);
        wide(GroupOfRows { x: &x[group * GROUP..], k, weights: &weights, y });
    }
}

/// A few rows, `k` apart, times one group of a panel.
struct GroupOfRows<'a, F> {
    x: &'a [F],
    k: usize,
    weights: &'a [F; GROUP * PANEL],
    y: &'a mut [F],
}

impl<F: Real> Kernel for GroupOfRows<'_, F> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        for (x, y) in self.x.chunks(self.k).zip(self.y.chunks_exact_mut(PANEL)) {
            for (x, w) in x[..GROUP].chunks_exact(8).zip(self.weights.chunks_exact(8 * PANEL)) {
                for (j, y) in y.iter_mut().enumerate() {
                    let mut sum = *y;
                    for i in 0..8 {
                        sum = add_product::<F, FUSED>(sum, x[i], w[i * PANEL + j]);
                    }
                    *y = sum;
                }
            }
        }
    }
}

/// A few rows, whose sums with one panel stay in registers for a whole group.
#[cfg(target_arch = "x86_64")]
struct FewColumns<F> {
    /// (K, M)
    columns: Vec<F>,
    kernels: FewKernels,
}

#[cfg(target_arch = "x86_64")]
impl<F: Real> FewColumns<F> {
    /// Those of x (M, k), where there are kernels for them.
    fn of(x: &[F], k: usize) -> Option<FewColumns<F>> {
        let columns = (0..k).flat_map(|i| x[i..].iter().step_by(k).copied()).collect();
        few_kernels::<F>().map(|kernels| FewColumns { columns, kernels })
    }

    /// y (M, PANEL) += x times the panel, with the bits of [`few_rows`].
    fn multiply<const BITS: usize>(&self, codes: &[u32], scales: &[F], y: &mut [F]) {
        let mut weights = [F::ZERO; GROUP * PANEL];
        let panel = codes.chunks_exact(BITS * PANEL).zip(scales.chunks_exact(PANEL));
        let columns = self.columns.chunks_exact(y.len() / PANEL * GROUP);
        for (x, (codes, scales)) in columns.zip(panel) {
            unpack::<F, BITS>(codes, scales, &mut weights);
            self.kernels.add_rows(x, (&weights, PANEL), (y, PANEL), true);
        }
    }
}

/// Codes and scales of whole groups of a panel to weights, (k, PANEL). Compiled once, whoever needs it.
#[inline(never)]
fn unpack<F: Real, const BITS: usize>(codes: &[u32], scales: &[F], to: &mut [F]) {
    wide(Unpack::<F, BITS> { codes, scales, to });
}

/// See [`unpack`].
struct Unpack<'a, F, const BITS: usize> {
    codes: &'a [u32],
    scales: &'a [F],
    to: &'a mut [F],
}

impl<F: Real, const BITS: usize> Kernel for Unpack<'_, F, BITS> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Unpack { codes, scales, to } = self;
        let per_word = 32 / BITS;
        let groups = codes.chunks_exact(BITS * PANEL).zip(scales.chunks_exact(PANEL));
        for ((codes, scales), to) in groups.zip(to.chunks_exact_mut(GROUP * PANEL)) {
            for (k, to) in to.chunks_exact_mut(PANEL).enumerate() {
                let strips = codes.chunks_exact(BITS * STRIP).zip(scales.chunks_exact(STRIP));
                for ((codes, scales), to) in strips.zip(to.chunks_exact_mut(STRIP)) {
                    let words = &codes[k / per_word * STRIP..][..STRIP];
                    for ((to, &word), &scale) in to.iter_mut().zip(words).zip(scales) {
                        let code = (word >> (k % per_word * BITS) & ((1 << BITS) - 1)) as i32;
                        *to = F::from_i32(code - (1 << (BITS - 1))) * scale;
                    }
                }
            }
        }
    }
}

impl Tensor {
    /// Product with a [`Quantized`] matrix (K, N); how many bits its codes have follows from the shapes.
    ///
    /// # Shapes
    /// `(…, K)`, codes `(⌈N / PANEL⌉, K / GROUP, bits·PANEL)` of u32, scales `(⌈N / PANEL⌉, K / GROUP, PANEL)` → `(…, N)`
    ///
    /// # Gradient
    /// None: the matrix is for generation.
    ///
    /// # Cost
    /// 2·M·K·N floating-point operations, one dispatch; K·N·(bits / 8 + 4 / GROUP) bytes of the matrix are read, on the CPU
    /// once, on a GPU once for every four rows, of few rows once for all. Accumulates in f32, or exactly within a group.
    ///
    /// # Panics
    /// When the shapes do not belong together, or the operands have other element types.
    #[track_caller]
    pub fn quantized_matmul(&self, codes: &Tensor, scales: &Tensor, n: usize) -> Tensor {
        let op = "quantized_matmul";
        expect_dtype(op, self, DType::F32);
        expect_dtype(op, codes, DType::U32);
        expect_dtype(op, scales, DType::F32);
        let k = self.last_dim();
        let panels = n.div_ceil(PANEL);
        let bits = [4, 8].into_iter().find(|bits| codes.dims() == [panels, k / GROUP, bits * PANEL]);
        let fits = k.is_multiple_of(GROUP) && scales.dims() == [panels, k / GROUP, PANEL];
        let (Some(bits), true) = (bits, fits) else {
            panic!(
                "{op}: {} times codes {} and scales {} for {n} columns",
                self.shape(),
                codes.shape(),
                scales.shape()
            )
        };
        let rows = self.shape().numel() / k;
        let mut dims = self.dims().to_vec();
        *dims.last_mut().expect("at least one dimension") = n;
        let x = self.reshape((rows, k));
        let y = self.graph().record(
            QuantizedMatmul { bits, n },
            &[&x, codes, scales],
            &[((rows, n).into(), DType::F32)],
        );
        y[0].reshape(dims)
    }
}

fn samples() -> Vec<Sample> {
    let (n, any) = (Range::Normal, Range::Ids(u32::MAX));
    let mut samples = Vec::new();
    let sizes: [[usize; 3]; 8] = [
        [1, 32, 1],
        [1, 96, 65],
        [1, 1024, 130],
        [2, 160, 3],
        [3, 32, 257],
        [8, 64, 64],
        [9, 64, 70],
        [40, 128, 100],
    ];
    for [m, k, cols] in sizes {
        for bits in [4, 8] {
            let panels = cols.div_ceil(PANEL);
            let shapes: [(&[usize], Range); 3] =
                [(&[m, k], n), (&[panels, k / GROUP, bits * PANEL], any), (&[panels, k / GROUP, PANEL], n)];
            let sample = Sample::new(format!("{m}x{k}x{cols}, {bits} bits"), &shapes, move |x| {
                vec![x[0].quantized_matmul(&x[1], &x[2], cols)]
            });
            samples.push(sample.forward_only());
        }
    }
    samples.push(
        Sample::new(
            "bias, gelu, residual; batches; a sliced operand",
            &[(&[2, 3, 80], n), (&[1, 2, 4 * PANEL], any), (&[1, 2, PANEL], n), (&[24], n), (&[2, 3, 24], n)],
            |x| {
                let h = x[0].slice(2, 9, 73).quantized_matmul(&x[1], &x[2], 24) + &x[3];
                vec![h.gelu() + &x[4]]
            },
        )
        .forward_only(),
    );
    samples.push(
        Sample::new(
            "beyond 65535 workgroups",
            &[(&[4 * 65_537, 32], n), (&[1, 1, 4 * PANEL], any), (&[1, 1, PANEL], n)],
            |x| vec![x[0].quantized_matmul(&x[1], &x[2], 2)],
        )
        .forward_only(),
    );
    samples
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Graph};

    #[test]
    fn a_quantized_matrix_is_within_half_a_step_of_the_matrix() {
        let (k, n) = (64, 70);
        let weight = |k: usize, n: usize| ((k * 37 + n * 101) % 211) as f32 / 100.0 - 1.0;
        for bits in [4, 8] {
            let quantized = Quantized::of([k, n], bits, weight);
            // The identity times the matrix is the matrix.
            let graph = Graph::new();
            let x = graph.data((k, k), (0..k * k).map(|i| f32::from(i % (k + 1) == 0)).collect::<Vec<f32>>());
            let codes = graph.data((2, k / GROUP, bits * PANEL), quantized.codes);
            let scales = graph.data((2, k / GROUP, PANEL), quantized.scales);
            let y = x.quantized_matmul(&codes, &scales, n);
            let mut program = Device::cpu().compile(&graph, &[("y", &y)], &[]).unwrap();
            program.run();
            let y = pollster::block_on(program.read("y")).unwrap();
            let half = 1.1 / ((1 << bits) - 2) as f32; // the largest weight is 1.1
            for (i, y) in y.f32().iter().enumerate() {
                let w = weight(i / n, i % n);
                assert!((y - w).abs() <= 1.001 * half, "{bits} bits, element {i}: {y} for {w}");
            }
        }
    }

    /// Whatever the processor has, and the same sums in f64.
    fn by_all_kernels<const BITS: usize>([m, k]: [usize; 2]) {
        let mut rng = crate::rng::Rng::new(7, 7);
        let x: Vec<f32> = (0..m * k).map(|_| rng.normal()).collect();
        let panels = 2;
        let codes: Vec<u32> = (0..panels * k * BITS / 32 * PANEL).map(|_| rng.next_u32()).collect();
        let scales: Vec<f32> = (0..panels * k / GROUP * PANEL).map(|_| rng.normal()).collect();
        let doubles = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        let (x64, scales64) = (doubles(&x), doubles(&scales));
        let mut expected = vec![0.0; panels * m * PANEL];
        Rows::<f64, BITS>::Plain.multiply([&x64, &scales64], [m, k], &codes, &mut expected);
        let mut kernels = vec![Rows::<f32, BITS>::Plain, Rows::of(&x, [m, k])];
        kernels.extend((m == 1).then(|| Rows::One(Row::new::<BITS>(&x))));
        #[cfg(target_arch = "x86_64")]
        kernels.extend(FewColumns::of(&x, k).map(Rows::Columns));
        for (i, kernel) in kernels.iter().enumerate() {
            let mut y = vec![0.0; panels * m * PANEL];
            kernel.multiply([&x, &scales], [m, k], &codes, &mut y);
            crate::check::compare(&expected, &doubles(&y), 2e-5)
                .unwrap_or_else(|error| panic!("kernel {i}, {m}×{k}, {BITS} bits: {error}"));
        }
    }

    #[test]
    fn a_few_rows_are_right_by_every_kernel() {
        for extents in [[1, 32], [1, 320], [3, 64], [8, 160]] {
            by_all_kernels::<4>(extents);
            by_all_kernels::<8>(extents);
        }
    }

    #[test]
    #[should_panic(
        expected = "quantized_matmul: (1, 48) times codes (1, 1, 512) and scales (1, 1, 64) for 64 columns"
    )]
    fn what_is_no_multiple_of_a_group_is_refused() {
        let graph = Graph::new();
        let x = graph.input("x", (1, 48), DType::F32);
        let codes = graph.input("codes", (1, 1, 8 * PANEL), DType::U32);
        let scales = graph.input("scales", (1, 1, PANEL), DType::F32);
        x.quantized_matmul(&codes, &scales, 64);
    }
}
