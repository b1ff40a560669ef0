//! Puts one product in the place of several of the same rows, where their matrices lie side by side: as q, k and v of a model
//! that keeps them apart, or the two halves of a SwiGLU.

use std::rc::Rc;

use super::live::Live;
use super::merge::{prepare_all, updated_between};
use crate::graph::{Record, Value, ValueId};
use crate::ops::Op;
use crate::ops::elementwise::Element;
use crate::ops::prologue::{POSSIBLE, Prologue};
use crate::ops::quantized_matmul::{PANEL, product};
use crate::shape::{Layout, Shape};
use crate::tensor::Tensor;

pub(super) fn join(record: &mut Record, outputs: &[(&str, &Tensor)]) {
    let live = Live::new(record, outputs);
    for n in (0..record.nodes.len()).filter(|&n| live.runs[n]) {
        if concatenated(record, &live, n).is_none() {
            gated(record, &live, n);
        }
    }
}

/// Products that only a concatenation reads, along their columns, become its own product.
fn concatenated(record: &mut Record, live: &Live, n: usize) -> Option<()> {
    let node = &record.nodes[n];
    let (whole, parts) = (node.outputs[0], node.op.placements()?);
    let products: Vec<usize> =
        node.inputs.iter().map(|&x| only_source(record, live, x)).collect::<Option<_>>()?;
    let y = &record.values[whole.0].layout;
    let mut next = 0;
    for (part, &p) in parts.iter().zip(&products) {
        let own = columns(&record.values[record.nodes[p].outputs[0].0].layout.shape);
        if part.offset != next || part.strides != y.strides || columns(&part.shape) != own {
            return None;
        }
        next += own;
    }
    // Whoever reads the concatenation as it is would find it in a product's shape.
    if next != columns(&y.shape) || live.is_output(whole) || live.uses(whole).iter().any(|u| u.view == whole)
    {
        return None;
    }
    let numel = y.numel();
    let joined = joined(record, &products, n)?;
    // A concatenation may have more rows than its parts: those are zero, which no product would write.
    let is_all = columns(&joined.shape) == next && joined.shape.numel() == numel;
    is_all.then(|| joined.replace(record, n))
}

/// SiLU of one product times another, `n`, become one product, if all who read that can do the rest: see [`Prologue::Gated`].
fn gated(record: &mut Record, live: &Live, n: usize) -> Option<()> {
    let function = |node: usize| match record.nodes[node].op.element() {
        Some(Element::Apply(function)) => function.name,
        _ => "",
    };
    if function(n) != "mul" {
        return None;
    }
    let &[a, b] = &record.nodes[n].inputs[..] else { unreachable!("two factors") };
    let [a, b] = [only_source(record, live, a)?, only_source(record, live, b)?];
    let (silu, up) = if function(a) == "silu" { (a, b) } else { (b, a) };
    if function(silu) != "silu" {
        return None;
    }
    let products = [only_source(record, live, record.nodes[silu].inputs[0])?, up];
    let joined = joined(record, &products, n)?;
    let y = record.nodes[n].outputs[0];
    if live.is_output(y) {
        return None;
    }
    let apart = columns(&joined.shape) - columns(&record.values[y.0].layout.shape);
    let prologue = Prologue::Gated { apart, possible: POSSIBLE? };
    prepare_all(record, live, y, prologue, &[y])?;
    joined.replace(record, n);
    Some(())
}

/// The node whose first output is all that `x` shows, where nobody else reads that.
fn only_source(record: &Record, live: &Live, x: ValueId) -> Option<usize> {
    let base = record.values[x.0].base;
    let node = record.producer(base)?;
    let only = record.is_whole(x) && live.uses(base).len() == 1 && !live.is_output(base);
    (only && record.nodes[node].outputs[0] == base).then_some(node)
}

/// A product in the place of several. Columns of quantised matrices begin with a panel each, and what fills a panel is zero.
struct Joined {
    op: Rc<dyn Op>,
    rows: ValueId,
    /// What it reads beside the rows.
    beside: Vec<Value>,
    shape: Shape,
}

/// The product that node `n` can be in the place of these nodes, if they multiply the same rows by matrices side by side.
fn joined(record: &Record, products: &[usize], n: usize) -> Option<Joined> {
    let (first, rest) = products.split_first()?;
    let first = &record.nodes[*first];
    let value = |x: ValueId| &record.values[x.0];
    // Columns are the last dimension of whole matrices, and panels the first of quantised ones.
    let (quantized, dim) = match first.op.name() {
        "matmul" => (false, 2),
        "quantized_matmul" => (true, 0),
        _ => return None,
    };
    let rows = value(first.inputs[0]);
    let mut beside: Vec<Value> = first.inputs[1..].iter().map(|&x| value(x).clone()).collect();
    let mut shape = value(first.outputs[0]).layout.shape.to_vec();
    for &p in rest {
        let node = &record.nodes[p];
        let its = value(node.inputs[0]);
        if node.op.name() != first.op.name() || its.base != rows.base || its.layout != rows.layout {
            return None;
        }
        for (whole, &next) in beside.iter_mut().zip(&node.inputs[1..]) {
            append(whole, value(next), dim)?;
        }
        let end = shape.last_mut()?;
        let begin = if quantized { end.next_multiple_of(PANEL) } else { *end };
        *end = begin + columns(&value(node.outputs[0]).layout.shape);
    }
    if products.iter().any(|&p| updated_between(record, p, n)) {
        return None;
    }
    let op = if quantized { product(&beside[0].layout, columns(&shape)) } else { first.op.clone() };
    Some(Joined { op, rows: first.inputs[0], beside, shape: shape.into() })
}

impl Joined {
    /// Node `n` becomes this product.
    fn replace(self, record: &mut Record, n: usize) {
        let first = record.values.len();
        record.values.extend(self.beside);
        let node = &mut record.nodes[n];
        node.op = self.op;
        node.inputs = [self.rows].into_iter().chain((first..record.values.len()).map(ValueId)).collect();
        record.values[node.outputs[0].0].layout = Layout::contiguous(self.shape);
    }
}

fn columns(shape: &[usize]) -> usize {
    *shape.last().expect("a dimension")
}

/// Makes a view longer by another one that lies behind it along `dim`.
fn append(whole: &mut Value, next: &Value, dim: usize) -> Option<()> {
    let (mine, its) = (&whole.layout, &next.layout);
    let alike = (0..mine.shape.len()).all(|d| {
        let extent = d == dim || mine.shape[d] == its.shape[d];
        let stride = d != dim && mine.shape[d] == 1 || mine.strides[d] == its.strides[d];
        extent && stride
    });
    let behind = mine.offset + mine.shape[dim] * mine.strides[dim] == its.offset;
    if whole.base != next.base || !alike || !behind {
        return None;
    }
    let mut dims = mine.shape.to_vec();
    dims[dim] += its.shape[dim];
    whole.layout.shape = dims.into();
    whole.probe = None;
    Some(())
}
