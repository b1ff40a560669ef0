//! Which nodes are needed, and who reads what.

use crate::graph::{Record, Source, ValueId};
use crate::tensor::Tensor;

/// One reading of a value by a node: through which view, as which input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    pub node: usize,
    /// The value that the node names: the base itself or a view of it.
    pub view: ValueId,
}

/// The needed part of a graph.
pub(super) struct Live {
    /// By node: whether it runs. Views never do.
    pub runs: Vec<bool>,
    /// By value that owns a buffer: its readers, in order.
    pub uses: Vec<Vec<Use>>,
    /// Values that the host reads.
    pub outputs: Vec<ValueId>,
}

impl Live {
    pub fn new(record: &Record, outputs: &[(&str, &Tensor)]) -> Live {
        let mut needed = vec![false; record.nodes.len()];
        let mut stack: Vec<usize> = Vec::new();
        let outputs: Vec<ValueId> = outputs.iter().map(|(_, y)| record.values[y.id.0].base).collect();
        stack.extend(outputs.iter().filter_map(|&y| record.producer(y)));
        stack.extend((0..record.nodes.len()).filter(|&n| !record.nodes[n].op.in_place().is_empty()));
        while let Some(node) = stack.pop() {
            if !std::mem::replace(&mut needed[node], true) {
                let bases = record.nodes[node].inputs.iter().map(|x| record.values[x.0].base);
                stack.extend(bases.filter_map(|x| record.producer(x)));
            }
        }
        let mut uses = vec![Vec::new(); record.values.len()];
        for (n, node) in record.nodes.iter().enumerate().filter(|&(n, _)| needed[n]) {
            for &view in &node.inputs {
                uses[record.values[view.0].base.0].push(Use { node: n, view });
            }
        }
        Live { runs: needed, uses, outputs }
    }

    pub fn uses(&self, value: ValueId) -> &[Use] {
        &self.uses[value.0]
    }

    pub fn is_output(&self, value: ValueId) -> bool {
        self.outputs.contains(&value)
    }
}

impl Record {
    /// The node that computes a value, which is not a view.
    pub(super) fn producer(&self, base: ValueId) -> Option<usize> {
        match self.values[base.0].source {
            Source::Node { node } => Some(node),
            _ => None,
        }
    }

    /// Whether `view` shows all of its base, element for element in the same order.
    pub(super) fn is_whole(&self, view: ValueId) -> bool {
        let value = &self.values[view.0];
        let base = &self.values[value.base.0];
        value.layout.offset == 0
            && value.layout.is_contiguous()
            && value.layout.numel() == base.layout.numel()
    }
}
