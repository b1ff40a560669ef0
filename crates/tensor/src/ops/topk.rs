//! The largest elements of each row, in order.

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real, split_rows2};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, expect_dtype, groups};
use crate::shader;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "topk", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("topk");

/// The largest k: a row is searched k times.
const MAX_K: usize = 64;

/// x (R, V) → values (R, K), indices (R, K) of u32.
#[derive(Debug)]
struct TopK;

impl Op for TopK {
    fn name(&self) -> &'static str {
        "topk"
    }
    /// The gradient of the values goes back to where they were.
    fn grad(&self, vjp: &Vjp) -> Vec<Option<Tensor>> {
        vec![vjp.dy_opt(0).map(|dy| dy.scatter(vjp.y(1), vjp.x(0).dim(1)))]
    }
    fn flops(&self, io: &Operands) -> u64 {
        (io.inputs[0].layout.numel() * io.outputs[0].dims()[1]) as u64
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let &[rows, v] = io.inputs[0].dims() else { unreachable!("x is (R, V)") };
        let k = io.outputs[0].dims()[1];
        let lanes = if v < 1024 { 64 } else { 256 };
        let (entry, rows_per_group) =
            if io.software_for(k * v) { ("software", 32) } else { ("gpu", 256 / lanes) };
        vec![Dispatch {
            shader: SHADER,
            entry,
            constants: vec![("R", rows as f64), ("V", v as f64), ("K", k as f64), ("LANES", lanes as f64)],
            bindings: vec![Bind::Input(0), Bind::Output(0), Bind::Output(1)],
            workgroups: groups(rows, rows_per_group),
        }]
    }
}

impl TopK {
    /// One pass over each row keeps the best so far in order; most elements are not better than the last of them.
    fn run<F: Real>(&self, mut io: CpuIo<F>) {
        let x = io.x(0);
        let v = io.dims(0)[1];
        let (values, layout) = io.take_strided(0);
        let k = layout.shape[1];
        split_rows2((values, k), (io.take_ids(1), k), v, |first, values, indices| {
            let rows = values.chunks_exact_mut(k).zip(indices.chunks_exact_mut(k));
            for ((values, indices), x) in rows.zip(x[first * v..].chunks_exact(v)) {
                let mut found = 0;
                for (i, &x) in x.iter().enumerate() {
                    if found == k && x <= values[k - 1] {
                        continue;
                    }
                    // Strictly larger elements only are overtaken, so that ties stay in the order of their indices.
                    let place = values[..found].iter().position(|&kept| x > kept).unwrap_or(found);
                    if place == k {
                        continue;
                    }
                    found = (found + 1).min(k);
                    values.copy_within(place..found - 1, place + 1);
                    indices.copy_within(place..found - 1, place + 1);
                    (values[place], indices[place]) = (x, i as u32);
                }
            }
        });
    }
}

impl Tensor {
    /// The k largest elements of each row, largest first, and their indices (u32); of equal ones the lower index comes
    /// first. The order of a row that holds a NaN is not defined.
    ///
    /// # Shapes
    /// `(…, V)` → values `(…, k)`, indices `(…, k)`.
    ///
    /// # Gradient
    /// The values' gradient goes to the elements that were picked; the indices have none.
    ///
    /// # Cost
    /// One dispatch that reads each row k times.
    ///
    /// # Example
    /// ```text
    /// [[3, 9, 4, 9]].topk(3) = ([[9, 9, 4]], [[1, 3, 2]])
    /// ```
    ///
    /// # Panics
    /// When k is 0, beyond 64, or beyond V.
    #[track_caller]
    pub fn topk(&self, k: usize) -> (Tensor, Tensor) {
        expect_dtype("topk", self, DType::F32);
        let v = self.last_dim();
        assert!(
            (1..=MAX_K.min(v)).contains(&k),
            "topk: k is {k}, a row of {} has {v}, the most is {MAX_K}",
            self.shape()
        );
        let rows = self.shape().numel() / v;
        let x = self.reshape((rows, v)); // (R, V)
        let flat = Shape::from((rows, k));
        let outputs = [(flat.clone(), DType::F32), (flat, DType::U32)];
        let [values, indices] = self.graph().record(TopK, &[&x], &outputs).try_into().expect("two outputs");
        let shape = [&self.dims()[..self.dims().len() - 1], &[k]].concat();
        (values.reshape(shape.clone()), indices.reshape(shape))
    }
}

fn samples() -> Vec<Sample> {
    let n = Range::Normal;
    let both = |(values, indices): (Tensor, Tensor)| vec![values, indices];
    let mut samples = Vec::new();
    for (v, k) in [(1, 1), (3, 2), (255, 1), (256, 7), (257, 5)] {
        samples.push(Sample::new(format!("{k} of {v}"), &[(&[6, v], n)], move |x| both(x[0].topk(k))));
    }
    // Here some elements lie so close that the steps of a gradient check would swap them.
    for (v, k) in [(256, 64), (3000, 40)] {
        samples.push(
            Sample::new(format!("{k} of {v}"), &[(&[6, v], n)], move |x| both(x[0].topk(k))).forward_only(),
        );
    }
    samples.extend([
        // Whole numbers, so that most elements are equal to others.
        Sample::new("ties by index", &[(&[2, 5, 100], n)], move |x| {
            both((x[0].abs() * 2.0).trunc().topk(30))
        })
        .forward_only(),
        Sample::new("the order of everything", &[(&[3, 20], n)], move |x| both((-&x[0]).topk(20))),
        Sample::new("beyond 65535 workgroups", &[(&[262_200, 3], n)], move |x| both(x[0].topk(2)))
            .forward_only(),
    ]);
    samples
}
