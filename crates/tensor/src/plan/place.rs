//! Lets the producers of a concatenation write their part in place.
//!
//! This is how gradients land in one flat buffer, and the gradients of q, k and v in one matrix, without a copy.

use super::live::Live;
use super::{Target, fuse::Fusion};
use crate::graph::{Record, ValueId};
use crate::shape::Layout;

pub(super) struct Places {
    /// By value: the other value in whose buffer it is written, and where.
    pub inside: Vec<Option<(ValueId, Layout)>>,
    /// By node, for concatenations: the inputs that must be copied, with their part of the output.
    pub copies: Vec<Option<Vec<(ValueId, Layout)>>>,
    /// Concatenations whose parts leave gaps: their buffers are zeroed once and never shared.
    pub gaps: Vec<ValueId>,
}

impl Places {
    pub fn new(record: &Record, live: &Live, fusion: &Fusion, target: Target) -> Places {
        let mut places = Places {
            inside: vec![None; record.values.len()],
            copies: vec![None; record.nodes.len()],
            gaps: Vec::new(),
        };
        for (n, node) in record.nodes.iter().enumerate().filter(|&(n, _)| live.runs[n]) {
            let Some(parts) = node.op.placements() else { continue };
            let whole = node.outputs[0];
            if parts.iter().map(Layout::numel).sum::<usize>() < record.values[whole.0].layout.numel() {
                places.gaps.push(whole);
            }
            let mut copies = Vec::new();
            for (&x, part) in node.inputs.iter().zip(&parts) {
                match places.placeable(record, live, fusion, target, x, part) {
                    Some((value, layout)) => places.inside[value.0] = Some((whole, layout)),
                    None => copies.push((x, part.clone())),
                }
            }
            places.copies[n] = Some(copies);
        }
        places
    }

    /// Whether the producer of `x` can write it at `part`: the value, and the part in the value's own shape.
    fn placeable(
        &self,
        record: &Record,
        live: &Live,
        fusion: &Fusion,
        target: Target,
        x: ValueId,
        part: &Layout,
    ) -> Option<(ValueId, Layout)> {
        let base = record.values[x.0].base;
        let producer = record.producer(base)?;
        let node = &record.nodes[producer];
        let only_here = live.uses(base).len() == 1 && !live.is_output(base) && self.inside[base.0].is_none();
        if !only_here || !record.is_whole(x) || !node.op.in_place().is_empty() {
            return None;
        }
        if node.op.placements().is_some() {
            return None;
        }
        let layout = part.reshape(&record.values[base.0].layout.shape)?;
        let k = node.outputs.iter().position(|&y| y == base)?;
        // The kernel that stores the value: the node itself, or the host of its chain.
        let stores_anywhere = match &fusion.chains[producer] {
            Some(chain) => chain.host.is_none_or(|(host, value)| {
                let shape = &record.values[value.0].layout.shape;
                record.nodes[host].op.strided_output(0) && layout.reshape(shape).is_some()
            }),
            None => node.op.strided_output(k),
        };
        let aligned = layout.is_contiguous() && layout.offset.is_multiple_of(target.alignment);
        (aligned || stores_anywhere).then_some((base, layout))
    }
}
