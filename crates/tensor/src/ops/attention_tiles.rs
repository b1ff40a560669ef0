//! The forward kernel of [`super::attention`] for GPUs, and what it shares with the backward ones: how much of a head a
//! workgroup owns.
//!
//! `attention_product.wgsl` stands in front of both: what keys a query sees, and the product of two tiles.

use crate::ops::{OpEntry, Shader, groups};
use crate::shader;

/// Registry row. The samples are those of `attention`.
pub const ENTRY: OpEntry = OpEntry { name: "attention_tiles", samples: Vec::new, shader: Some(SHADER) };

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
