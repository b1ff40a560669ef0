//! Sum, maximum and index of the maximum over one dimension.

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real, row_max, row_sum, split_rows};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, expect_dtype, groups};
use crate::shader;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "reduce", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("reduce");

/// In the order of the shader's constants.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Sum,
    Max,
    Argmax,
}

/// Reduces the middle dimension of `(outer, n, inner)`.
///
/// The order of additions is fixed: running sums of the row's lanes, then a tree of them.
#[derive(Debug)]
struct Reduce(Kind);

impl Op for Reduce {
    fn name(&self) -> &'static str {
        match self.0 {
            Kind::Sum => "sum",
            Kind::Max => "max",
            Kind::Argmax => "argmax",
        }
    }
    /// A sum passes dy to every element; a maximum to the elements that equal it, in equal shares.
    fn grad(&self, vjp: &Vjp) -> Vec<Option<Tensor>> {
        let (x, dy) = (vjp.x(0), vjp.dy_opt(0));
        let &[outer, _, inner] = x.dims() else { unreachable!() };
        let spread = |t: &Tensor| t.reshape((outer, 1, inner)).broadcast_to(x.shape());
        let dx = match self.0 {
            Kind::Sum => dy.map(spread),
            Kind::Max => dy.map(|dy| {
                let hits = x.eq(&spread(vjp.y(0)));
                &hits * spread(&(dy.reshape((outer, 1, inner)) / hits.sum_keep(1)))
            }),
            Kind::Argmax => None,
        };
        vec![dx]
    }
    fn flops(&self, io: &Operands) -> u64 {
        io.inputs[0].layout.numel() as u64
    }
    fn dispatches(&self, io: &Operands) -> u64 {
        io.outputs.len() as u64
    }
    fn epilogue(&self) -> bool {
        self.0 != Kind::Argmax
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let &[outer, n, inner] = io.inputs[0].layout.shape.dims() else { unreachable!() };
        let Some(partial) = io.outputs.get(1) else {
            return vec![self.pass(io, [outer, n, inner], 1, [Bind::Input(0), Bind::Output(0)])];
        };
        let slices = partial.layout.shape[1];
        vec![
            self.pass(io, [outer, n, inner], slices, [Bind::Input(0), Bind::Output(1)]),
            self.pass(io, [outer, slices, inner], 1, [Bind::Written(1), Bind::Output(0)]),
        ]
    }
}

/// How many slices to cut rows into, so that there is work for some thousand threads; 1 where there is enough.
fn slices(kind: Kind, [outer, n, inner]: [usize; 3]) -> usize {
    let wanted = match kind {
        Kind::Argmax => 1,
        _ => (4096 / (outer * inner).max(1)).min(n / 256).clamp(1, 1024),
    };
    n.div_ceil(n.div_ceil(wanted)) // none of them empty
}

impl Reduce {
    /// Reduces (outer, n, inner) to (outer, slices, inner).
    fn pass(
        &self,
        io: &GpuIo,
        [outer, n, inner]: [usize; 3],
        slices: usize,
        bindings: [Bind; 2],
    ) -> Dispatch {
        let len = n.div_ceil(slices);
        // Columns lie side by side in memory, and so do the lanes that read them.
        let columns = if inner == 1 { 1 } else { 32 };
        let (entry, workgroups) = match io.software_for(len) || len <= 32 {
            true => ("software", groups(outer * slices * inner, 64)),
            false => ("gpu", (outer * slices * inner.div_ceil(columns)) as u64),
        };
        let constants = [
            ("OUTER", outer),
            ("ROW", n),
            ("INNER", inner),
            ("SLICES", slices),
            ("LEN", len),
            ("KIND", self.0 as usize),
            ("COLUMNS", columns),
        ];
        Dispatch {
            shader: SHADER,
            entry,
            constants: constants.map(|(name, value)| (name, value as f64)).to_vec(),
            bindings: bindings.to_vec(),
            workgroups,
        }
    }

    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let x = io.x(0);
        let &[_, n, inner] = io.dims(0) else { unreachable!() };
        if self.0 == Kind::Argmax {
            let y = io.take_ids(0);
            for (i, y) in y.iter_mut().enumerate() {
                let at = |j: usize| x[(i / inner * n + j) * inner + i % inner];
                *y = (1..n).fold(0, |best, j| if at(j) > at(best) { j } else { best }) as u32;
            }
            return;
        }
        let y = io.take(0);
        if inner == 1 {
            // Rows that lie in memory one after another.
            split_rows((y, 1), n, |first, ys| {
                for (i, y) in ys.iter_mut().enumerate() {
                    *y = self.row(&x[(first + i) * n..][..n]);
                }
            });
        } else {
            // Columns: whole rows are combined, so that the loop runs along memory.
            for (outer, y) in y.chunks_mut(inner).enumerate() {
                self.columns(&x[outer * n * inner..][..n * inner], y);
            }
        }
    }

    fn row<F: Real>(&self, x: &[F]) -> F {
        if self.0 == Kind::Sum { row_sum(x, |x| x) } else { row_max(x) }
    }

    /// Sums in halves, so that the error grows with log n.
    fn columns<F: Real>(&self, x: &[F], y: &mut [F]) {
        let rows = x.len() / y.len();
        if rows > 64 {
            let half = rows / 2 * y.len();
            let mut upper = vec![F::ZERO; y.len()];
            self.columns(&x[..half], y);
            self.columns(&x[half..], &mut upper);
            y.iter_mut().zip(&upper).for_each(|(a, &b)| *a = self.combine(*a, b));
            return;
        }
        y.copy_from_slice(&x[..y.len()]);
        for row in x[y.len()..].chunks_exact(y.len()) {
            y.iter_mut().zip(row).for_each(|(a, &b)| *a = self.combine(*a, b));
        }
    }

    #[inline(always)]
    fn combine<F: Real>(&self, a: F, b: F) -> F {
        if self.0 == Kind::Sum { a + b } else { a.max(b) }
    }
}

impl Tensor {
    #[track_caller]
    fn reduce(&self, kind: Kind, dim: usize) -> Tensor {
        expect_dtype("reduce", self, DType::F32);
        assert!(
            dim < self.shape().len() && self.dim(dim) > 0,
            "reduce: {} has no dimension {dim} to reduce",
            self.shape()
        );
        let outer: usize = self.shape()[..dim].iter().product();
        let inner: usize = self.shape()[dim + 1..].iter().product();
        let x = self.reshape((outer, self.dim(dim), inner)); // (outer, n, inner)
        let dtype = if kind == Kind::Argmax { DType::U32 } else { DType::F32 };
        let slices = slices(kind, [outer, self.dim(dim), inner]);
        let partial = ((outer, slices, inner).into(), dtype); // scratch of the kernels
        let outputs = [((outer, inner).into(), dtype), partial];
        let y = self.graph().record(Reduce(kind), &[&x], &outputs[..1 + (slices > 1) as usize]).remove(0);
        let mut dims = self.shape().to_vec();
        dims.remove(dim);
        y.reshape(dims)
    }

    /// Sum over dimension `dim`, which disappears.
    ///
    /// ```text
    /// [[1, 2], [3, 4]].sum(1) = [3, 7]
    /// ```
    #[track_caller]
    pub fn sum(&self, dim: usize) -> Tensor {
        self.reduce(Kind::Sum, dim)
    }

    /// Sum over dimension `dim`, which becomes 1.
    #[track_caller]
    pub fn sum_keep(&self, dim: usize) -> Tensor {
        let mut dims = self.shape().to_vec();
        dims[dim] = 1;
        self.sum(dim).reshape(dims)
    }

    /// Arithmetic mean over dimension `dim`, which disappears.
    #[track_caller]
    pub fn mean(&self, dim: usize) -> Tensor {
        self.sum(dim) * (1.0 / self.dim(dim) as f64)
    }

    /// Sum of all elements, of shape `()`.
    pub fn sum_all(&self) -> Tensor {
        self.reshape((self.shape().numel(),)).sum(0).reshape(Shape::from(()))
    }

    /// Mean of all elements, of shape `()`.
    pub fn mean_all(&self) -> Tensor {
        self.sum_all() * (1.0 / self.shape().numel() as f64)
    }

    /// Maximum over dimension `dim`, which disappears.
    #[track_caller]
    pub fn max(&self, dim: usize) -> Tensor {
        self.reduce(Kind::Max, dim)
    }

    /// Index (u32) of the first maximum over dimension `dim`, which disappears. Has no gradient.
    #[track_caller]
    pub fn argmax(&self, dim: usize) -> Tensor {
        self.reduce(Kind::Argmax, dim)
    }
}

fn samples() -> Vec<Sample> {
    let n = Range::Normal;
    let mut samples = Vec::new();
    for size in [1, 3, 255, 256, 257, 5000] {
        samples
            .push(Sample::new(format!("sum of rows of {size}"), &[(&[3, size], n)], |x| vec![x[0].sum(1)]));
        samples.push(Sample::new(format!("sum of columns of {size}"), &[(&[size, 5], n)], |x| {
            vec![x[0].sum(0)]
        }));
    }
    samples.extend([
        Sample::new("sum in the middle", &[(&[4, 70, 6], n)], |x| vec![x[0].sum(1)]),
        Sample::new("sum of a transposed", &[(&[40, 7], n)], |x| vec![x[0].t().sum(1)]),
        Sample::new("mean of all", &[(&[13, 21], n)], |x| vec![x[0].mean_all()]),
        Sample::new("max of rows", &[(&[9, 300], n)], |x| vec![x[0].max(1)]),
        Sample::new("max of columns", &[(&[300, 9], n)], |x| vec![x[0].max(0)]),
        Sample::new("argmax of columns", &[(&[300, 9], n)], |x| vec![x[0].argmax(0)]),
        Sample::new("argmax of long rows", &[(&[2, 66_000], n)], |x| vec![x[0].argmax(1)]),
        Sample::new("argmax of equals", &[(&[3, 300], n)], |x| vec![(&x[0] * 0.0).argmax(1)]),
        Sample::new("sum of many", &[(&[1_000_003], Range::Positive)], |x| vec![x[0].sum(0)]).forward_only(),
        Sample::new("max of many", &[(&[70_000], n)], |x| vec![x[0].max(0)]).forward_only(),
        Sample::new("few long columns", &[(&[4097, 3], n)], |x| vec![x[0].sum(0).exp()]),
        Sample::new("many columns", &[(&[2, 40, 67], n)], |x| vec![x[0].sum(1) * 2.0]),
        Sample::new("rows beyond 65535 workgroups", &[(&[65_600, 33], n)], |x| vec![x[0].max(1)])
            .forward_only(),
        Sample::new("argmax", &[(&[9, 300], n)], |x| vec![x[0].argmax(1)]),
        Sample::new("beyond 65535 workgroups", &[(&[65_600, 3], n)], |x| vec![x[0].sum(1)]).forward_only(),
    ]);
    samples
}
