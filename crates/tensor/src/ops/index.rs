//! Gather and scatter along the last dimension.

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real, split_chunks};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, expect_dtype, groups};
use crate::shader;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "index", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("index");

/// (x (R, V), index (R, K)) → (R, K), or for a scatter (x (R, K), index (R, K)) → (R, V). Each is the other's gradient.
#[derive(Debug)]
enum Index {
    Gather,
    Scatter,
}

impl Op for Index {
    fn name(&self) -> &'static str {
        match self {
            Index::Gather => "gather",
            Index::Scatter => "scatter",
        }
    }
    fn grad(&self, vjp: &Vjp) -> Vec<Option<Tensor>> {
        let (x, index, dy) = (vjp.x(0), vjp.x(1), vjp.dy(0));
        let dx = match self {
            Index::Gather => record(Index::Scatter, dy, index, x.dim(1)),
            Index::Scatter => record(Index::Gather, dy, index, x.dim(1)),
        };
        vec![Some(dx), None]
    }
    fn flops(&self, io: &Operands) -> u64 {
        match self {
            Index::Gather => 0,
            Index::Scatter => io.inputs[0].layout.numel() as u64,
        }
    }
    fn epilogue(&self) -> bool {
        true
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let (x, y) = (io.inputs[0].dims(), io.outputs[0].dims());
        let v = if matches!(self, Index::Gather) { x[1] } else { y[1] };
        let k = io.inputs[1].dims()[1];
        vec![Dispatch {
            shader: SHADER,
            entry: self.name(),
            constants: vec![("R", x[0] as f64), ("K", k as f64), ("V", v as f64)],
            bindings: vec![Bind::Input(0), Bind::Input(1), Bind::Output(0)],
            workgroups: groups(y[0] * y[1], 64),
        }]
    }
}

impl Index {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let (x, index) = (io.x(0), io.ids(1));
        let (n, k) = (io.dims(0)[1], io.dims(1)[1]);
        let (y, layout) = io.take_strided(0);
        let m = layout.shape[1];
        split_chunks(y, m, |first, y| {
            let rows = x[first * n..].chunks_exact(n).zip(index[first * k..].chunks_exact(k));
            for ((x, index), y) in rows.zip(y.chunks_exact_mut(m)) {
                match self {
                    Index::Gather => y.iter_mut().zip(index).for_each(|(y, &v)| *y = x[place(v, n)]),
                    Index::Scatter => {
                        y.fill(F::ZERO);
                        x.iter().zip(index).for_each(|(&x, &v)| y[place(v, m)] += x);
                    }
                }
            }
        });
    }
}

/// # Panics
/// When the index is beyond the row.
fn place(v: u32, len: usize) -> usize {
    assert!((v as usize) < len, "gather or scatter: index {v} is beyond a row of {len}");
    v as usize
}

#[track_caller]
fn record(op: Index, x: &Tensor, index: &Tensor, cols: usize) -> Tensor {
    let shape = Shape::from((x.dim(0), cols));
    x.graph().record(op, &[x, index], &[(shape, DType::F32)]).remove(0)
}

impl Tensor {
    /// Picks elements along the last dimension: `y[…, k] = x[…, index[…, k]]`, or `y[…] = x[…, index[…]]`.
    ///
    /// # Shapes
    /// x `(…, V)`, index `(…)` or `(…, K)` of u32 → as the index.
    ///
    /// # Gradient
    /// [`scatter`](Self::scatter) of dy; an element that is picked twice gets both gradients.
    ///
    /// # Example
    /// ```text
    /// [[10, 11, 12], [20, 21, 22]].gather([2, 0]) = [12, 20]
    /// ```
    ///
    /// # Panics
    /// When the shapes disagree. An index beyond V panics on the CPU when the program runs; a GPU reads 0 there.
    #[track_caller]
    pub fn gather(&self, index: &Tensor) -> Tensor {
        expect_dtype("gather", self, DType::F32);
        expect_dtype("gather", index, DType::U32);
        let (v, leading) = (self.last_dim(), &self.dims()[..self.dims().len() - 1]);
        let rest = index.dims().strip_prefix(leading).filter(|rest| rest.len() <= 1);
        let rest =
            rest.unwrap_or_else(|| panic!("gather: {} cannot be indexed by {}", self.shape(), index.shape()));
        let (rows, k) = (leading.iter().product(), rest.iter().product());
        let y = record(Index::Gather, &self.reshape((rows, v)), &index.reshape((rows, k)), k);
        y.reshape(index.shape())
    }

    /// Adds elements to zeros along the last dimension: `y[…, v]` is the sum of `x[…, k]` over k with `index[…, k] = v`.
    ///
    /// # Shapes
    /// x and index (u32) `(…, K)` → `(…, V)` with `V = extent`.
    ///
    /// # Gradient
    /// [`gather`](Self::gather) of dy.
    ///
    /// # Cost
    /// A GPU reads the K indices of a row for each of the V elements, so that no addition is atomic.
    ///
    /// # Example
    /// ```text
    /// [[1, 2, 4]].scatter([[0, 2, 0]], extent = 3) = [[5, 0, 2]]
    /// ```
    ///
    /// # Panics
    /// When the shapes disagree. An index beyond V panics on the CPU when the program runs; a GPU leaves it out.
    #[track_caller]
    pub fn scatter(&self, index: &Tensor, extent: usize) -> Tensor {
        expect_dtype("scatter", self, DType::F32);
        expect_dtype("scatter", index, DType::U32);
        assert!(
            self.shape() == index.shape(),
            "scatter: {} and index {} differ",
            self.shape(),
            index.shape()
        );
        let leading = &self.dims()[..self.dims().len() - 1];
        let (rows, k) = (leading.iter().product(), self.last_dim());
        let y = record(Index::Scatter, &self.reshape((rows, k)), &index.reshape((rows, k)), extent);
        y.reshape([leading, &[extent]].concat())
    }
}

fn samples() -> Vec<Sample> {
    let n = Range::Normal;
    let mut samples = Vec::new();
    for v in [1, 3, 255, 256, 257] {
        let ids = Range::Ids(v as u32);
        samples.push(Sample::new(format!("gather one of {v}"), &[(&[6, v], n), (&[6], ids)], |x| {
            vec![x[0].gather(&x[1])]
        }));
        samples.push(Sample::new(
            format!("scatter to {v}"),
            &[(&[2, 3, 4], n), (&[2, 3, 4], ids)],
            move |x| vec![x[0].scatter(&x[1], v)],
        ));
    }
    samples.extend([
        Sample::new("gather many, some twice", &[(&[5, 2, 9], n), (&[5, 2, 20], Range::Ids(9))], |x| {
            vec![x[0].exp().gather(&x[1]) * 2.0]
        }),
        Sample::new("scatter one", &[(&[300, 1], n), (&[300, 1], Range::Ids(7))], |x| {
            vec![x[0].scatter(&x[1], 7)]
        }),
        Sample::new("beyond 65535 workgroups", &[(&[66_000, 64], n), (&[66_000, 1], Range::Ids(64))], |x| {
            vec![x[0].gather(&x[1]).scatter(&x[1], 65)]
        })
        .forward_only(),
    ]);
    samples
}
