//! Causal attention with grouped key/value heads, fused. Its gradient is [`super::attention_grad`].

use std::ops::Range;
use std::rc::Rc;

use crate::autograd::Vjp;
use crate::check::{self, Sample};
use crate::cpu::{
    CpuIo, HeadRows, MOST_QUERIES, QUERIES, Real, Triangle, join_chunks_with, softmax_columns, threads,
};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::attention_cached::AttentionCached;
use crate::ops::attention_grad::AttentionGrad;
use crate::ops::{
    Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, attention_rows, attention_tiles, expect_dtype,
};
use crate::plan::Operand;
use crate::shader;
use crate::shape::{Layout, Shape};
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "attention", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("attention_few", "attention");

/// How many of `t_len` queries the CPU treats at a time: their scores with all keys fit into the second-level cache. The
/// more there are, the less often keys and values are packed for products, and the more of a block lies beside the diagonal.
/// In wasm a product computes six rows and eight columns at a time, and 24 is whole in both.
pub(super) fn block_len(t_len: usize) -> usize {
    let [share, least, most] = match cfg!(target_arch = "wasm32") {
        true => [t_len * 3 / 8, 24, 96],
        false => [t_len / 8, 32, MOST_QUERIES],
    };
    (share / least * least).clamp(least, most)
}

/// The heads of an attention, and where q, k and v come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    pub h: usize,
    pub g: usize,
    pub d: usize,
    /// q, k and v are one input (B, T, (H + 2·G)·D) instead of three.
    pub packed: bool,
    /// What the input behind q, k and v says.
    pub bounds: Bounds,
}

/// Which keys a query sees. All see those up to their own place; without more, from key 0 on, with S = T.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bounds {
    /// No input.
    Causal,
    /// `(B,)`: the place of each sequence's first query among the keys.
    Position,
    /// `(B, T)`: the first key that each query sees.
    Documents,
}

impl Heads {
    /// How q (B, T, H, D), k and v (B, S, G, D) lie in the inputs, or their gradients in the outputs, of these layouts.
    pub fn views(&self, layouts: &[&Layout]) -> [Layout; 3] {
        if !self.packed {
            return [0, 1, 2].map(|i| layouts[i].clone());
        }
        let (b, t) = (layouts[0].shape[0], layouts[0].shape[1]);
        [(0, self.h), (self.h, self.g), (self.h + self.g, self.g)].map(|(first, heads)| {
            let part = layouts[0].slice(2, first * self.d, (first + heads) * self.d);
            part.reshape(&(b, t, heads, self.d).into()).expect("columns of a row-major matrix")
        })
    }

    /// The inputs that hold q, k and v.
    pub fn inputs(&self) -> [usize; 3] {
        if self.packed { [0, 0, 0] } else { [0, 1, 2] }
    }

    /// The input that holds the bounds, if any.
    pub fn bounds_input(&self) -> Option<usize> {
        (self.bounds != Bounds::Causal).then_some(self.inputs()[2] + 1)
    }

    /// The bounds on the CPU.
    pub fn seen<'a, F: Real>(&self, io: &CpuIo<'a, F>, t_len: usize) -> Seen<'a> {
        Seen { bounds: self.bounds, numbers: self.bounds_input().map_or(&[][..], |i| io.ids(i)), t_len }
    }

    /// q, k and v on the CPU, with the layouts of [`views`](Self::views).
    pub fn read<'a, F: Real>(&self, io: &CpuIo<'a, F>) -> ([HeadRows<'a, F>; 3], [Layout; 3]) {
        let inputs = self.inputs();
        let layouts: Vec<&Layout> = (0..=inputs[2]).map(|i| io.layout(i)).collect();
        let places = self.views(&layouts);
        ([0, 1, 2].map(|i| HeadRows::read(io.x(inputs[i]), &places[i])), places)
    }

    pub fn scale(&self) -> f64 {
        1.0 / (self.d as f64).sqrt()
    }

    /// The overrides that the shaders of both directions share.
    pub fn constants(&self, inputs: &[Operand]) -> Vec<(&'static str, f64)> {
        let [q, k, v] = self.operands(inputs);
        self.constants_of([q.shape[1], k.shape[1]], [&q, &k, &v])
    }

    /// Where q, k and v lie in the inputs.
    pub fn operands(&self, inputs: &[Operand]) -> [Layout; 3] {
        let layouts: Vec<&Layout> = inputs.iter().map(|x| &x.layout).collect();
        self.views(&layouts)
    }

    /// The overrides for so many queries and keys, where other rows may stand in the places of q, k and v.
    pub fn constants_of(&self, [t, s]: [usize; 2], [q, k, v]: [&Layout; 3]) -> Vec<(&'static str, f64)> {
        let mut constants = vec![
            ("B", q.shape[0] as f64),
            ("T", t as f64),
            ("S", s as f64),
            ("H", self.h as f64),
            ("GROUP", (self.h / self.g) as f64),
            ("D4", (self.d / 4) as f64),
            ("SCALE", self.scale()),
            ("HAS_POSITION", f64::from(self.bounds == Bounds::Position)),
            ("HAS_DOCUMENTS", f64::from(self.bounds == Bounds::Documents)),
        ];
        constants.extend(vec4_places(["Q_OFFSET", "Q_B", "Q_T", "Q_H"], q));
        constants.extend(vec4_places(["K_OFFSET", "K_B", "K_S", "K_G"], k));
        constants.extend(vec4_places(["V_OFFSET", "V_B", "V_S", "V_G"], v));
        constants
    }

    /// What is bound to q, k, v and bounds. Where there are no bounds, q stands in their place and is not read.
    pub fn bindings(&self) -> Vec<Bind> {
        let [q, k, v] = self.inputs();
        [q, k, v, self.bounds_input().unwrap_or(q)].map(Bind::Input).to_vec()
    }
}

/// [`Bounds`] with their numbers. Whatever these are, a query sees at least one key.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    bounds: Bounds,
    numbers: &'a [u32],
    t_len: usize,
}

impl Seen<'_> {
    /// The key at the place of query t; it sees none behind it.
    pub fn own(&self, b: usize, t: usize) -> usize {
        let start = if self.bounds == Bounds::Position { self.numbers[b] as usize } else { 0 };
        start.saturating_add(t)
    }

    /// The first key that query t sees.
    pub fn first(&self, b: usize, t: usize) -> usize {
        match self.bounds {
            Bounds::Documents => (self.numbers[b * self.t_len + t] as usize).min(t),
            _ => 0,
        }
    }

    /// The keys of `s_len` that some of `rows` queries from query t on see.
    pub fn by_some(&self, [b, t]: [usize; 2], rows: usize, s_len: usize) -> Range<usize> {
        self.first(b, t)..s_len.min(self.own(b, t).saturating_add(rows))
    }

    /// How many of `keys` stand before the last one that query t sees; each query sees one more than the one before it.
    pub fn last(&self, [b, t]: [usize; 2], keys: Range<usize>) -> usize {
        self.own(b, t).min(keys.end - 1) - keys.start
    }

    /// Masks scores (keys, rows) of `rows` queries from query t on where one does not see a key, so that their exponential is 0. A row
    /// of them is `stride` long, and what follows the queries is masked as well.
    pub fn hide<F: Real>(
        &self,
        scores: &mut [F],
        stride: usize,
        [b, t]: [usize; 2],
        rows: usize,
        keys: Range<usize>,
    ) {
        let seen_by_all = match self.bounds {
            Bounds::Documents => 0,
            _ if rows < stride => 0,
            _ => self.last([b, t], keys.clone()),
        };
        for (row, s) in scores.chunks_exact_mut(stride).zip(keys).skip(seen_by_all) {
            let seeing = self.by([b, t], rows, s);
            row[..seeing.start].fill(F::MASKED);
            row[seeing.end..].fill(F::MASKED);
        }
    }

    /// Which of `rows` queries from query t on see key s: those from its own place on, up to where another document
    /// begins. Query t sees s, or stands before it.
    pub fn by(&self, [b, t]: [usize; 2], rows: usize, s: usize) -> Range<usize> {
        let from = s.saturating_sub(self.own(b, t)).min(rows);
        match self.bounds {
            Bounds::Documents => {
                let first = &self.numbers[b * self.t_len + t..][..rows];
                from..first.partition_point(|&first| first as usize <= s).max(from + 1).min(rows)
            }
            _ => from..rows,
        }
    }
}

/// What the shaders call the places of rows that they store.
pub(super) const OUT_PLACES: [&str; 4] = ["OUT_OFFSET", "OUT_B", "OUT_ROW", "OUT_HEAD"];

/// Offset and outer strides of `(…, D)` in units of four elements.
pub(super) fn vec4_places(names: [&'static str; 4], layout: &Layout) -> Vec<(&'static str, f64)> {
    let numbers = std::iter::once(&layout.offset).chain(&layout.strides).map(|&n| n as f64 / 4.0);
    names.into_iter().zip(numbers).collect()
}

/// (q, k, v, [bounds]) or (qkv, [bounds]) → (y (B, T, H, D), lse (B, H, T))
#[derive(Debug)]
struct Attention(Heads);

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }
    fn grad(&self, vjp: &Vjp) -> Vec<Option<Tensor>> {
        AttentionGrad::record(self.0, vjp)
    }
    fn flops(&self, io: &Operands) -> u64 {
        4 * pairs(&self.0, io)
    }
    fn strided_input(&self, i: usize) -> bool {
        i < if self.0.packed { 0 } else { 3 }
    }
    fn merged(
        &self,
        producer: &dyn Op,
        at: &[usize],
        inputs: &[Layout],
        its: &[Layout],
    ) -> Option<Rc<dyn Op>> {
        AttentionCached::merged(self.0, producer, at, inputs, its)
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let &[b, t, h, d] = io.outputs[0].dims() else { unreachable!() };
        let mut bindings = self.0.bindings();
        bindings.extend([Bind::Output(0), Bind::Output(1)]);
        let mut constants = self.0.constants(io.inputs);
        let (shader, entry, workgroups) = if !io.software() && t < FEW && self.0.bounds == Bounds::Position {
            (SHADER, "few", (b * h * t) as u64)
        } else if io.software() || d > 128 {
            constants.extend(vec4_places(OUT_PLACES, &io.outputs[0].layout));
            constants.push(("KEYS", 0.0));
            let (shader, eights) = (attention_rows::SHADER, attention_rows::suits_eights(io, t, d));
            let (shader, workgroups) =
                attention_rows::rows(io, shader, eights, [b * h, t, d], &mut constants);
            (shader, "forward", workgroups)
        } else {
            let (rows, workgroups) = attention_tiles::tiles(b * h, t, d);
            constants.push(("ROWS", rows as f64));
            (attention_tiles::SHADER, "tiles", workgroups)
        };
        vec![Dispatch { shader, entry, constants, bindings, workgroups }]
    }
}

/// Multiplications of one product over all pairs of query and key: about half of T·S, by causality. How many pairs
/// documents leave is not known before they are there, so these are the most that it can be.
pub(super) fn pairs(heads: &Heads, io: &Operands) -> u64 {
    let layouts: Vec<&Layout> = io.inputs.iter().map(|x| &x.layout).collect();
    let [q, k, _] = heads.views(&layouts);
    let [batch, t, s, d] = [q.shape[0] * heads.h, q.shape[1], k.shape[1], heads.d].map(|n| n as u64);
    let seen = if heads.bounds == Bounds::Position { t * s } else { t * (t + 1) / 2 };
    batch * seen * d
}

impl Attention {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let heads = self.0;
        let (qkv, places) = heads.read(&io);
        let &[batch, t_len, n_head, _] = &places[0].shape[..] else { unreachable!() };
        let s_len = places[1].shape[1];
        let (y, layout) = io.take_strided(0);
        let y = HeadRows::write(y, layout);
        let lse = HeadRows::write(io.take(1), &Layout::contiguous((batch, 1, n_head, t_len)));
        let job = Forward { heads, qkv, y, lse, seen: heads.seen(&io, t_len), t_len, s_len };
        if t_len < FEW {
            // Heads of one key lie side by side, so a thread takes as many of them as leave none without work: where each has
            // two sequences or more, all of one.
            let keys: usize = (0..batch).map(|b| s_len.min(job.seen.own(b, t_len))).sum();
            let parts = match threads().min(heads.g) {
                _ if n_head * t_len * keys * heads.d < SMALL || batch >= 2 * threads() => 1,
                threads if heads.g.is_multiple_of(threads) => threads,
                _ => heads.g,
            };
            let each = n_head / parts;
            return join_chunks_with(batch * parts, |unit, scratch| {
                let first = unit % parts * each;
                job.few_queries(unit / parts, first..first + each, scratch);
            });
        }
        join_chunks_with(batch * n_head, |unit, scratch| job.head(unit / n_head, unit % n_head, scratch));
    }
}

/// Fewer queries than this are multiplied by plain loops, which need not rearrange keys and values first. On GPUs each has
/// a workgroup, where there may be more keys.
const FEW: usize = 4;

/// With fewer multiplications by keys than this, waking another thread takes longer than it would save.
const SMALL: usize = if cfg!(target_arch = "wasm32") { 1 << 14 } else { 1 << 17 };

/// What the threads of a forward pass share.
pub(super) struct Forward<'a, F> {
    pub heads: Heads,
    pub qkv: [HeadRows<'a, F>; 3],
    pub y: HeadRows<'a, F>,
    pub lse: HeadRows<'a, F>,
    pub seen: Seen<'a>,
    pub t_len: usize,
    pub s_len: usize,
}

/// Memory that a thread uses again for each block of each head.
#[derive(Default)]
pub(super) struct Scratch<F> {
    /// Scores of the block with the keys it sees: (keys, rows), each row as long as [`QUERIES`] wants it.
    pub scores: Vec<F>,
}

impl<F: Real> Forward<'_, F> {
    /// One head of one sequence, block of queries by block of queries.
    fn head(&self, b: usize, h: usize, Scratch { scores }: &mut Scratch<F>) {
        let ([q, k, v], d) = (&self.qkv, self.heads.d);
        let g = h / (self.heads.h / self.heads.g);
        // SAFETY: each pair (b, h) writes rows of its own.
        let lse = unsafe { self.lse.row_mut([b, 0, h], self.t_len) };
        let block_len = block_len(self.t_len);
        for (block, lse) in lse.chunks_mut(block_len).enumerate() {
            let (t0, rows) = (block * block_len, lse.len());
            let Range { start: from, end: to } = self.seen.by_some([b, t0], rows, self.s_len);
            let (keys, last) = (to - from, self.seen.last([b, t0], from..to));
            // 1. Scores of a block of queries with all keys that one of them sees; (keys, rows), so that softmax takes
            //    neighbouring queries at once.
            let stride = rows.next_multiple_of(QUERIES);
            scores.resize(stride * keys, F::ZERO);
            let columns = [1, stride as isize];
            // SAFETY: the extents are those of the buffers.
            unsafe {
                let c = (scores.as_mut_ptr(), [stride as isize, 1]);
                let (k, q) = (k.rows([b, from, g]), q.columns([b, t0, h]));
                F::gemm(Triangle::wanted(-(last as isize)), [keys, d, rows], k, q, F::ZERO, c);
            }
            // 2. exp(score − largest), not yet divided by its sum.
            self.seen.hide(scores, stride, [b, t0], rows, from..to);
            let sums = softmax_columns(scores, stride, last + QUERIES, F::of(self.heads.scale()), lse);
            // 3. Weights times values.
            // SAFETY: the rows are within v and y; each pair (b, h) writes rows of its own.
            unsafe {
                let (a, v) = ((scores.as_ptr(), columns), v.rows([b, from, g]));
                let y = self.y.matrix([b, t0, h]);
                F::gemm(Triangle::lower(last as isize), [rows, keys, d], a, v, F::ZERO, y);
            }
            for (i, &sum) in sums[..rows].iter().enumerate() {
                // SAFETY: as above.
                let (y, by) = (unsafe { self.y.row_mut([b, t0 + i, h], d) }, F::ONE / sum);
                y.iter_mut().for_each(|y| *y *= by);
            }
        }
    }
}

impl Tensor {
    /// Causal scaled dot-product attention (Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>) with query heads in groups
    /// that share a key/value head (Ainslie et al. 2023, <https://arxiv.org/abs/2305.13245>), fused into one kernel (Dao et
    /// al. 2022, <https://arxiv.org/abs/2205.14135>).
    ///
    /// `y[b, t, h] = Σₛ pₛ · v[b, s, g]` with `p = softmax(q[b, t, h]·k[b, s, g] / √D)` over the keys s ≤ position[b] + t and
    /// g = h·G/H.
    ///
    /// # Shapes
    /// q `(B, T, H, D)`; k, v `(B, S, G, D)` with H a multiple of G; position `(B,)` of u32, the position of each sequence's
    /// first query among the keys. Without it S = T, and query t sees keys 0 to t. → `(B, T, H, D)`.
    ///
    /// # Gradient
    /// Recomputes the weights from the log-sum-exp, tile by tile; no T×S matrix is kept. Where q, k and v are columns of one
    /// matrix, [`attention_packed`](Self::attention_packed) is faster.
    ///
    /// # Cost
    /// 4·B·H·D operations for each pair of query and key; one dispatch, backward two. q, k and v may be slices.
    ///
    /// # Panics
    /// When the shapes do not agree, D is not a multiple of 4, or D > 256.
    #[track_caller]
    pub fn attention(&self, k: &Tensor, v: &Tensor, position: Option<&Tensor>) -> Tensor {
        [self, k, v].into_iter().for_each(|x| expect_dtype("attention", x, DType::F32));
        let agree = match (self.dims(), k.dims()) {
            (&[b, t, h, d], &[kb, s, g, kd]) => {
                b == kb
                    && d == kd
                    && g > 0
                    && h % g == 0
                    && k.dims() == v.dims()
                    && (position.is_some() || s == t)
            }
            _ => false,
        };
        assert!(
            agree,
            "attention: q {}, k {} and v {} do not fit together",
            self.shape(),
            k.shape(),
            v.shape()
        );
        let heads = Heads {
            h: self.dim(2),
            g: k.dim(2),
            d: self.dim(3),
            packed: false,
            bounds: if position.is_some() { Bounds::Position } else { Bounds::Causal },
        };
        let [q, k, v] = [self, k, v].map(with_contiguous_rows);
        record(heads, vec![&q, &k, &v], position, self.shape().clone())
    }

    /// [`attention`](Self::attention) of q, k and v that are columns of one matrix, as a single linear layer computes them.
    ///
    /// ```text
    /// x (B, T, (H + 2·G)·D) = [q: H heads | k: G heads | v: G heads]
    /// ```
    ///
    /// Where several documents stand in a row one behind the other, `documents` says for each position where its own begins:
    /// query t then sees the keys from documents[b, t] to t. These numbers must not fall along a row, nor exceed t. Tiles of
    /// keys that no query of a tile sees cost nothing.
    ///
    /// # Shapes
    /// `(B, T, (H + 2·G)·D)`, `documents (B, T)` of u32 → `(B, T, H, D)`
    ///
    /// # Gradient
    /// One matrix, written by two kernels without a copy.
    ///
    /// # Panics
    /// When the width is not a multiple of H + 2·G, or D is not a multiple of 4, or D > 256, or documents are not `(B, T)`.
    #[track_caller]
    pub fn attention_packed(&self, n_head: usize, n_kv_head: usize, documents: Option<&Tensor>) -> Tensor {
        expect_dtype("attention", self, DType::F32);
        let all = n_head + 2 * n_kv_head;
        let fits = self.shape().len() == 3
            && n_kv_head > 0
            && n_head.is_multiple_of(n_kv_head)
            && self.dim(2).is_multiple_of(all);
        assert!(
            fits,
            "attention: {} does not hold {n_head} heads of q, {n_kv_head} of k and of v",
            self.shape()
        );
        let bounds = if documents.is_some() { Bounds::Documents } else { Bounds::Causal };
        let heads = Heads { h: n_head, g: n_kv_head, d: self.dim(2) / all, packed: true, bounds };
        record(heads, vec![self], documents, (self.dim(0), self.dim(1), n_head, heads.d).into())
    }
}

/// Kernels read rows of D as vectors of four elements, from any row on.
fn with_contiguous_rows(x: &Tensor) -> Tensor {
    let layout = x.layout();
    let vectors = layout.strides[..3].iter().chain([&layout.offset]).all(|n| n % 4 == 0);
    if vectors && (layout.strides[3] == 1 || x.dim(3) == 1) { x.clone() } else { x.contiguous() }
}

#[track_caller]
fn record<'a>(heads: Heads, mut inputs: Vec<&'a Tensor>, bounds: Option<&'a Tensor>, shape: Shape) -> Tensor {
    let (b, t, h, d) = (shape[0], shape[1], heads.h, heads.d);
    assert!(
        d % 4 == 0 && (4..=256).contains(&d),
        "attention: heads of width {d}, expected a multiple of 4 up to 256"
    );
    if let Some(bounds) = bounds {
        let (name, expected): (_, Shape) = match heads.bounds {
            Bounds::Documents => ("documents", (b, t).into()),
            _ => ("position", (b,).into()),
        };
        expect_dtype("attention", bounds, DType::U32);
        assert!(
            *bounds.shape() == expected,
            "attention: {name} must be {expected}, found {}",
            bounds.shape()
        );
        inputs.push(bounds);
    }
    let outputs = [(shape, DType::F32), ((b, h, t).into(), DType::F32)];
    inputs[0].graph().record(Attention(heads), &inputs, &outputs).remove(0)
}

fn samples() -> Vec<Sample> {
    let n = check::Range::Normal;
    let mut samples = Vec::new();
    // Whole sequences: (B, T, H, G, D).
    for [b, t, h, g, d] in [
        [1, 2, 1, 1, 4],
        [2, 5, 4, 2, 8],
        [1, 33, 3, 1, 16],
        [1, 64, 2, 2, 64],
        [2, 65, 2, 1, 12],
        [1, 150, 1, 1, 20],
        [1, 70, 2, 1, 128],
        [2, 65, 128, 64, 8], // enough for large tiles
        [1, 40, 1, 1, 132],
    ] {
        let shapes: &[(&[usize], check::Range)] =
            &[(&[b, t, h, d], n), (&[b, t, g, d], n), (&[b, t, g, d], n)];
        samples.push(Sample::new(format!("B {b}, T {t}, H {h}, G {g}, D {d}"), shapes, |x| {
            vec![x[0].attention(&x[1], &x[2], None)]
        }));
    }
    samples.extend([
        Sample::new("packed", &[(&[2, 37, 48], n)], |x| vec![x[0].attention_packed(6, 3, None)]),
        Sample::new("packed, wide", &[(&[1, 70, 192], n)], |x| {
            vec![(&x[0] * 0.5).attention_packed(1, 1, None) * 2.0]
        }),
        in_documents([2, 37, 6, 3, 8], &[0, 9, 10, 30], &[0]),
        in_documents([1, 3, 2, 1, 4], &[0, 2], &[]),
        in_documents([2, 70, 2, 1, 12], &[0, 3, 33, 64, 65], &[0, 1, 2, 3]),
        in_documents([1, 200, 1, 1, 64], &[0, 70, 128, 180], &[]),
        in_documents([2, 67, 64, 64, 4], &[0, 3, 33, 64, 65], &[0]),
        in_documents([1, 40, 2, 1, 132], &[0, 31, 32], &[]),
        Sample::new("slices of a packed matrix", &[(&[2, 9, 64], n)], |x| {
            let part =
                |from: usize, heads: usize| x[0].slice(2, from, from + heads * 8).reshape((2, 9, heads, 8));
            vec![part(0, 4).attention(&part(32, 2), &part(48, 2), None)]
        }),
        Sample::new("transposed heads", &[(&[2, 2, 9, 8], n), (&[2, 8, 9, 2], n)], |x| {
            let (q, kv) = (x[0].permute(&[0, 2, 1, 3]), x[1].permute(&[0, 2, 3, 1]));
            vec![q.attention(&kv, &kv, None)]
        }),
        // One key has weight 1 whatever its score, so dq is 0 and only the second term has a slope.
        Sample::new("one token", &[(&[2, 1, 1, 4], n)], |x| vec![x[0].attention(&x[0], &x[0], None) + &x[0]]),
        Sample::new("large scores", &[(&[1, 20, 1, 8], n), (&[1, 20, 1, 8], n)], |x| {
            vec![(&x[0] * 100.0).attention(&x[1], &x[1], None)]
        })
        .tolerance(1e-3)
        .forward_only(),
        Sample::new("beyond 65535 workgroups", &[(&[65_537, 1, 12], n)], |x| {
            vec![x[0].attention_packed(1, 1, None)]
        })
        .forward_only(),
    ]);
    samples
}

/// A packed layer (B, T, H, G, D) whose rows hold documents that begin at these positions, those of odd rows at others.
fn in_documents([b, t, h, g, d]: [usize; 5], even: &[u32], odd: &[u32]) -> Sample {
    let first = |row: usize, t: u32| {
        let starts = if row.is_multiple_of(2) { even } else { odd };
        *starts.iter().rfind(|&&start| start <= t).expect("the first document begins at 0")
    };
    let documents: Vec<u32> = (0..b).flat_map(|row| (0..t as u32).map(move |t| first(row, t))).collect();
    let shape: &[usize] = &[b, t, (h + 2 * g) * d];
    Sample::new(format!("documents, T {t}, D {d}"), &[(shape, check::Range::Normal)], move |x| {
        let documents = x[0].graph().data((b, t), documents.clone());
        // The second term is the slope where a document has one token, whose weight is 1 whatever its score.
        let own = x[0].slice(2, 0, h * d).reshape((b, t, h, d));
        vec![x[0].attention_packed(h, g, Some(&documents)) + own]
    })
}

#[cfg(test)]
mod tests {
    use crate::{DType, Graph, Plan, Target};

    #[test]
    fn a_packed_layer_moves_no_data_between_its_kernels() {
        let graph = Graph::new();
        let x = graph.input("x", (2, 8, 16), DType::F32);
        let w = graph.input("w", (16, 32), DType::F32);
        let y = x.matmul(&w).attention_packed(4, 2, None);
        let grads = graph.grad(&(&y * &y).sum_all(), &[&x, &w]);
        for target in [Target::CPU, Target::GPU] {
            let steps = Plan::new(&graph, &[("dx", &grads[0]), ("dw", &grads[1])], target).describe();
            let names: Vec<&str> = steps.iter().map(|s| s.split(':').next().unwrap()).collect();
            let expected = ["matmul", "attention", "mul.mul.add", "attention_grad", "matmul_grad"];
            assert_eq!(names, expected, "{steps:#?}");
        }
    }
}
