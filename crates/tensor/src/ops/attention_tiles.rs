//! The forward kernel of [`super::attention`] for GPUs, and what it shares with the backward ones: how much of a head a
//! workgroup owns.
//!
//! `attention_product.wgsl` stands in front of both: what keys a query sees, and the product of two tiles.

use crate::check::{Range, Sample};
use crate::ops::{OpEntry, Shader, groups};
use crate::shader;

/// Registry row. Its samples are queries at positions among more keys; whole sequences are among those of `attention`.
pub const ENTRY: OpEntry = OpEntry { name: "attention_tiles", samples, shader: Some(SHADER) };

pub(super) const SHADER: Shader = shader!("attention_product", "attention_tiles");

/// Fewer workgroups than this leave processors of a large GPU idle, or busy with one each, which hides no latency.
const MANY: u64 = 256;

/// Rows of a workgroup, for `heads` heads (of all sequences) of `rows` rows and width `d`: the override `ROWS`, and the
/// workgroups that this makes.
pub(super) fn tiles(heads: usize, rows: usize, d: usize) -> (usize, u64) {
    let workgroups = |tile: usize| heads as u64 * groups(rows, tile);
    let tile = if d > 64 || workgroups(64) < MANY { 32 } else { 64 };
    (tile, workgroups(tile))
}

fn samples() -> Vec<Sample> {
    let (n, ids) = (Range::Normal, Range::Ids);
    // (B, T, S, H, G, D)
    let shapes = [
        [3, 1, 257, 4, 2, 16],
        [2, 1, 600, 3, 1, 64],
        [2, 3, 70, 2, 2, 8],
        [1, 2, 40, 1, 1, 20],
        [1, 2, 300, 2, 2, 132],
        [1, 70, 100, 2, 1, 8],
    ];
    let sample = |[b, t, s, h, g, d]: [usize; 6]| {
        let inputs: &[(&[usize], Range)] =
            &[(&[b, t, h, d], n), (&[b, s, g, d], n), (&[b, s, g, d], n), (&[b], ids((s - t + 1) as u32))];
        Sample::new(format!("T {t} at positions, S {s}, D {d}"), inputs, |x| {
            vec![x[0].attention(&x[1], &x[2], Some(&x[3]))]
        })
    };
    shapes.map(sample).into()
}
