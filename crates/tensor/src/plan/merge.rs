//! Puts one node in the place of a node and its readers, where a kernel does the work of both in less time than another
//! dispatch takes: see [`Op::after`] and [`Op::merged`]. Cuts a node's work into parts where its readers can add them up: see
//! [`Op::split`].

use std::rc::Rc;

use super::live::Live;
use crate::graph::{Record, Source, ValueId};
use crate::ops::prologue::Prologue;
use crate::ops::{Op, Split};
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
fn merged(record: &Record, p: usize, n: usize) -> Option<Reader> {
    let (producer, node) = (&record.nodes[p], &record.nodes[n]);
    if updated_between(record, p, n) {
        return None;
    }
    // Positions, where both are told some, come last.
    let at_one_place = producer.inputs.last() == node.inputs.last();
    let (op, others) = match producer.op.prologue() {
        Some(prologue @ Prologue::Turned { .. }) => {
            let (at, others) = record.readings(n, producer.outputs[0]);
            let op =
                at_one_place.then(|| node.op.after(prologue, &at, &record.layouts(&node.inputs))).flatten();
            (op?, others)
        }
        Some(prologue) => prepared(record, n, producer.outputs[0], prologue)?,
        None => {
            // What is updated lies whole in a state.
            let fits =
                producer.op.in_place().is_empty() || record.is_whole(producer.inputs[0]) && at_one_place;
            let (at, others) = record.readings(n, producer.outputs[0]);
            let (mine, its) = (record.layouts(&node.inputs), record.layouts(&producer.inputs));
            (fits.then(|| node.op.merged(&*producer.op, &at, &mine, &its)).flatten()?, others)
        }
    };
    Some((op, producer.inputs.iter().copied().chain(others).collect()))
}

/// Whether what node `p` reads may not be the same any more when node `n` runs.
pub(super) fn updated_between(record: &Record, p: usize, n: usize) -> bool {
    let base = |x: &ValueId| record.values[x.0].base;
    record.nodes[p + 1..n].iter().any(|between| {
        let mut updates = between.op.in_place().iter().map(|&(_, input)| base(&between.inputs[input]));
        updates.any(|state| record.nodes[p].inputs.iter().any(|x| base(x) == state))
    })
}

/// An operation, and what it reads.
type Reader = (Rc<dyn Op>, Vec<ValueId>);

/// The product of node `n` that prepares its rows, all of `rows`, by itself, and what it reads beside them: matrices that lie where
/// they are known to.
fn prepared(record: &Record, n: usize, rows: ValueId, prologue: Prologue) -> Option<Reader> {
    let node = &record.nodes[n];
    let (at, others) = record.readings(n, rows);
    let fits = record.is_whole(node.inputs[0])
        && others.iter().all(|x| record.producer(record.values[x.0].base).is_none());
    let op = fits.then(|| node.op.after(prologue, &at, &record.layouts(&node.inputs))).flatten()?;
    Some((op, others))
}

/// A node is cut into parts if all its readers can add them up: otherwise somebody else would have to.
pub(super) fn split(record: &mut Record, outputs: &[(&str, &Tensor)]) {
    let live = Live::new(record, outputs);
    for n in (0..record.nodes.len()).filter(|&n| live.runs[n]) {
        let node = &record.nodes[n];
        let Some(Split { op, outputs, sum }) = node.op.split(&record.layouts(&node.inputs)) else { continue };
        let &[y, beside, ..] = &node.outputs[..] else { unreachable!("a node that is cut has two outputs") };
        if [y, beside].iter().any(|&y| live.is_output(y)) || !live.uses(beside).is_empty() {
            continue;
        }
        if prepare_all(record, &live, y, sum, &[y, beside]).is_none() {
            continue;
        }
        record.nodes[n].op = op;
        for (value, shape) in [y, beside].into_iter().zip(outputs) {
            record.values[value.0].layout = Layout::contiguous(shape);
        }
    }
}

/// All who read `rows` prepare them by themselves, and read `parts` in their place; or nobody, if one of them cannot.
pub(super) fn prepare_all(
    record: &mut Record,
    live: &Live,
    rows: ValueId,
    prologue: Prologue,
    parts: &[ValueId],
) -> Option<()> {
    let mut readers: Vec<usize> = live.uses(rows).iter().map(|u| u.node).collect();
    readers.dedup();
    let able: Option<Vec<Reader>> = readers.iter().map(|&n| prepared(record, n, rows, prologue)).collect();
    for (n, (op, others)) in readers.into_iter().zip(able?) {
        record.nodes[n].op = op;
        record.nodes[n].inputs = parts.iter().copied().chain(others).collect();
    }
    Some(())
}

impl Record {
    /// Which inputs of a node show a value, and what the others are.
    fn readings(&self, node: usize, value: ValueId) -> (Vec<usize>, Vec<ValueId>) {
        let inputs = &self.nodes[node].inputs;
        let (at, others): (Vec<usize>, Vec<usize>) =
            (0..inputs.len()).partition(|&i| self.values[inputs[i].0].base == value);
        (at, others.into_iter().map(|i| inputs[i]).collect())
    }

    fn layouts(&self, values: &[ValueId]) -> Vec<Layout> {
        values.iter().map(|x| self.values[x.0].layout.clone()).collect()
    }
}
