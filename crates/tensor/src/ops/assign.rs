//! Overwriting a state: how one run of a program leaves something for the next.

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, groups};
use crate::shader;
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "assign", samples, shader: Some(shader!("assign")) };

/// Inputs (state, x); output 0 is the state after the update.
#[derive(Debug)]
struct Assign(DType);

impl Op for Assign {
    fn name(&self) -> &'static str {
        "assign"
    }
    /// The new value is `x`; the old one is gone.
    fn grad(&self, vjp: &Vjp) -> Vec<Option<Tensor>> {
        vec![None, Some(vjp.dy(0).clone())]
    }
    fn flops(&self, _: &Operands) -> u64 {
        0
    }
    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let n = io.outputs[0].layout.numel();
        vec![Dispatch {
            shader: shader!("assign"),
            entry: "main",
            constants: vec![("N", n as f64)],
            bindings: vec![Bind::Input(1), Bind::Output(0)],
            workgroups: groups(n, 64),
        }]
    }
}

impl Assign {
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        match self.0 {
            DType::F32 => io.take(0).copy_from_slice(io.x(1)),
            DType::U32 => io.take_ids(0).copy_from_slice(io.ids(1)),
        }
    }
}

impl Tensor {
    /// Overwrites this state with `x` when the program runs; returns the state as it is from then on.
    ///
    /// What was recorded before reads the old value, what is recorded afterwards through the result reads the new one:
    /// `sum.assign(&(&sum + x))` adds to a state.
    ///
    /// # Cost
    /// One dispatch; reads and writes each element once.
    ///
    /// # Panics
    /// When the shapes or element types differ, or when this is a part of a state.
    #[track_caller]
    pub fn assign(&self, x: &Tensor) -> Tensor {
        assert!(
            self.shape() == x.shape() && self.dtype() == x.dtype(),
            "assign: {} of {} cannot become {} of {}",
            self.shape(),
            self.dtype(),
            x.shape(),
            x.dtype()
        );
        let layout = self.layout();
        assert!(layout.is_contiguous() && layout.offset == 0, "assign: a state is overwritten as a whole");
        self.graph()
            .record(Assign(self.dtype()), &[self, x], &[(self.shape().clone(), self.dtype())])
            .remove(0)
    }
}

fn samples() -> Vec<Sample> {
    let n = Range::Normal;
    let state = |x: &Tensor, dtype| x.graph().state("state", x.shape(), dtype);
    vec![
        Sample::new("257 elements", &[(&[257], n)], move |x| {
            vec![state(&x[0], DType::F32).assign(&x[0]) * 2.0]
        }),
        Sample::new("a transposed tensor", &[(&[7, 40], n)], move |x| {
            let x = x[0].t();
            vec![state(&x, DType::F32).assign(&x)]
        }),
        Sample::new("of ids", &[(&[3, 100], Range::Ids(50_000))], move |x| {
            vec![state(&x[0], DType::U32).assign(&x[0])]
        })
        .forward_only(),
        Sample::new("twice", &[(&[64], n), (&[64], n)], move |x| {
            let first = state(&x[0], DType::F32).assign(&x[0]);
            vec![first.assign(&(&first + &x[1]))]
        })
        .forward_only(),
        Sample::new("beyond 65535 workgroups", &[(&[65_537 * 64], n)], move |x| {
            vec![state(&x[0], DType::F32).assign(&x[0])]
        })
        .forward_only(),
    ]
}
