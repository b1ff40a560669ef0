//! The kernels of [`super::matmul`] for GPUs and products that fill them, with eight by eight sums a thread.

use crate::check::{Range, Sample};
use crate::ops::{OpEntry, Shader};

/// Registry row. Its samples are products large enough for it.
pub const ENTRY: OpEntry = OpEntry { name: "matmul_wide", samples, shader: Some(LARGE) };

/// Registry row of [`ANY`], which a compiler is to see as well.
pub const ANY_ENTRY: OpEntry = OpEntry { name: "matmul_wide_any", samples: Vec::new, shader: Some(ANY) };

/// A kernel of tiles with so many threads along a side, which loads its operands so.
macro_rules! kernel {
    ($side:literal, $loads:literal) => {
        Shader {
            stem: "matmul_wide",
            source: concat!(
                "const SIDE: u32 = ",
                $side,
                "u;\n",
                include_str!(concat!(env!("OUT_DIR"), "/", $loads, ".wgsl")),
                include_str!(concat!(env!("OUT_DIR"), "/matmul_wide.wgsl")),
            ),
        }
    };
}

/// Tiles of 128×128 sums, for operands in fours.
pub(super) const LARGE: Shader = kernel!(16, "wide_fours");

/// Tiles of 64×64 sums, likewise: more of them, each somewhat slower.
pub(super) const SMALL: Shader = kernel!(8, "wide_fours");

/// Tiles of 64×64 sums, for operands that lie in any way.
pub(super) const ANY: Shader = kernel!(8, "wide_singles");

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
        Sample::new("odd extents", &[(&[901, 21], n), (&[611, 21], n)], |x| {
            vec![x[0].matmul(&x[1].t()) * 0.1]
        }),
        Sample::new("odd extents, transposed", &[(&[7, 901], n), (&[7, 611], n)], |x| {
            vec![x[0].t().matmul(&x[1])]
        }),
        Sample::new("tiles of 128", &[(&[9, 2052], n), (&[9, 2056], n)], |x| vec![x[0].t().matmul(&x[1])]),
    ]
}
