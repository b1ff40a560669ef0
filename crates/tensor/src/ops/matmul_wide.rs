//! The kernel of [`super::matmul`] for GPUs and products that fill them, in tiles of 128×128 or 64×64 sums, eight by eight a
//! thread.

use crate::check::{Range, Sample};
use crate::ops::{OpEntry, Shader};
use crate::shader;

/// Registry row. Its samples are products large enough for it.
pub const ENTRY: OpEntry = OpEntry { name: "matmul_wide", samples, shader: Some(SHADER) };

pub(super) const SHADER: Shader = shader!("matmul_wide");

fn samples() -> Vec<Sample> {
    let n = Range::Normal;
    vec![
        Sample::new(
            "bias, gelu, residual",
            &[(&[900, 20], n), (&[20, 612], n), (&[612], n), (&[900, 612], n)],
            |x| {
                let h = x[0].matmul(&x[1]) + &x[2];
                vec![h.gelu() + &x[3]]
            },
        ),
        Sample::new("transposed, batched", &[(&[3, 12, 520], n), (&[3, 372, 12], n)], |x| {
            vec![x[0].t().matmul(&x[1].t())]
        }),
        Sample::new("tiles of 128", &[(&[9, 2052], n), (&[9, 2056], n)], |x| vec![x[0].t().matmul(&x[1])]),
    ]
}
