//! Puts one node in the place of a node and its reader, where a kernel does the work of both in less time than another
//! dispatch takes. See [`Op::merged`](crate::ops::Op::merged).

use std::rc::Rc;

use super::live::{Live, Use};
use crate::graph::Record;
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
        let merged: Option<Vec<Rc<dyn Op>>> =
            live.uses(*first).iter().map(|reader| merged(record, p, reader)).collect();
        for (reader, op) in live.uses(*first).iter().zip(merged.unwrap_or_default()) {
            let inputs = record.nodes[p].inputs.iter().chain(&record.nodes[reader.node].inputs[1..]);
            let inputs = inputs.copied().collect();
            let node = &mut record.nodes[reader.node];
            (node.op, node.inputs) = (op, inputs);
        }
    }
}

/// What can stand in the place of node `p` and its reader.
fn merged(record: &Record, p: usize, reader: &Use) -> Option<Rc<dyn Op>> {
    let (producer, node) = (&record.nodes[p], &record.nodes[reader.node]);
    let base = |i: &crate::graph::ValueId| record.values[i.0].base;
    // The reader's other inputs lie where they are known to; what the node reads is still the same when the reader runs.
    let known = node.inputs[1..].iter().all(|x| record.producer(base(x)).is_none());
    let updated = record.nodes[p..reader.node].iter().any(|between| {
        let updates = between.op.in_place().iter().map(|&(_, input)| base(&between.inputs[input]));
        updates.into_iter().any(|state| producer.inputs.iter().any(|x| base(x) == state))
    });
    let fits = known && !updated && node.inputs[0] == reader.view && record.is_whole(reader.view);
    let layouts: Vec<&Layout> = node.inputs.iter().map(|x| &record.values[x.0].layout).collect();
    fits.then(|| node.op.merged(&*producer.op, &layouts)).flatten()
}
