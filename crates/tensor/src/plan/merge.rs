//! Puts one node in the place of a node and its readers, where a kernel does the work of both in less time than another
//! dispatch takes. See [`Op::merged`](crate::ops::Op::merged).

use std::rc::Rc;

use super::live::Live;
use crate::graph::{Record, Source, ValueId};
use crate::ops::Op;
use crate::shape::Layout;
use crate::tensor::Tensor;

/// A node is merged into all its readers or into none: otherwise it would have to run as well.
pub(super) fn merge(record: &mut Record, outputs: &[(&str, &Tensor)]) {
    let live = Live::new(record, outputs);
    for p in (0..record.nodes.len()).filter(|&p| live.runs[p]) {
        let (first, rest) = record.nodes[p].outputs.split_first().expect("a node has an output");
        if live.is_output(*first) || rest.iter().any(|&y| live.is_output(y) || !live.uses(y).is_empty()) {
            continue;
        }
        let mut readers: Vec<usize> = live.uses(*first).iter().map(|u| u.node).collect();
        readers.dedup();
        if !record.nodes[p].op.in_place().is_empty() && readers.len() != 1 {
            continue;
        }
        let merged: Option<Vec<_>> = readers.iter().map(|&n| merged(record, p, n)).collect();
        for (n, (op, inputs)) in readers.into_iter().zip(merged.unwrap_or_default()) {
            let plain = std::mem::replace(&mut record.nodes[n].op, op);
            record.nodes[n].inputs = inputs;
            if !record.nodes[p].op.in_place().is_empty() {
                // What it updates is now the reader's to update, and nothing is left of it.
                let updated = std::mem::take(&mut record.nodes[p].outputs);
                record.nodes[p].op = plain;
                updated.iter().for_each(|y| record.values[y.0].source = Source::Node { node: n });
                record.nodes[n].outputs.extend(updated);
            }
        }
    }
}

/// What can stand in the place of node `p` and its reader `n`, and what it reads.
fn merged(record: &Record, p: usize, n: usize) -> Option<(Rc<dyn Op>, Vec<ValueId>)> {
    let (producer, node) = (&record.nodes[p], &record.nodes[n]);
    let base = |x: &ValueId| record.values[x.0].base;
    let (at, others): (Vec<usize>, Vec<usize>) =
        (0..node.inputs.len()).partition(|&i| base(&node.inputs[i]) == producer.outputs[0]);
    // 1. What the node reads must be the same when the reader runs.
    let updated = record.nodes[p + 1..n].iter().any(|between| {
        let mut updates = between.op.in_place().iter().map(|&(_, input)| base(&between.inputs[input]));
        updates.any(|state| producer.inputs.iter().any(|x| base(x) == state))
    });
    // 2. A norm is read whole, with matrices that lie where they are known to.
    let plain = |&i: &usize| record.producer(base(&node.inputs[i])).is_none();
    let fits = producer.op.norm().is_none() || (record.is_whole(node.inputs[0]) && others.iter().all(plain));
    // 3. What is updated lies whole in a state, at the places that the reader is told by the node's last input.
    let fits = fits
        && (producer.op.in_place().is_empty() || {
            record.is_whole(producer.inputs[0]) && producer.inputs.last() == node.inputs.last()
        });
    let layouts = |inputs: &[ValueId]| inputs.iter().map(|x| record.values[x.0].layout.clone()).collect();
    let (mine, its): (Vec<Layout>, Vec<Layout>) = (layouts(&node.inputs), layouts(&producer.inputs));
    let op = (fits && !updated).then(|| node.op.merged(&*producer.op, &at, &mine, &its)).flatten()?;
    let others = others.iter().map(|&i| node.inputs[i]);
    Some((op, producer.inputs.iter().copied().chain(others).collect()))
}
