//! How an operation sees its operands on the CPU.

use crate::shape::Layout;

/// An operand that is read.
pub enum CpuIn<'a, F> {
    /// Elements of a float tensor; index with the layout.
    Float(&'a [F], &'a Layout),
    /// Elements of a u32 tensor.
    Uint(&'a [u32], &'a Layout),
    /// The 32 bits of a per-run scalar.
    Scalar(u32),
    /// The input is updated in place: read it through its output.
    InPlace(&'a Layout),
}

/// An operand that is written. For a contiguous output the slice is exactly the tensor; a strided one starts at its
/// first element.
pub enum CpuOut<'a, F> {
    /// Elements of a float tensor.
    Float(&'a mut [F], &'a Layout),
    /// Elements of a u32 tensor.
    Uint(&'a mut [u32], &'a Layout),
}

/// The operands of one operation, in recording order.
pub struct CpuIo<'a, F> {
    inputs: Vec<CpuIn<'a, F>>,
    outputs: Vec<Option<CpuOut<'a, F>>>,
}

impl<'a, F> CpuIo<'a, F> {
    /// Bundles operands; outputs can each be taken once.
    pub fn new(inputs: Vec<CpuIn<'a, F>>, outputs: Vec<CpuOut<'a, F>>) -> Self {
        CpuIo { inputs, outputs: outputs.into_iter().map(Some).collect() }
    }

    /// The elements of float input `i`, from its first one on; exactly the tensor when it is contiguous.
    ///
    /// # Panics
    /// When the input is not a float tensor.
    pub fn x(&self, i: usize) -> &'a [F] {
        match &self.inputs[i] {
            CpuIn::Float(data, _) => data,
            _ => panic!("input {i} is not a float tensor"),
        }
    }

    /// The elements of u32 input `i`.
    ///
    /// # Panics
    /// When the input is not a u32 tensor.
    pub fn ids(&self, i: usize) -> &'a [u32] {
        match &self.inputs[i] {
            CpuIn::Uint(data, _) => data,
            _ => panic!("input {i} is not a u32 tensor"),
        }
    }

    /// A per-run f32 scalar.
    ///
    /// # Panics
    /// When the input is not a per-run scalar.
    pub fn scalar(&self, i: usize) -> f32 {
        f32::from_bits(self.scalar_u32(i))
    }

    /// A per-run u32 scalar.
    ///
    /// # Panics
    /// When the input is not a per-run scalar.
    pub fn scalar_u32(&self, i: usize) -> u32 {
        match &self.inputs[i] {
            CpuIn::Scalar(bits) => *bits,
            _ => panic!("input {i} is not a per-run scalar"),
        }
    }

    /// The layout of input `i`, relative to the slice that [`x`](Self::x) or [`ids`](Self::ids) returns (offset 0).
    ///
    /// # Panics
    /// For a per-run scalar.
    pub fn layout(&self, i: usize) -> &'a Layout {
        match &self.inputs[i] {
            CpuIn::Float(_, layout) | CpuIn::Uint(_, layout) | CpuIn::InPlace(layout) => layout,
            CpuIn::Scalar(_) => panic!("input {i} is a per-run scalar"),
        }
    }

    /// The extents of input `i`.
    pub fn dims(&self, i: usize) -> &'a [usize] {
        &self.layout(i).shape
    }

    /// Takes float output `k`, with its layout.
    ///
    /// # Panics
    /// When taken twice, or not a float tensor.
    pub fn take_strided(&mut self, k: usize) -> (&'a mut [F], &'a Layout) {
        match self.outputs[k].take() {
            Some(CpuOut::Float(data, layout)) => (data, layout),
            _ => panic!("output {k} is not a float tensor, or was taken already"),
        }
    }

    /// Takes float output `k`.
    pub fn take(&mut self, k: usize) -> &'a mut [F] {
        self.take_strided(k).0
    }

    /// Takes u32 output `k`.
    ///
    /// # Panics
    /// When taken twice, or not a u32 tensor.
    pub fn take_ids(&mut self, k: usize) -> &'a mut [u32] {
        match self.outputs[k].take() {
            Some(CpuOut::Uint(data, _)) => data,
            _ => panic!("output {k} is not a u32 tensor, or was taken already"),
        }
    }
}
