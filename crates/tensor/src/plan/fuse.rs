//! Joins element-wise nodes into chains, and chains to the kernel before them.
//!
//! A node joins the chain of its readers when all of them are in that one chain and read it element for element. A chain
//! becomes an epilogue when one of its operands is the whole output of an operation that offers one.

use super::Target;
use super::live::Live;
use super::merge::updated_between;
use crate::graph::{Record, Source, ValueId};
use crate::ops::elementwise::{Element, Expr, Instr};

/// A chain of element-wise nodes with one result.
pub(super) struct Chain {
    /// All its nodes, in order; the last one computes the result.
    pub nodes: Vec<usize>,
    /// The operation whose kernel ends with this chain, with the value handed over.
    pub host: Option<(usize, ValueId)>,
    /// Whether the host's value is stored as well, because somebody else reads it.
    pub keeps_input: bool,
}

pub(super) struct Fusion {
    /// By node: the chain whose result it computes.
    pub chains: Vec<Option<Chain>>,
    /// By node: whether it runs as part of the step of a chain that it ends with.
    pub hosted: Vec<bool>,
}

impl Fusion {
    pub fn new(record: &Record, live: &Live, target: Target) -> Fusion {
        let n = record.nodes.len();
        let mut fusion = Fusion { chains: chains(record, live, target), hosted: vec![false; n] };
        if target.epilogues {
            for root in (0..n).filter(|&root| fusion.chains[root].is_some()).collect::<Vec<_>>() {
                fusion.find_host(record, live, target, root);
            }
        }
        fusion
    }

    fn chain(&self, root: usize) -> &Chain {
        self.chains[root].as_ref().expect("the root has a chain")
    }

    /// The operands of a chain: what it loads, each once, with the host's value left out.
    pub fn loads(&self, record: &Record, root: usize) -> Vec<ValueId> {
        let chain = self.chain(root);
        let handed = chain.host.map(|(_, value)| value);
        let mut loads = Vec::new();
        for &n in &chain.nodes {
            for &x in &record.nodes[n].inputs {
                let base = record.values[x.0].base;
                let inner = record.producer(base).is_some_and(|p| chain.has(p) || is_constant(record, p));
                if !inner && Some(base) != handed && !loads.contains(&x) {
                    loads.push(x);
                }
            }
        }
        loads
    }

    /// The chain as straight-line code over [`loads`](Self::loads).
    pub fn expr(&self, record: &Record, root: usize) -> Expr {
        let chain = self.chain(root);
        let handed = chain.host.map(|(_, value)| value);
        let loads = self.loads(record, root);
        let mut code: Vec<Instr> = Vec::new();
        // Which register holds a value. A chain has a handful of them.
        let mut registers: Vec<(ValueId, usize)> = Vec::new();
        for &n in &chain.nodes {
            let node = &record.nodes[n];
            let mut args = Vec::new();
            for x in &node.inputs {
                let base = record.values[x.0].base;
                let register_of = |value: ValueId| registers.iter().find(|(v, _)| *v == value).map(|r| r.1);
                let whole = if record.is_whole(*x) { register_of(base) } else { None };
                let known = whole.or_else(|| register_of(*x));
                let register = known.unwrap_or_else(|| {
                    code.push(match record.producer(base).and_then(|p| record.nodes[p].op.element()) {
                        _ if Some(base) == handed => Instr::Stored,
                        Some(Element::Constant(c)) => Instr::Constant(c),
                        _ => Instr::Load(loads.iter().position(|l| l == x).expect("every operand is loaded")),
                    });
                    registers.push((*x, code.len() - 1));
                    code.len() - 1
                });
                args.push(register);
            }
            code.push(match node.op.element().expect("chains consist of element-wise nodes") {
                Element::Constant(c) => Instr::Constant(c),
                Element::Apply(f) => Instr::Apply(f, [0, 1, 2].map(|i| *args.get(i).unwrap_or(&args[0]))),
            });
            registers.push((node.outputs[0], code.len() - 1));
        }
        Expr { code }
    }

    /// Looks for an operation that can end with the chain of `root`.
    fn find_host(&mut self, record: &Record, live: &Live, target: Target, root: usize) {
        let chain = self.chain(root);
        let numel = record.values[record.nodes[root].outputs[0].0].layout.numel();
        let loads = self.loads(record, root);
        let hosts = loads
            .iter()
            .filter(|&&x| record.is_whole(x) && record.values[x.0].layout.numel() == numel)
            .map(|x| record.values[x.0].base)
            // A second reading through another layout could not be handed over.
            .filter(|base| {
                loads.iter().filter(|l| record.values[l.0].base == *base).all(|&l| record.is_whole(l))
            })
            .filter_map(|base| record.producer(base).map(|p| (p, base)))
            .filter(|&(p, base)| {
                record.nodes[p].op.epilogue() && record.nodes[p].outputs[0] == base && !self.hosted[p]
            });
        // The kernel then runs where the chain's result is due, so it must find there what it reads, and nobody else may need
        // it earlier.
        let in_time = |&(p, _): &(usize, ValueId)| {
            let outputs = &record.nodes[p].outputs;
            outputs.iter().flat_map(|&y| live.uses(y)).all(|u| u.node > root || chain.has(u.node))
                && !updated_between(record, p, root)
        };
        let Some((host, value)) = hosts.filter(in_time).max() else { return };
        let keeps_input = live.is_output(value) || live.uses(value).iter().any(|u| !chain.has(u.node));
        let node = &record.nodes[host];
        let extra = loads.iter().filter(|x| record.values[x.0].base != value).count();
        if node.inputs.len() + node.outputs.len() + extra + keeps_input as usize > target.max_bindings {
            return;
        }
        let chain = self.chains[root].as_mut().expect("the root has a chain");
        (chain.host, chain.keeps_input) = (Some((host, value)), keeps_input);
        self.hosted[host] = true;
    }
}

impl Chain {
    fn has(&self, node: usize) -> bool {
        self.nodes.binary_search(&node).is_ok()
    }
}

fn is_constant(record: &Record, node: usize) -> bool {
    matches!(record.nodes[node].op.element(), Some(Element::Constant(_)))
}

/// Groups the needed element-wise nodes, last reader first.
fn chains(record: &Record, live: &Live, target: Target) -> Vec<Option<Chain>> {
    let n_nodes = record.nodes.len();
    // By node: the result of the chain that it is in. By result: its nodes, last one first, and what they read.
    let mut root_of: Vec<Option<usize>> = vec![None; n_nodes];
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); n_nodes];
    let mut operands: Vec<Vec<ValueId>> = vec![Vec::new(); n_nodes];
    for n in (0..n_nodes).rev().filter(|&n| live.runs[n]) {
        let node = &record.nodes[n];
        let Some(element) = node.op.element() else { continue };
        let y = node.outputs[0];
        let uses = live.uses(y);
        // 1. A constant is written into every chain that reads it; it runs by itself only for other readers.
        let read_by_chains_only = uses.iter().all(|u| record.nodes[u.node].op.element().is_some());
        if matches!(element, Element::Constant(_)) && read_by_chains_only && !live.is_output(y) {
            continue;
        }
        // 2. Does one chain contain all readers, do they read element for element, and will what is read still be there?
        let candidate = uses.first().and_then(|u| root_of[u.node]).filter(|&root| {
            let joins = uses.iter().all(|u| root_of[u.node] == Some(root) && record.is_whole(u.view));
            let numel = record.values[record.nodes[root].outputs[0].0].layout.numel();
            let fits = joins && !live.is_output(y) && record.values[y.0].layout.numel() == numel;
            fits && !updated_between(record, n, root)
        });
        // 3. It must not read more than a kernel can bind. Two bindings are kept free, for the result and for what an
        //    epilogue keeps.
        let own = loads_of(record, n);
        let joined = candidate.map(|root| {
            let mut joined = operands[root].clone();
            joined.retain(|x| record.values[x.0].base != y);
            joined.extend(own.iter().filter(|x| !operands[root].contains(x)));
            (root, joined)
        });
        let (root, joined) =
            joined.filter(|(_, joined)| joined.len() + 2 <= target.max_bindings).unwrap_or((n, own));
        operands[root] = joined;
        root_of[n] = Some(root);
        members[root].push(n);
    }
    let chain = |mut nodes: Vec<usize>| {
        nodes.reverse();
        (!nodes.is_empty()).then_some(Chain { nodes, host: None, keeps_input: false })
    };
    members.into_iter().map(chain).collect()
}

/// What a single node reads, each value once, constants and per-run scalars left out.
fn loads_of(record: &Record, n: usize) -> Vec<ValueId> {
    let mut loads = Vec::new();
    for &x in &record.nodes[n].inputs {
        let base = record.values[x.0].base;
        let is_scalar = matches!(record.values[base.0].source, Source::Scalar(_));
        let constant = record.producer(base).is_some_and(|p| is_constant(record, p));
        if !is_scalar && !constant && !loads.contains(&x) {
            loads.push(x);
        }
    }
    loads
}
