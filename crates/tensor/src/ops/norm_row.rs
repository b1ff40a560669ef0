//! A row that is normalised and then multiplied by a matrix, in one kernel for GPUs. Nobody records it: the planner puts it
//! in the place of a norm and the products that read it.

use crate::check::{Range, Sample};
use crate::ops::{Bind, Dispatch, OpEntry, Shader};
use crate::shader;

/// Registry row. Its samples are products of normalised rows, without gradients, which would read what a norm keeps.
pub const ENTRY: OpEntry = OpEntry { name: "norm_row", samples, shader: Some(SHADER) };

pub(super) const SHADER: Shader = shader!("matmul_row", "norm_row");

/// A norm of rows: x (Z, K), w (K), bias (K) if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    pub(super) eps: f64,
    /// Whether no mean is subtracted.
    pub(super) rms: bool,
    pub(super) bias: bool,
}

impl Norm {
    /// See [`Prologue::prepare`](super::prologue::Prologue::prepare).
    pub(super) fn prepare(&self, dispatch: &mut Dispatch) {
        let constants = [("EPS", self.eps), ("RMS", f64::from(self.rms)), ("BIAS", f64::from(self.bias))];
        dispatch.constants.extend(constants);
        dispatch.bindings.extend([Bind::Input(1), Bind::Input(1 + self.bias as usize)]);
    }
}

fn samples() -> Vec<Sample> {
    let n = Range::Normal;
    let across = |name: &str, k: usize, columns: usize| {
        Sample::new(name, &[(&[1, k], n), (&[k], n), (&[k], n), (&[k, columns], n), (&[columns], n)], |x| {
            vec![(x[0].layer_norm(&x[1], Some(&x[2]), 1e-5).matmul(&x[3]) + &x[4]).gelu()]
        })
        .forward_only()
    };
    vec![
        across("layer norm", 768, 72),
        across("a short row", 8, 20),
        across("many columns", 44, 2052),
        across("more columns", 532, 1000),
        Sample::new("without bias", &[(&[1, 40], n), (&[40], n), (&[40, 24], n)], |x| {
            vec![x[0].layer_norm(&x[1], None, 1e-2).matmul(&x[2])]
        })
        .forward_only(),
        Sample::new(
            "two transposed products of one rms norm",
            &[(&[1, 612], n), (&[612], n), (&[35, 612], n), (&[35, 612], n)],
            |x| {
                let h = (&x[0] * 2.0).rms_norm(&x[1], 1e-3);
                vec![h.matmul(&x[2].t()).silu() * h.matmul(&x[3].t())]
            },
        )
        .forward_only(),
        Sample::new("a large vocabulary", &[(&[1, 36], n), (&[36], n), (&[17_001, 36], n)], |x| {
            vec![x[0].rms_norm(&x[1], 1e-3).matmul(&x[2].t())]
        })
        .forward_only(),
    ]
}
