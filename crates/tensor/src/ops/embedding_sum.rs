//! Rows of two tables, added: what a model with learned positions begins with. Decoding, it saves a dispatch a token.

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real, split_chunks};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::embedding::{expect_table, row, table_grad};
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, groups};
use crate::shader;
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "embedding_sum", samples, shader: Some(shader!("embedding_sum")) };

/// (w (V, C), ids (R), w2 (W, C), ids2 (R)) → y (R, C)
#[derive(Debug)]
struct EmbeddingSum;

impl Op for EmbeddingSum {
    fn name(&self) -> &'static str {
        "embedding_sum"
    }
    fn grad(&self, vjp: &Vjp) -> Vec<Option<Tensor>> {
        let of =
            |table: usize| vjp.needs(table).then(|| table_grad(vjp.x(table), vjp.x(table + 1), vjp.dy(0)));
        vec![of(0), None, of(2), None]
    }
    fn flops(&self, io: &Operands) -> u64 {
        io.outputs[0].layout.numel() as u64
    }
    fn epilogue(&self) -> bool {
        true
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let &[rows, c] = io.outputs[0].dims() else { unreachable!("the result is (R, C)") };
        let sizes = [("R", rows), ("V", io.inputs[0].dims()[0]), ("W", io.inputs[2].dims()[0]), ("C", c)];
        vec![Dispatch {
            shader: shader!("embedding_sum"),
            entry: "main",
            constants: sizes.map(|(name, n)| (name, n as f64)).into(),
            bindings: (0..4).map(Bind::Input).chain([Bind::Output(0)]).collect(),
            workgroups: groups(rows * c, 64),
        }]
    }
}

impl EmbeddingSum {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let c = io.dims(0)[1];
        let (w, ids, w2, ids2) = (io.x(0), io.ids(1), io.x(2), io.ids(3));
        split_chunks(io.take(0), c, |first, rows| {
            let ids = ids[first..].iter().zip(&ids2[first..]);
            for (y, (&id, &id2)) in rows.chunks_exact_mut(c).zip(ids) {
                let terms = row(w, c, id).iter().zip(row(w2, c, id2));
                y.iter_mut().zip(terms).for_each(|(y, (&a, &b))| *y = a + b);
            }
        });
    }
}

impl Tensor {
    /// Rows of this table and of another, added: `y[b, t] = w[ids[b, t]] + w2[ids2[b, t]]`.
    ///
    /// # Shapes
    /// `w (V, C)`, `ids (…)` of u32, `w2 (W, C)`, `ids2 (…)` as `ids` → `(…, C)`
    ///
    /// # Gradient
    /// Of each table as that of [`Tensor::embedding`].
    ///
    /// # Cost
    /// One dispatch; backward two for each table.
    ///
    /// # Panics
    /// As [`Tensor::embedding`], and where the two do not have the same width or number of ids.
    #[track_caller]
    pub fn embedding_sum(&self, ids: &Tensor, other: &Tensor, other_ids: &Tensor) -> Tensor {
        expect_table(self, ids);
        expect_table(other, other_ids);
        assert!(
            self.dim(1) == other.dim(1) && ids.shape() == other_ids.shape(),
            "embedding_sum: rows {} of {} and rows {} of {} cannot be added",
            ids.shape(),
            self.shape(),
            other_ids.shape(),
            other.shape()
        );
        let (r, c) = (ids.shape().numel(), self.dim(1));
        let (flat, other_flat) = (ids.reshape((r,)), other_ids.reshape((r,)));
        let inputs = [self, &flat, other, &other_flat];
        let y = self.graph().record(EmbeddingSum, &inputs, &[((r, c).into(), DType::F32)]).remove(0);
        y.reshape([ids.dims(), &[c]].concat())
    }
}

fn samples() -> Vec<Sample> {
    let (n, ids) = (Range::Normal, Range::Ids);
    let sum = |name: &str, (v, w, c): (u32, u32, usize), (b, t): (usize, usize)| {
        let tables = [(&[v as usize, c][..], n), (&[b, t], ids(v)), (&[w as usize, c], n), (&[b, t], ids(w))];
        Sample::new(name, &tables, |x| vec![x[0].embedding_sum(&x[1], &x[2], &x[3])])
    };
    vec![
        sum("one of each", (1, 1, 1), (1, 1)),
        sum("tokens and positions", (65, 64, 32), (4, 64)),
        sum("a token for each of three sequences", (257, 40, 5), (3, 1)),
        Sample::new("scaled", &[(&[9, 6], n), (&[2, 5], ids(9)), (&[5, 6], n), (&[2, 5], ids(5))], |x| {
            vec![(x[0].embedding_sum(&x[1], &x[2], &x[3]) * 2.0).tanh()]
        }),
        Sample::new("a table twice", &[(&[9, 6], n), (&[2, 5], ids(9)), (&[2, 5], ids(9))], |x| {
            vec![x[0].embedding_sum(&x[1], &x[0], &x[2])]
        }),
        sum("beyond 65535 workgroups", (7, 3, 64), (65_537, 1)).forward_only(),
    ]
}
