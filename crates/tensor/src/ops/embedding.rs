//! Rows of a table by id, and the gradient of the table without atomics.
//!
//! Many tokens share an id, so their gradients add up in one row of dw. The tokens are sorted by id first (`buckets`);
//! each element of dw then sums its own bucket, in the order of the tokens, and the bits are the same run after run.

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real, split_chunks};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, expect_dtype, groups};
use crate::shader;
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "embedding", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("embedding");

/// (w (V, C), ids (R)) → y (R, C)
#[derive(Debug)]
struct Embedding;

impl Op for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }
    fn grad(&self, vjp: &Vjp) -> Vec<Option<Tensor>> {
        vec![Some(table_grad(vjp.x(0), vjp.x(1), vjp.dy(0))), None]
    }
    fn flops(&self, _: &Operands) -> u64 {
        0
    }
    fn epilogue(&self) -> bool {
        true
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        vec![Dispatch {
            shader: SHADER,
            entry: "lookup",
            constants: sizes(io.inputs[1].layout.numel(), io.inputs[0].dims()),
            bindings: vec![Bind::Input(0), Bind::Input(1), Bind::Output(0)],
            workgroups: groups(io.outputs[0].layout.numel(), 64),
        }]
    }
}

impl Embedding {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let (w, ids, c) = (io.x(0), io.ids(1), io.dims(0)[1]);
        split_chunks(io.take(0), c, |first, rows| {
            for (y, &id) in rows.chunks_exact_mut(c).zip(&ids[first..]) {
                y.copy_from_slice(row(w, c, id));
            }
        });
    }
}

/// Row `id` of a table of width `c`.
///
/// # Panics
/// When the table ends before it.
pub(super) fn row<F>(w: &[F], c: usize, id: u32) -> &[F] {
    let at = id as usize * c;
    w.get(at..at + c)
        .unwrap_or_else(|| panic!("embedding: id {id} is beyond the table of {} rows", w.len() / c))
}

/// The gradient of the table w `(V, C)` from that of its rows `ids`: dy `(R, C)`.
pub(super) fn table_grad(w: &Tensor, ids: &Tensor, dy: &Tensor) -> Tensor {
    let buckets = Buckets { vocab_size: w.dim(0) };
    let order = w.graph().record(buckets, &[ids], &[((2, ids.dim(0)).into(), DType::U32)]).remove(0);
    w.graph().record(EmbeddingGrad, &[dy, &order], &[(w.shape().clone(), DType::F32)]).remove(0)
}

/// ids (R) → order (2, R): the ids, and the indices of their tokens, both sorted by (id, index).
#[derive(Debug)]
struct Buckets {
    vocab_size: usize,
}

impl Op for Buckets {
    fn name(&self) -> &'static str {
        "buckets"
    }
    fn grad(&self, _: &Vjp) -> Vec<Option<Tensor>> {
        vec![None]
    }
    fn flops(&self, _: &Operands) -> u64 {
        0
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let r = io.inputs[0].layout.numel();
        vec![Dispatch {
            shader: SHADER,
            entry: "buckets",
            constants: vec![("R", r as f64)],
            bindings: vec![Bind::Input(0), Bind::Output(0)],
            workgroups: groups(r, 64),
        }]
    }
}

impl Buckets {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let ids = io.ids(0);
        let (sorted, order) = io.take_ids(0).split_at_mut(ids.len());
        // How many tokens have each id; from that, where its next token goes.
        let mut next = vec![0; self.vocab_size];
        ids.iter().for_each(|&id| next[id as usize] += 1);
        let mut start = 0;
        next.iter_mut().for_each(|n| start += std::mem::replace(n, start));
        for (i, &id) in (0..).zip(ids) {
            let place = &mut next[id as usize];
            (sorted[*place], order[*place]) = (id, i);
            *place += 1;
        }
    }
}

/// (dy (R, C), order (2, R)) → dw (V, C)
#[derive(Debug)]
struct EmbeddingGrad;

impl Op for EmbeddingGrad {
    fn name(&self) -> &'static str {
        "embedding_grad"
    }
    fn grad(&self, _: &Vjp) -> Vec<Option<Tensor>> {
        panic!("embedding_grad: second gradients are not supported")
    }
    fn flops(&self, io: &Operands) -> u64 {
        io.inputs[0].layout.numel() as u64
    }
    fn epilogue(&self) -> bool {
        true
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        vec![Dispatch {
            shader: SHADER,
            entry: "gradient",
            constants: sizes(io.inputs[0].dims()[0], io.outputs[0].dims()),
            bindings: vec![Bind::Input(0), Bind::Input(1), Bind::Output(0)],
            workgroups: groups(io.outputs[0].layout.numel(), 64),
        }]
    }
}

impl EmbeddingGrad {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let (dy, order) = (io.x(0), io.ids(1));
        let &[r, c] = io.dims(0) else { unreachable!() };
        let (ids, order) = order.split_at(r);
        split_chunks(io.take(0), c, |first, rows| {
            rows.fill(F::ZERO);
            let end = first + rows.len() / c;
            let start = ids.partition_point(|&id| (id as usize) < first);
            for (&id, &r) in
                ids[start..].iter().zip(&order[start..]).take_while(|(id, _)| (**id as usize) < end)
            {
                let (dy, dw) = (&dy[r as usize * c..][..c], &mut rows[(id as usize - first) * c..][..c]);
                dw.iter_mut().zip(dy).for_each(|(dw, &dy)| *dw += dy);
            }
        });
    }
}

fn sizes(r: usize, table: &[usize]) -> Vec<(&'static str, f64)> {
    vec![("R", r as f64), ("V", table[0] as f64), ("C", table[1] as f64)]
}

impl Tensor {
    /// Rows of this table by id: `y[b, t] = w[ids[b, t]]`.
    ///
    /// # Shapes
    /// `w (V, C)`, `ids (…)` of u32 → `(…, C)`
    ///
    /// # Gradient
    /// `dw[v]` sums dy over the tokens with id v, in their order; it has no second gradient.
    ///
    /// # Cost
    /// One dispatch; backward two: sorting the ids, and V·C elements written.
    ///
    /// # Panics
    /// When the table is not a matrix of f32 or the ids are not u32. On the CPU also in a run that meets an id ≥ V, which
    /// a GPU reads as V − 1.
    #[track_caller]
    pub fn embedding(&self, ids: &Tensor) -> Tensor {
        expect_table(self, ids);
        let (r, c) = (ids.shape().numel(), self.dim(1));
        let shape = [ids.dims(), &[c]].concat();
        let y = self
            .graph()
            .record(Embedding, &[self, &ids.reshape((r,))], &[((r, c).into(), DType::F32)])
            .remove(0);
        y.reshape(shape)
    }
}

/// # Panics
/// When `w` is not a matrix of f32 or the ids are not u32.
#[track_caller]
pub(super) fn expect_table(w: &Tensor, ids: &Tensor) {
    expect_dtype("embedding", w, DType::F32);
    expect_dtype("embedding", ids, DType::U32);
    assert!(w.shape().len() == 2, "embedding: the table must be (V, C), found {}", w.shape());
}

fn samples() -> Vec<Sample> {
    let (n, ids) = (Range::Normal, Range::Ids);
    let mut samples = Vec::new();
    for (v, c, b, t) in [(1, 1, 1, 1), (3, 5, 1, 7), (65, 32, 4, 64), (257, 3, 255, 1)] {
        samples.push(Sample::new(
            format!("table ({v}, {c}), ids ({b}, {t})"),
            &[(&[v, c], n), (&[b, t], ids(v as u32))],
            |x| vec![x[0].embedding(&x[1])],
        ));
    }
    samples.extend([
        Sample::new("ids that never come", &[(&[50, 6], n), (&[2, 9], ids(3))], |x| {
            vec![x[0].embedding(&x[1])]
        }),
        Sample::new("positions added", &[(&[11, 8], n), (&[4, 8], n), (&[3, 4], ids(11))], |x| {
            vec![(x[0].embedding(&x[2]) + &x[1]) * 2.0]
        }),
        Sample::new("tied head", &[(&[11, 8], n), (&[3, 4], ids(11))], |x| {
            vec![x[0].embedding(&x[1]).matmul(&x[0].t())]
        }),
        Sample::new("sliced table and ids", &[(&[9, 12], n), (&[5, 6], ids(4))], |x| {
            vec![x[0].slice(0, 2, 7).slice(1, 1, 10).embedding(&x[1].slice(1, 2, 5))]
        }),
        Sample::new("beyond 65535 workgroups", &[(&[7, 64], n), (&[65_537], ids(7))], |x| {
            vec![x[0].embedding(&x[1])]
        })
        .forward_only(),
    ]);
    samples
}
