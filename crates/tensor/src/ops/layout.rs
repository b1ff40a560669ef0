//! Reshape, permute, slice, broadcast and concatenate.
//!
//! The first four are views: they change how a tensor lies in its buffer and move no data. Concatenation lets its
//! producers write their part in place where they can, and copies the rest.

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::CpuIo;
use crate::graph::Graph;
use crate::ops::{Dispatch, GpuIo, Op, OpEntry};
use crate::shape::{Layout, Shape};
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "layout", samples, shader: None };

#[derive(Debug)]
enum View {
    Reshape,
    Permute(Vec<usize>),
    Slice { dim: usize, start: usize },
    Expand,
}

impl Op for View {
    fn name(&self) -> &'static str {
        match self {
            View::Reshape => "reshape",
            View::Permute(_) => "permute",
            View::Slice { .. } => "slice",
            View::Expand => "broadcast_to",
        }
    }
    fn grad(&self, vjp: &Vjp) -> Vec<Option<Tensor>> {
        let (x, dy) = (vjp.x(0), vjp.dy(0));
        let dx = match self {
            View::Reshape => dy.reshape(x.shape().clone()),
            View::Permute(order) => {
                let mut inverse = vec![0; order.len()];
                order.iter().enumerate().for_each(|(to, &from)| inverse[from] = to);
                dy.permute(&inverse)
            }
            View::Slice { dim, start } => dy.pad_to(*dim, *start, x.dim(*dim)),
            View::Expand => dy.sum_to(x.shape()),
        };
        vec![Some(dx)]
    }
    fn is_view(&self) -> bool {
        true
    }
    fn cpu_f32(&self, _: CpuIo<f32>) {
        unreachable!("views do not run")
    }
    fn cpu_f64(&self, _: CpuIo<f64>) {
        unreachable!("views do not run")
    }
    fn gpu(&self, _: &GpuIo) -> Vec<Dispatch> {
        unreachable!("views do not run")
    }
}

/// Puts its inputs side by side: input `i` occupies `parts[i]` of the output.
///
/// The parts need not cover the output; what they leave is zero.
#[derive(Debug)]
struct Assemble {
    parts: Vec<Layout>,
    grad: AssembleGrad,
}

/// How the gradient of each part is cut out again.
#[derive(Debug)]
enum AssembleGrad {
    /// Parts lie one after another along a dimension, from these starts.
    Along { dim: usize, starts: Vec<usize> },
    /// Parts are flattened, from these offsets.
    Flat { offsets: Vec<usize> },
}

impl Op for Assemble {
    fn name(&self) -> &'static str {
        "cat"
    }
    fn grad(&self, vjp: &Vjp) -> Vec<Option<Tensor>> {
        let dy = vjp.dy(0);
        (0..self.parts.len())
            .map(|i| {
                let x = vjp.x(i);
                vjp.needs(i).then(|| match &self.grad {
                    AssembleGrad::Along { dim, starts } => dy.slice(*dim, starts[i], starts[i] + x.dim(*dim)),
                    AssembleGrad::Flat { offsets } => {
                        dy.slice(0, offsets[i], offsets[i] + x.shape().numel()).reshape(x.shape().clone())
                    }
                })
            })
            .collect()
    }
    fn placements(&self) -> Option<Vec<Layout>> {
        Some(self.parts.clone())
    }
    // The planner replaces a concatenation by one placed copy for each part that its producer could not place.
    fn cpu_f32(&self, _: CpuIo<f32>) {
        unreachable!("concatenations run as placed copies")
    }
    fn cpu_f64(&self, _: CpuIo<f64>) {
        unreachable!("concatenations run as placed copies")
    }
    fn gpu(&self, _: &GpuIo) -> Vec<Dispatch> {
        unreachable!("concatenations run as placed copies")
    }
}

impl Tensor {
    /// The same elements in the same order under another shape. A view where the layout allows it, else a copy.
    ///
    /// # Panics
    /// When the sizes differ.
    #[track_caller]
    pub fn reshape(&self, shape: impl Into<Shape>) -> Tensor {
        self.reshape_to(shape.into())
    }

    /// Apart from [`Tensor::reshape`], so that it is compiled once, not for every way to write a shape.
    #[track_caller]
    fn reshape_to(&self, shape: Shape) -> Tensor {
        assert_eq!(
            shape.numel(),
            self.shape().numel(),
            "reshape: {} does not have the size of {shape}",
            self.shape()
        );
        if shape == *self.shape() {
            return self.clone();
        }
        match self.layout().reshape(&shape) {
            Some(layout) => self.graph.record_view(View::Reshape, self, layout),
            None => self.contiguous().reshape_to(shape),
        }
    }

    /// Dimension `d` of the result is dimension `order[d]` of this tensor.
    #[track_caller]
    pub fn permute(&self, order: &[usize]) -> Tensor {
        let rank = self.shape().len();
        assert!(
            order.len() == rank && (0..rank).all(|dim| order.contains(&dim)),
            "permute: {order:?} does not permute {}",
            self.shape()
        );
        self.graph.record_view(View::Permute(order.to_vec()), self, self.layout().permute(order))
    }

    /// Swaps the last two dimensions.
    #[track_caller]
    pub fn t(&self) -> Tensor {
        let rank = self.shape().len();
        assert!(rank >= 2, "t: {} has no two dimensions to swap", self.shape());
        let mut order: Vec<usize> = (0..rank).collect();
        order.swap(rank - 1, rank - 2);
        self.permute(&order)
    }

    /// The part `start..end` of dimension `dim`.
    #[track_caller]
    pub fn slice(&self, dim: usize, start: usize, end: usize) -> Tensor {
        assert!(
            dim < self.shape().len() && start <= end && end <= self.dim(dim),
            "slice: {start}..{end} of dimension {dim} is not within {}",
            self.shape()
        );
        self.graph.record_view(View::Slice { dim, start }, self, self.layout().slice(dim, start, end))
    }

    /// Cuts dimension `dim` into `n` equal parts.
    #[track_caller]
    pub fn chunk(&self, dim: usize, n: usize) -> Vec<Tensor> {
        assert_eq!(
            self.dim(dim) % n,
            0,
            "chunk: dimension {dim} of {} is not divisible by {n}",
            self.shape()
        );
        let len = self.dim(dim) / n;
        (0..n).map(|i| self.slice(dim, i * len, (i + 1) * len)).collect()
    }

    /// Repeats along missing and unit dimensions, without a copy.
    #[track_caller]
    pub fn broadcast_to(&self, shape: &Shape) -> Tensor {
        assert!(
            self.shape().broadcast(shape).as_ref() == Some(shape),
            "broadcast_to: {} does not broadcast to {shape}",
            self.shape()
        );
        if self.shape() == shape {
            return self.clone();
        }
        self.graph.record_view(View::Expand, self, self.layout().expand(shape))
    }

    /// This tensor as the part from `start` of a dimension `dim` of extent `extent`, zeros around it.
    #[track_caller]
    pub fn pad_to(&self, dim: usize, start: usize, extent: usize) -> Tensor {
        let mut dims = self.shape().to_vec();
        let len = std::mem::replace(&mut dims[dim], extent);
        let whole = Layout::contiguous(dims);
        let parts = vec![whole.slice(dim, start, start + len)];
        self.assemble_one(parts, AssembleGrad::Along { dim, starts: vec![start] }, whole.shape)
    }

    fn assemble_one(&self, parts: Vec<Layout>, grad: AssembleGrad, shape: Shape) -> Tensor {
        self.graph.record(Assemble { parts, grad }, &[self], &[(shape, self.dtype)]).remove(0)
    }
}

/// Joins tensors along dimension `dim`; all other extents agree.
#[track_caller]
pub fn cat(tensors: &[Tensor], dim: usize) -> Tensor {
    let first = tensors.first().expect("cat: no tensors");
    let mut dims = first.shape().to_vec();
    dims[dim] = tensors.iter().map(|x| x.dim(dim)).sum();
    let whole = Layout::contiguous(dims.clone());
    let (mut parts, mut starts, mut start) = (Vec::new(), Vec::new(), 0);
    for x in tensors {
        let agrees =
            x.shape().len() == dims.len() && (0..dims.len()).all(|d| d == dim || x.dim(d) == dims[d]);
        assert!(agrees, "cat: {} does not join {} along dimension {dim}", x.shape(), first.shape());
        parts.push(whole.slice(dim, start, start + x.dim(dim)));
        starts.push(start);
        start += x.dim(dim);
    }
    let inputs: Vec<&Tensor> = tensors.iter().collect();
    let op = Assemble { parts, grad: AssembleGrad::Along { dim, starts } };
    first.graph.record(op, &inputs, &[(whole.shape, first.dtype)]).remove(0)
}

impl Graph {
    /// Flattens tensors into one of shape `(numel,)`, tensor `i` from `offsets[i]` on; zeros between them.
    #[track_caller]
    pub fn pack(&self, tensors: &[Tensor], offsets: &[usize], numel: usize) -> Tensor {
        assert_eq!(tensors.len(), offsets.len(), "pack: one offset for each tensor");
        let parts = tensors
            .iter()
            .zip(offsets)
            .map(|(x, &offset)| Layout { offset, ..Layout::contiguous(x.shape()) })
            .inspect(|part| assert!(part.end() <= numel, "pack: a part ends at {} of {numel}", part.end()))
            .collect();
        let op = Assemble { parts, grad: AssembleGrad::Flat { offsets: offsets.to_vec() } };
        let inputs: Vec<&Tensor> = tensors.iter().collect();
        self.record(op, &inputs, &[((numel,).into(), tensors[0].dtype)]).remove(0)
    }
}

fn samples() -> Vec<Sample> {
    let n = Range::Normal;
    vec![
        Sample::new("reshape of a permuted tensor", &[(&[3, 4, 5], n)], |x| {
            vec![x[0].permute(&[2, 0, 1]).reshape((5, 12)) * 2.0]
        }),
        Sample::new("slice", &[(&[6, 257], n)], |x| vec![x[0].slice(0, 1, 4).slice(1, 3, 250) * 1.0]),
        Sample::new("slices that overlap", &[(&[10], n)], |x| {
            vec![x[0].slice(0, 0, 7) * x[0].slice(0, 3, 10)]
        }),
        Sample::new("cat rows", &[(&[2, 3], n), (&[4, 3], n)], |x| vec![cat(&[x[0].exp(), &x[1] * 2.0], 0)]),
        Sample::new("cat columns", &[(&[5, 3], n), (&[5, 4], n)], |x| {
            vec![cat(&[x[0].exp(), x[1].clone(), x[0].clone()], 1) * 3.0]
        }),
        Sample::new("cat products by matrices side by side", &[(&[3, 1, 8], n), (&[80], n)], |x| {
            let product = |from: usize, to: usize| {
                x[0].matmul(&x[1].slice(0, 8 * from, 8 * to).reshape((to - from, 8)).t())
            };
            vec![cat(&[product(0, 4), product(4, 6), product(6, 10)], 2).reshape((30,)) * 2.0]
        }),
        Sample::new("pack with gaps", &[(&[2, 3], n), (&[5], n)], |x| {
            vec![x[0].graph().pack(&[x[0].exp(), x[1].clone()], &[64, 128], 192)]
        }),
        Sample::new("broadcast_to", &[(&[3, 1], n)], |x| vec![x[0].broadcast_to(&(2, 3, 4).into()) * 1.0]),
    ]
}
