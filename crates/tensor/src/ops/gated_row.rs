//! A row one half of which gates the other and which is then multiplied by a matrix, in one kernel for GPUs. Nobody records it: the
//! planner puts it in the place of two products, of SwiGLU, which joins them, and of the products that read it.

use crate::check::{Range, Sample};
use crate::ops::quantized_matmul::PANEL;
use crate::ops::{OpEntry, Shader};
use crate::shader;

/// Registry row. Its samples are SwiGLU as a model has it, behind a norm, with all its weights in one state.
pub const ENTRY: OpEntry = OpEntry { name: "gated_row", samples, shader: Some(SHADER) };

pub(super) const SHADER: Shader = shader!("matmul_row", "gated_row");

fn samples() -> Vec<Sample> {
    let n = Range::Normal;
    let whole = |[k, hidden, columns]: [usize; 3], up_first: bool| {
        let (half, down) = (k * hidden, hidden * columns);
        let name =
            format!("{k}x{hidden}x{columns}{}", if up_first { ", factors the other way round" } else { "" });
        Sample::new(name, &[(&[1, k], n), (&[k], n), (&[2 * half + down], n)], move |x| {
            let h = x[0].rms_norm(&x[1], 1e-3);
            let matrix = |from: usize, rows, columns| {
                x[2].slice(0, from, from + rows * columns).reshape((rows, columns)).t()
            };
            let (gate, up) = (h.matmul(&matrix(0, hidden, k)).silu(), h.matmul(&matrix(half, hidden, k)));
            let h = if up_first { up * gate } else { gate * up };
            vec![h.matmul(&matrix(2 * half, columns, hidden)) + &x[0].slice(1, 0, columns)]
        })
        .forward_only()
    };
    let quantized = |rows: usize, hidden: usize, bits: usize| {
        let (k, panels) = (64, hidden.div_ceil(PANEL));
        let (codes, scales) = (panels * k / 32 * bits * PANEL, panels * k / 32 * PANEL);
        let inputs: [(&[usize], Range); 5] = [
            (&[rows, k], n),
            (&[2 * codes], Range::Ids(u32::MAX)),
            (&[2 * scales], n),
            (&[1, hidden / 32, bits * PANEL], Range::Ids(u32::MAX)),
            (&[1, hidden / 32, PANEL], n),
        ];
        Sample::new(format!("{rows} rows of {hidden}, {bits} bits"), &inputs, move |x| {
            let product = |i: usize| {
                let codes = x[1].slice(0, i * codes, (i + 1) * codes).reshape((panels, k / 32, bits * PANEL));
                let scales = x[2].slice(0, i * scales, (i + 1) * scales).reshape((panels, k / 32, PANEL));
                x[0].quantized_matmul(&codes, &scales, hidden)
            };
            vec![(product(0).silu() * product(1)).quantized_matmul(&x[3], &x[4], 40)]
        })
        .forward_only()
    };
    vec![
        whole([8, 12, 8], false),
        whole([64, 520, 60], true),
        whole([132, 2060, 132], false),
        quantized(1, 128, 8),
        quantized(5, 128, 4),
        quantized(3, 96, 8),
    ]
}
