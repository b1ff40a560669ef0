//! Both gradients of a product in one kernel: neither waits for the other, and small ones fill a GPU only together.

use crate::autograd::Vjp;
use crate::cpu::{CpuIo, Real};
use crate::cpu_kernel;
use crate::ops::matmul::{Product, multiply};
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader};
use crate::shader;
use crate::shape::Layout;
use crate::tensor::Tensor;

/// Registry row. The samples of `matmul` ask for gradients, so there are none of its own.
pub const ENTRY: OpEntry = OpEntry { name: "matmul_grad", samples: Vec::new, shader: Some(SHADER) };

const SHADER: Shader = shader!("tile", "matmul_grad");

/// What the shader calls the first element of a, b, dy, da and db, and the steps from one matrix, row and column to the next.
const PLACES: [[&str; 4]; 5] = [
    ["A0", "AZ", "AM", "AK"],
    ["B0", "BZ", "BK", "BN"],
    ["D0", "DZ", "DM", "DN"],
    ["U0", "UZ", "UM", "UK"],
    ["V0", "VZ", "VK", "VN"],
];

/// (a (Z, M, K), b (Z, K, N), dy (Z, M, N)) → da = dy·bᵀ (Z, M, K), db = aᵀ·dy (Z, K, N)
#[derive(Debug)]
pub(super) struct MatmulGrad;

impl MatmulGrad {
    /// Records the gradients of `a·b`.
    pub fn record(a: &Tensor, b: &Tensor, dy: &Tensor) -> Vec<Tensor> {
        let outputs = [a, b].map(|x| (x.shape().clone(), x.dtype()));
        dy.graph().record(MatmulGrad, &[a, b, dy], &outputs)
    }
}

/// The matrices of a batch, transposed.
fn transposed(layout: &Layout) -> Layout {
    layout.permute(&[0, 2, 1])
}

/// dy·bᵀ and aᵀ·dy.
fn products(io: &Operands) -> [Product; 2] {
    let [a, b, dy] = [0, 1, 2].map(|i| &io.inputs[i].layout);
    let [da, db] = [0, 1].map(|k| &io.outputs[k].layout);
    [Product::of(dy, &transposed(b), da), Product::of(&transposed(a), dy, db)]
}

impl Op for MatmulGrad {
    fn name(&self) -> &'static str {
        "matmul_grad"
    }
    fn grad(&self, _: &Vjp) -> Vec<Option<Tensor>> {
        panic!("matmul: second derivatives are not implemented")
    }
    fn flops(&self, io: &Operands) -> u64 {
        4 * io.outputs[0].layout.numel() as u64 * io.inputs[2].layout.shape[2] as u64
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
    fn dispatches(&self, io: &Operands) -> u64 {
        if products(io).iter().any(Product::fills_a_gpu) { 2 } else { 1 }
    }
    cpu_kernel!(run);
    /// One dispatch where both together fill a GPU better; two of `matmul` where one product fills it alone, and on adapters
    /// that are CPUs, where a dispatch costs little and a product much.
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let [a, b, dy] = [0, 1, 2].map(|i| &io.inputs[i].layout);
        let [da, db] = [0, 1].map(|k| &io.outputs[k].layout);
        let products = products(&Operands { inputs: io.inputs, outputs: io.outputs });
        let bindings = [
            [Bind::Input(2), Bind::Input(1), Bind::Output(0)],
            [Bind::Input(0), Bind::Input(2), Bind::Output(1)],
        ];
        if products.iter().any(|product| product.software_fits(io) || product.fills_a_gpu()) {
            return products
                .iter()
                .zip(bindings)
                .map(|(product, bindings)| product.on(io, bindings))
                .collect();
        }
        let &[z, m, k] = &a.shape[..] else { unreachable!("three dimensions") };
        let shape = [("Z", z), ("M", m), ("N", dy.shape[2]), ("K", k)];
        let mut constants = shape.map(|(name, n)| (name, n as f64)).to_vec();
        for (names, layout) in PLACES.iter().zip([a, b, dy, da, db]) {
            let numbers = std::iter::once(&layout.offset).chain(&layout.strides);
            constants.extend(names.iter().zip(numbers).map(|(&name, &n)| (name, n as f64)));
        }
        vec![Dispatch {
            shader: SHADER,
            entry: "gpu",
            constants,
            bindings: vec![Bind::Input(0), Bind::Input(1), Bind::Input(2), Bind::Output(0), Bind::Output(1)],
            workgroups: products.iter().map(|product| product.tiles(32) as u64).sum(),
        }]
    }
}

impl MatmulGrad {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let [a, b, dy] = [0, 1, 2].map(|i| (io.x(i), io.layout(i)));
        multiply(dy, (b.0, &transposed(b.1)), io.take_strided(0));
        multiply((a.0, &transposed(a.1)), dy, io.take_strided(1));
    }
}
