//! The kernels of [`super::matmul`] for GPUs and products of one row: what decoding a token consists of.

use crate::check::{Range, Sample};
use crate::ops::{OpEntry, Shader};
use crate::shader;

/// Registry row. Its samples are products of one row and a matrix that can be read in fours, in either layout.
pub const ENTRY: OpEntry = OpEntry { name: "matmul_row", samples, shader: Some(SHADER) };

pub(super) const SHADER: Shader = shader!("row_plain", "matmul_row");

fn samples() -> Vec<Sample> {
    let n = Range::Normal;
    vec![
        Sample::new("bias, relu", &[(&[1, 530], n), (&[530, 76], n), (&[76], n)], |x| {
            vec![(x[0].matmul(&x[1]) + &x[2]).relu()]
        }),
        Sample::new("transposed", &[(&[1, 260], n), (&[75, 260], n)], |x| vec![x[0].matmul(&x[1].t())]),
        Sample::new("eight columns a workgroup", &[(&[1, 1100], n), (&[1100, 516], n)], |x| {
            vec![x[0].matmul(&x[1])]
        })
        .forward_only(),
        Sample::new("sixteen columns a workgroup", &[(&[1, 600], n), (&[600, 2052], n)], |x| {
            vec![x[0].matmul(&x[1])]
        })
        .forward_only(),
        Sample::new("thirty-two columns a workgroup", &[(&[1, 140], n), (&[17_001, 140], n)], |x| {
            vec![x[0].matmul(&x[1].t())]
        })
        .forward_only(),
        Sample::new("batched", &[(&[3, 1, 40], n), (&[3, 40, 20], n)], |x| vec![x[0].matmul(&x[1])]),
        Sample::new("batched, transposed", &[(&[3, 1, 40], n), (&[3, 17, 40], n)], |x| {
            vec![x[0].matmul(&x[1].t())]
        }),
        Sample::new("a column of a matrix", &[(&[44, 3], n), (&[44, 64], n)], |x| {
            vec![x[0].slice(1, 1, 2).t().matmul(&x[1])]
        }),
    ]
}
