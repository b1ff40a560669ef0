//! Matrix product, batched, either operand in any layout.

use std::borrow::Cow;
use std::rc::Rc;

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real, SendPtr, Triangle, gemv, join_chunks, suits, threads};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::layout::cat;
use crate::ops::matmul_grad::MatmulGrad;
use crate::ops::prologue::{PreparedRow, Prologue};
use crate::ops::{
    Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, expect_dtype, groups, matmul_blocks, matmul_row,
    matmul_scalar, matmul_wide,
};
use crate::shader;
use crate::shape::{Layout, Shape};
use crate::tensor::Tensor;
use cloche_gpu::AdapterClass;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "matmul", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("tile", "matmul");

/// `y[z, m, n] = Σₖ a[z, m, k] · b[z, k, n]`.
#[derive(Debug)]
struct Matmul;

impl Op for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }
    /// da = dy·bᵀ, db = aᵀ·dy.
    fn grad(&self, vjp: &Vjp) -> Vec<Option<Tensor>> {
        let (a, b, dy) = (vjp.x(0), vjp.x(1), vjp.dy(0));
        if vjp.needs(0) && vjp.needs(1) {
            return MatmulGrad::record(a, b, dy).into_iter().map(Some).collect();
        }
        let da = vjp.needs(0).then(|| dy.matmul(&b.t()));
        let db = vjp.needs(1).then(|| a.t().matmul(dy));
        vec![da, db]
    }
    fn flops(&self, io: &Operands) -> u64 {
        2 * io.outputs[0].layout.numel() as u64 * io.inputs[0].layout.shape[2] as u64
    }
    fn strided_input(&self, _: usize) -> bool {
        true
    }
    fn strided_output(&self, _: usize) -> bool {
        true
    }
    fn epilogue(&self) -> bool {
        true
    }
    fn after(&self, prologue: Prologue, at: &[usize], inputs: &[Layout]) -> Option<Rc<dyn Op>> {
        let product = Product::of(&inputs[0], &inputs[1], &inputs[0]);
        let [shader, _] = prologue.shaders()?;
        (*at == [0] && product.batch == 1 && product.is_row() && product.k.is_multiple_of(4))
            .then(|| Rc::new(PreparedRow { prologue, shader }) as Rc<dyn Op>)
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let product = Product::of(&io.inputs[0].layout, &io.inputs[1].layout, &io.outputs[0].layout);
        vec![product.on(io, [Bind::Input(0), Bind::Input(1), Bind::Output(0)])]
    }
}

/// Extents and strides of one product, as the shader names them.
pub(super) struct Product {
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    a: Matrix,
    b: Matrix,
    y: Matrix,
}

/// Where a batch of matrices lies: its first element, and the steps from one matrix, row and column to the next.
struct Matrix {
    offset: usize,
    batch: usize,
    row: usize,
    column: usize,
}

impl Matrix {
    fn of(layout: &Layout) -> Matrix {
        let &[batch, row, column] = &layout.strides[..] else { unreachable!("three dimensions") };
        Matrix { offset: layout.offset, batch, row, column }
    }

    /// Whether rows (or columns, when they are the closer neighbours) can be read four elements at a time.
    fn in_fours(&self, rows: usize, columns: usize) -> bool {
        let (inner, stride, extent) = match self.column < self.row {
            true => (self.column, self.row, columns),
            false => (self.row, self.column, rows),
        };
        inner == 1 && [self.offset, self.batch, stride, extent].iter().all(|n| n % 4 == 0)
    }
}

/// Threads of a workgroup of the kernels for CPU adapters: one register of such an adapter.
const SOFTWARE_GROUP: usize = 8;

impl Product {
    pub fn of(a: &Layout, b: &Layout, y: &Layout) -> Product {
        let &[batch, m, k] = a.dims3();
        Product { batch, m, n: b.shape[2], k, a: Matrix::of(a), b: Matrix::of(b), y: Matrix::of(y) }
    }

    /// The kernel that suits the adapter, with a, b and y bound to these.
    pub fn on(&self, io: &GpuIo, [a, b, y]: [Bind; 3]) -> Dispatch {
        let usual = match self.software_fits(io) {
            true if self.in_fours() && io.class == AdapterClass::Software => {
                match io.eights() && 2 * self.n.next_multiple_of(32) <= 3 * self.n {
                    true => self.eights(),
                    false => self.software(),
                }
            }
            true => self.scalar(io),
            false => self.gpu(io),
        };
        let others = || self.all(io).into_iter().filter(|other| *other != usual).collect();
        Dispatch { bindings: vec![a, b, y], ..io.choose(usual.clone(), &others) }
    }

    /// Every kernel that could do it here, the plainest last.
    fn all(&self, io: &GpuIo) -> Vec<Dispatch> {
        let tiles = |shader, entry, side| self.dispatch(shader, entry, &[], self.tiles(side) as u64);
        if self.software_fits(io) {
            let mut all = Vec::new();
            if self.in_fours() {
                if io.eights() {
                    all.extend([[4, 2], [4, 4], [4, 1]].map(|blocks| self.eights_by(blocks)));
                }
                all.extend([[4, 4], [4, 2], [2, 4], [2, 2]].map(|blocks| self.software_tiles(blocks)));
            }
            all.push(self.scalar(io));
            all.push(self.scalar_alone(2));
            return all;
        }
        let mut all = Vec::new();
        if self.is_row() {
            let times: &[usize] = if self.b.column < self.b.row { &[1, 2, 4] } else { &[1, 4] };
            all.extend(times.iter().map(|&times| self.row_by(matmul_row::SHADER, times)));
        } else {
            if self.reads_fours(io) {
                all.push(tiles(matmul_wide::LARGE, "main", 128));
                all.push(tiles(matmul_wide::SMALL, "main", 64));
            }
            all.push(tiles(matmul_wide::ANY, "main", 64));
        }
        all.push(tiles(SHADER, "gpu", 32));
        all
    }

    /// Whether the adapter is a CPU; the loop of `scalar` goes around for each k.
    pub fn software_fits(&self, io: &GpuIo) -> bool {
        io.software_for(self.k + 96)
    }

    /// Tiles of `side`×`side` sums.
    pub fn tiles(&self, side: usize) -> usize {
        self.batch * self.m.div_ceil(side) * self.n.div_ceil(side)
    }

    /// Whether there are as many sums as 128 tiles of 64×64 have, in matrices that are not narrow.
    pub fn fills_a_gpu(&self) -> bool {
        self.m.min(self.n) > 32 && self.sums() >= 128 * 64 * 64
    }

    fn sums(&self) -> usize {
        self.batch * self.m * self.n
    }

    /// A row by columns; or tiles of 128×128 sums, of 64×64 where those would leave half of a large GPU idle, or of 32×32.
    fn gpu(&self, io: &GpuIo) -> Dispatch {
        if self.is_row() {
            return self.row(matmul_row::SHADER);
        }
        if !self.fills_a_gpu() {
            return self.dispatch(SHADER, "gpu", &[], self.tiles(32) as u64);
        }
        let (shader, side) = match self.reads_fours(io) {
            true if self.sums() >= 256 * 128 * 128 => (matmul_wide::LARGE, 128),
            true => (matmul_wide::SMALL, 64),
            false => (matmul_wide::ANY, 64),
        };
        self.dispatch(shader, "main", &[], self.tiles(side) as u64)
    }

    /// Whether the kernels that load vectors can do it: see [`GpuIo::vulkan`].
    fn reads_fours(&self, io: &GpuIo) -> bool {
        let along_k = self.a.column < self.a.row || self.b.row < self.b.column;
        self.in_fours() && (io.vulkan || !along_k)
    }

    /// Whether it is a row by a matrix that can be read in fours.
    fn is_row(&self) -> bool {
        self.m == 1 && self.b.in_fours(self.k, self.n)
    }

    /// A row by a matrix: many columns a workgroup where that leaves no processor of a large GPU idle.
    pub fn row(&self, shader: Shader) -> Dispatch {
        let sums = self.sums();
        let across = self.b.column < self.b.row;
        let four = sums >= if across { 2048 } else { 16_384 };
        self.row_by(shader, if four { 4 } else { 1 + (across && sums >= 512) as usize })
    }

    /// So many times four columns a workgroup: 1, 2 or 4; or times eight where they lie along the sum: 1 or 4.
    fn row_by(&self, shader: Shader, times: usize) -> Dispatch {
        let (entry, name, value, columns) = match self.b.column < self.b.row {
            true => ("across", "QUADS", times, 4 * times),
            false => ("along", "COLUMNS", 8 * times, 8 * times),
        };
        self.dispatch(shader, entry, &[(name, value)], self.batch as u64 * groups(self.n, columns))
    }

    fn in_fours(&self) -> bool {
        self.a.in_fours(self.m, self.k) && self.b.in_fours(self.k, self.n)
    }

    /// Tiles of 16×8 sums a thread, whose eight neighbours share its rows; of 16×4 where more than a fifth of the columns would
    /// be none otherwise.
    fn eights(&self) -> Dispatch {
        let [wide, narrow] = [64, 32].map(|columns| self.n.next_multiple_of(columns));
        self.eights_by([if self.m > 8 { 4 } else { 2 }, if 5 * narrow < 4 * wide { 1 } else { 2 }])
    }

    fn eights_by(&self, blocks: [usize; 2]) -> Dispatch {
        let [m, n] = blocks;
        let groups = self.batch * self.m.div_ceil(4 * m) * self.n.div_ceil(32 * n);
        self.blocks(matmul_blocks::EIGHTS, blocks, groups as u64)
    }

    /// Tiles of up to 16×16 sums, one a thread: as large as keeps all threads of a machine busy.
    fn software(&self) -> Dispatch {
        let shapes = [4, 2, 1].into_iter().flat_map(|m| [4, 2, 1].map(|n| [m, n]));
        // Measured on lavapipe: a block of a or b takes 3 units of time to load, their product 2.
        let time =
            |[m, n]: [usize; 2]| self.software_groups([m, n]).div_ceil(8) * (3 * (m + n) + 2 * m * n) as u64;
        self.software_tiles(shapes.min_by_key(|&shape| time(shape)).expect("a shape"))
    }

    fn software_groups(&self, [m, n]: [usize; 2]) -> u64 {
        groups(self.batch * self.m.div_ceil(4 * m) * self.n.div_ceil(4 * n), SOFTWARE_GROUP)
    }

    fn software_tiles(&self, blocks: [usize; 2]) -> Dispatch {
        self.blocks(matmul_blocks::SHADER, blocks, self.software_groups(blocks))
    }

    /// Tiles of so many blocks of 4×4 sums.
    fn blocks(&self, shader: Shader, [m, n]: [usize; 2], workgroups: u64) -> Dispatch {
        self.dispatch(shader, "main", &[("BLOCKS_M", m), ("BLOCKS_N", n)], workgroups)
    }

    /// Tiles of up to 12×8 sums, one a thread, wherever the operands lie. Or of 16×8, where four threads share rows of a and
    /// take two k at a time, unless k is odd or more than one in six of the threads would lie beyond the last column.
    fn scalar(&self, io: &GpuIo) -> Dispatch {
        let across = self.n.div_ceil(8);
        let fours = across.next_multiple_of(4);
        let shared = io.subgroups && self.k.is_multiple_of(2) && 5 * fours <= 6 * across;
        match shared {
            true => self.scalar_by(matmul_scalar::QUADS, 4, fours),
            false => self.scalar_alone(3),
        }
    }

    fn scalar_alone(&self, blocks: usize) -> Dispatch {
        self.scalar_by(matmul_scalar::SHADER, blocks, self.n.div_ceil(8))
    }

    /// Tiles of up to so many blocks of four rows, and so many of them side by side.
    fn scalar_by(&self, shader: Shader, blocks: usize, across: usize) -> Dispatch {
        let blocks = self.m.div_ceil(4).min(blocks);
        let tiles = self.batch * self.m.div_ceil(4 * blocks) * across;
        self.dispatch(shader, "main", &[("BLOCKS", blocks)], groups(tiles, SOFTWARE_GROUP))
    }

    fn dispatch(
        &self,
        shader: Shader,
        entry: &'static str,
        variant: &[(&'static str, usize)],
        workgroups: u64,
    ) -> Dispatch {
        let Product { batch, m, n, k, a, b, y } = self;
        let shape = [("Z", *batch), ("M", *m), ("N", *n), ("K", *k)];
        let a = [("A0", a.offset), ("AZ", a.batch), ("AM", a.row), ("AK", a.column)];
        let b = [("B0", b.offset), ("BZ", b.batch), ("BK", b.row), ("BN", b.column)];
        let y = [("Y0", y.offset), ("YZ", y.batch), ("YM", y.row), ("YN", y.column)];
        let constants = shape.iter().chain(&a).chain(&b).chain(&y).chain(variant);
        Dispatch {
            shader,
            entry,
            constants: constants.map(|&(name, value)| (name, value as f64)).collect(),
            bindings: Vec::new(),
            workgroups,
        }
    }
}

impl Matmul {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let [a, b] = [0, 1].map(|i| (io.x(i), io.layout(i)));
        multiply(a, b, io.take_strided(0));
    }
}

/// y ← a·b of matrices in any layout, each slice from its first element on.
pub(super) fn multiply<F: Real>(
    (a, la): (&[F], &Layout),
    (b, lb): (&[F], &Layout),
    (y, ly): (&mut [F], &Layout),
) {
    let &[batch, m, k] = la.dims3();
    let n = lb.shape[2];
    if ly.strides[2] == 1 && suits(b, [m, k, n], [lb.strides[1], lb.strides[2]]) {
        for z in 0..batch {
            let a = &a[z * la.strides[0]..];
            let row = |i: usize| (0..k).map(move |j| a[i * la.strides[1] + j * la.strides[2]]);
            let rows: Cow<[F]> = match la.strides[1..] == [k, 1] {
                true => a[..m * k].into(),
                false => (0..m).flat_map(row).collect(),
            };
            let b = (&b[z * lb.strides[0]..], [lb.strides[1], lb.strides[2]]);
            gemv(&rows, [m, k, n], b, (&mut y[z * ly.strides[0]..], ly.strides[1]));
        }
        return;
    }
    // Cut along the longer side: each piece packs the other operand whole.
    let is_large = m.max(n) >= 64 && (m * n) as u64 * k as u64 > 1 << 19;
    let pieces = if is_large { threads().min(m.max(n) / 32) } else { 1 };
    let (by_rows, len) = (m >= n, m.max(n).div_ceil(pieces));
    let y = SendPtr(y.as_mut_ptr());
    let strides = |l: &Layout| [l.strides[1] as isize, l.strides[2] as isize];
    join_chunks(batch * pieces, |i| {
        let (z, piece) = (i / pieces, i % pieces);
        let start = piece * len;
        let len = len.min(m.max(n).saturating_sub(start));
        let (dims, a_start, b_start, y_start) = match by_rows {
            true => ([len, k, n], start * la.strides[1], 0, start * ly.strides[1]),
            false => ([m, k, len], 0, start * lb.strides[2], start * ly.strides[2]),
        };
        if len == 0 {
            return;
        }
        // SAFETY: the slices cover their layouts, and the pieces of y are disjoint.
        unsafe {
            F::gemm(
                Triangle::WHOLE,
                dims,
                (a.as_ptr().add(z * la.strides[0] + a_start), strides(la)),
                (b.as_ptr().add(z * lb.strides[0] + b_start), strides(lb)),
                F::ZERO,
                (y.get().add(z * ly.strides[0] + y_start), strides(ly)),
            );
        }
    });
}

impl Layout {
    /// The extents of a tensor of three dimensions.
    fn dims3(&self) -> &[usize; 3] {
        self.shape.dims().try_into().expect("three dimensions")
    }
}

impl Tensor {
    /// Matrix product.
    ///
    /// # Shapes
    /// `(…, M, K) · (…, K, N) → (…, M, N)`; leading dimensions broadcast. Transposed and sliced operands are read in place.
    ///
    /// # Cost
    /// 2·M·K·N floating-point operations per batch, one dispatch. Accumulates in f32.
    ///
    /// # Panics
    /// When the inner extents differ, or an operand has fewer than two dimensions.
    #[track_caller]
    pub fn matmul(&self, b: &Tensor) -> Tensor {
        expect_dtype("matmul", self, DType::F32);
        expect_dtype("matmul", b, DType::F32);
        let (ra, rb) = (self.shape().len(), b.shape().len());
        assert!(
            ra >= 2 && rb >= 2 && self.dim(ra - 1) == b.dim(rb - 2),
            "matmul: {} and {} do not multiply",
            self.shape(),
            b.shape()
        );
        let (m, k, n) = (self.dim(ra - 2), self.dim(ra - 1), b.dim(rb - 1));
        // (…, M, K)·(K, N): the rows of all batches form one tall matrix.
        if rb == 2 {
            let rows: usize = self.shape()[..ra - 1].iter().product();
            let mut dims = self.shape()[..ra - 1].to_vec();
            dims.push(n);
            return matmul3(&self.reshape((1, rows, k)), &b.reshape((1, k, n))).reshape(dims);
        }
        let batch = |x: &Tensor, r: usize| Shape::from(&x.shape()[..r - 2]);
        let outer = batch(self, ra).broadcast(&batch(b, rb)).unwrap_or_else(|| {
            panic!("matmul: the batches of {} and {} do not broadcast", self.shape(), b.shape())
        });
        let whole = |tail: [usize; 2]| Shape::from([outer.dims(), &tail].concat());
        let flat = |x: &Tensor, tail: [usize; 2]| {
            x.broadcast_to(&whole(tail)).reshape((outer.numel(), tail[0], tail[1])) // (Z, ·, ·)
        };
        matmul3(&flat(self, [m, k]), &flat(b, [k, n])).reshape(whole([m, n]))
    }
}

/// (Z, M, K)·(Z, K, N) → (Z, M, N)
#[track_caller]
fn matmul3(a: &Tensor, b: &Tensor) -> Tensor {
    let shape = Shape::from((a.dim(0), a.dim(1), b.dim(2)));
    a.graph().record(Matmul, &[a, b], &[(shape, DType::F32)]).remove(0)
}

fn samples() -> Vec<Sample> {
    let n = Range::Normal;
    let mut samples = Vec::new();
    for (m, k, cols) in [
        (1, 1, 1),
        (3, 5, 2),
        (64, 64, 64),
        (33, 17, 65),
        (128, 96, 72),
        (21, 30, 61),
        (1, 257, 31),
        (100, 3, 1),
    ] {
        samples.push(Sample::new(format!("{m}x{k}x{cols}"), &[(&[m, k], n), (&[k, cols], n)], |x| {
            vec![x[0].matmul(&x[1])]
        }));
    }
    samples.extend([
        Sample::new("transposed left", &[(&[40, 24], n), (&[40, 36], n)], |x| vec![x[0].t().matmul(&x[1])]),
        Sample::new("transposed right", &[(&[24, 40], n), (&[36, 40], n)], |x| vec![x[0].matmul(&x[1].t())]),
        Sample::new("transposed both", &[(&[40, 24], n), (&[36, 40], n)], |x| {
            vec![x[0].t().matmul(&x[1].t())]
        }),
        Sample::new("sliced", &[(&[20, 48], n), (&[30, 40], n)], |x| {
            vec![x[0].slice(1, 7, 27).matmul(&x[1].slice(0, 4, 24).slice(1, 3, 36))]
        }),
        Sample::new("sliced along rows", &[(&[20, 48], n), (&[24, 44], n)], |x| {
            vec![x[0].slice(1, 8, 32).matmul(&x[1].slice(1, 4, 40))]
        }),
        Sample::new("few rows", &[(&[3, 64], n), (&[64, 40], n)], |x| vec![x[0].matmul(&x[1])]),
        Sample::new("one row of a transposed", &[(&[1, 64], n), (&[40, 64], n)], |x| {
            vec![x[0].matmul(&x[1].t())]
        }),
        Sample::new("one row", &[(&[1, 67], n), (&[67, 301], n)], |x| vec![x[0].matmul(&x[1])]),
        Sample::new("one row, strided", &[(&[67, 1], n), (&[40, 67], n)], |x| {
            vec![x[0].t().matmul(&x[1].t())]
        }),
        Sample::new("six rows of a matrix in parts", &[(&[6, 301], n), (&[301, 437], n)], |x| {
            vec![cat(&[x[0].matmul(&x[1]), x[0].slice(1, 0, 9)], 1)]
        }),
        Sample::new("seven rows of a transposed", &[(&[7, 203], n), (&[46, 203], n)], |x| {
            vec![x[0].matmul(&x[1].t())]
        }),
        Sample::new("three rows of a part of a large matrix", &[(&[384, 3], n), (&[390, 360], n)], |x| {
            vec![x[0].t().matmul(&x[1].slice(0, 3, 387).slice(1, 5, 357))]
        }),
        Sample::new("six rows of a large matrix, beside others", &[(&[6, 400], n), (&[400, 344], n)], |x| {
            vec![cat(&[x[0].matmul(&x[1]), x[0].slice(1, 0, 9)], 1)]
        }),
        Sample::new("five rows of a large transposed", &[(&[5, 404], n), (&[327, 404], n)], |x| {
            vec![x[0].matmul(&x[1].t())]
        }),
        Sample::new(
            "eight rows of a large transposed, beside others",
            &[(&[8, 324], n), (&[1700, 324], n)],
            |x| vec![cat(&[x[0].matmul(&x[1].t()), x[0].slice(1, 0, 9)], 1)],
        ),
        Sample::new(
            "a few rows of the same column over and over",
            &[(&[4, 400], n), (&[328, 400], n)],
            |x| vec![x[0].matmul(&x[1].t().slice(0, 0, 1).broadcast_to(&(400, 328).into()))],
        ),
        Sample::new("whole tiles, beside others", &[(&[2, 32, 16], n), (&[2, 16, 64], n)], |x| {
            vec![cat(&[x[0].matmul(&x[1]), x[0].clone()], 2)]
        }),
        Sample::new("one row of a matrix in parts", &[(&[1, 301], n), (&[301, 437], n)], |x| {
            vec![x[0].matmul(&x[1])]
        }),
        Sample::new("one row, batched", &[(&[3, 1, 300], n), (&[3, 300, 200], n)], |x| {
            vec![x[0].matmul(&x[1])]
        }),
        Sample::new("one column", &[(&[70, 24], n), (&[24, 1], n), (&[1], n)], |x| {
            vec![(x[0].matmul(&x[1]) + &x[2]).relu() + x[0].slice(1, 0, 1)]
        }),
        Sample::new("batch of transposed", &[(&[2, 40, 9], n), (&[2, 40, 24], n)], |x| {
            vec![x[0].t().matmul(&x[1]).sigmoid()]
        }),
        Sample::new("into a concatenation", &[(&[12, 16], n), (&[16, 8], n), (&[16, 4], n)], |x| {
            vec![cat(&[x[0].matmul(&x[1]), x[0].matmul(&x[2])], 1) * 2.0]
        }),
        Sample::new("batched", &[(&[3, 9, 12], n), (&[3, 12, 7], n)], |x| vec![x[0].matmul(&x[1])]),
        Sample::new("batch broadcast", &[(&[2, 1, 9, 12], n), (&[3, 12, 7], n)], |x| {
            vec![x[0].matmul(&x[1])]
        }),
        Sample::new("tall", &[(&[2, 3, 9, 12], n), (&[12, 8], n)], |x| vec![x[0].matmul(&x[1])]),
        Sample::new(
            "bias, gelu, residual",
            &[(&[20, 16], n), (&[16, 24], n), (&[24], n), (&[20, 24], n)],
            |x| {
                let h = x[0].matmul(&x[1]) + &x[2];
                vec![h.gelu() + &x[3]]
            },
        ),
    ]);
    samples
}
