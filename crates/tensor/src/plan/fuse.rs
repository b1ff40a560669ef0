//! Joins element-wise nodes into chains, and chains to the kernel before them.
//!
//! A node joins the chain of its readers when all of them are in that one chain and read it element for element. A chain
//! becomes an epilogue when one of its operands is the whole output of an operation that offers one.

use std::collections::{HashMap, HashSet};

use super::Target;
use super::live::Live;
use crate::graph::{Record, ValueId};
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
    /// Chains by the node of their result.
    pub chains: HashMap<usize, Chain>,
    /// Operations that run at the end of another node's step, by node: the chain's result node.
    pub hosted: HashMap<usize, usize>,
}

impl Fusion {
    pub fn new(record: &Record, live: &Live, target: Target) -> Fusion {
        let mut fusion = Fusion { chains: chains(record, live, target), hosted: HashMap::new() };
        if target.epilogues {
            let mut roots: Vec<usize> = fusion.chains.keys().copied().collect();
            roots.sort_unstable();
            for root in roots {
                fusion.find_host(record, live, target, root);
            }
        }
        fusion
    }

    /// The operands of a chain: what it loads, each once, with the host's value left out.
    pub fn loads(&self, record: &Record, root: usize) -> Vec<ValueId> {
        let chain = &self.chains[&root];
        let handed = chain.host.map(|(_, value)| value);
        let members: HashSet<usize> = chain.nodes.iter().copied().collect();
        let mut loads = Vec::new();
        for &n in &chain.nodes {
            for &x in &record.nodes[n].inputs {
                let base = record.values[x.0].base;
                let inner =
                    record.producer(base).is_some_and(|p| members.contains(&p) || is_constant(record, p));
                if !inner && Some(base) != handed && !loads.contains(&x) {
                    loads.push(x);
                }
            }
        }
        loads
    }

    /// The chain as straight-line code over [`loads`](Self::loads).
    pub fn expr(&self, record: &Record, root: usize) -> Expr {
        let chain = &self.chains[&root];
        let handed = chain.host.map(|(_, value)| value);
        let loads = self.loads(record, root);
        let mut code: Vec<Instr> = Vec::new();
        let mut registers: HashMap<ValueId, usize> = HashMap::new();
        for &n in &chain.nodes {
            let node = &record.nodes[n];
            let mut args = Vec::new();
            for x in &node.inputs {
                let base = record.values[x.0].base;
                let key = if record.is_whole(*x) && registers.contains_key(&base) { base } else { *x };
                let register = *registers.entry(key).or_insert_with(|| {
                    code.push(match record.producer(base).and_then(|p| record.nodes[p].op.element()) {
                        _ if Some(base) == handed => Instr::Stored,
                        Some(Element::Constant(c)) => Instr::Constant(c),
                        _ => Instr::Load(loads.iter().position(|l| l == x).expect("every operand is loaded")),
                    });
                    code.len() - 1
                });
                args.push(register);
            }
            code.push(match node.op.element().expect("chains consist of element-wise nodes") {
                Element::Constant(c) => Instr::Constant(c),
                Element::Apply(f) => Instr::Apply(f, [0, 1, 2].map(|i| *args.get(i).unwrap_or(&args[0]))),
            });
            registers.insert(node.outputs[0], code.len() - 1);
        }
        Expr { code }
    }

    /// Looks for an operation that can end with the chain of `root`.
    fn find_host(&mut self, record: &Record, live: &Live, target: Target, root: usize) {
        let members: HashSet<usize> = self.chains[&root].nodes.iter().copied().collect();
        let numel = record.values[record.nodes[root].outputs[0].0].layout.numel();
        let loads = self.loads(record, root);
        let mut hosts: Vec<(usize, ValueId)> = loads
            .iter()
            .filter(|&&x| record.is_whole(x) && record.values[x.0].layout.numel() == numel)
            .map(|x| record.values[x.0].base)
            // A second reading through another layout could not be handed over.
            .filter(|base| {
                loads.iter().filter(|l| record.values[l.0].base == *base).all(|&l| record.is_whole(l))
            })
            .filter_map(|base| record.producer(base).map(|p| (p, base)))
            .filter(|&(p, base)| {
                record.nodes[p].op.epilogue()
                    && record.nodes[p].outputs[0] == base
                    && !self.hosted.contains_key(&p)
            })
            .collect();
        hosts.sort_unstable();
        // The kernel then runs where the chain's result is due, so nobody else may need it earlier.
        let in_time = |&(p, _): &(usize, ValueId)| {
            let outputs = &record.nodes[p].outputs;
            outputs.iter().flat_map(|&y| live.uses(y)).all(|u| u.node > root || members.contains(&u.node))
        };
        let Some((host, value)) = hosts.into_iter().rev().find(in_time) else { return };
        let keeps_input =
            live.is_output(value) || live.uses(value).iter().any(|u| !members.contains(&u.node));
        let node = &record.nodes[host];
        let extra = loads.iter().filter(|x| record.values[x.0].base != value).count();
        if node.inputs.len() + node.outputs.len() + extra + keeps_input as usize > target.max_bindings {
            return;
        }
        let chain = self.chains.get_mut(&root).expect("the root has a chain");
        (chain.host, chain.keeps_input) = (Some((host, value)), keeps_input);
        self.hosted.insert(host, root);
    }
}

fn is_constant(record: &Record, node: usize) -> bool {
    matches!(record.nodes[node].op.element(), Some(Element::Constant(_)))
}

/// Groups the needed element-wise nodes, last reader first.
fn chains(record: &Record, live: &Live, target: Target) -> HashMap<usize, Chain> {
    let mut root_of: HashMap<usize, usize> = HashMap::new();
    let mut members: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut operands: HashMap<usize, HashSet<ValueId>> = HashMap::new();
    for n in (0..record.nodes.len()).rev().filter(|&n| live.runs[n]) {
        let node = &record.nodes[n];
        let Some(element) = node.op.element() else { continue };
        let y = node.outputs[0];
        let uses = live.uses(y);
        // 1. A constant is written into every chain that reads it; it runs by itself only for other readers.
        let read_by_chains_only = uses.iter().all(|u| record.nodes[u.node].op.element().is_some());
        if matches!(element, Element::Constant(_)) && read_by_chains_only && !live.is_output(y) {
            continue;
        }
        // 2. Does one chain contain all readers, and do they read element for element?
        let roots: HashSet<usize> = uses.iter().filter_map(|u| root_of.get(&u.node).copied()).collect();
        let shared =
            roots.len() == 1 && uses.iter().all(|u| root_of.contains_key(&u.node) && record.is_whole(u.view));
        let mut root = n;
        let own: HashSet<ValueId> = loads_of(record, n);
        if let (true, false, Some(&candidate)) = (shared, live.is_output(y), roots.iter().next()) {
            let numel = record.values[record.nodes[candidate].outputs[0].0].layout.numel();
            let mut joined = operands[&candidate].clone();
            joined.retain(|x| record.values[x.0].base != y);
            joined.extend(&own);
            // Two bindings are kept free for the result and for what an epilogue keeps.
            if record.values[y.0].layout.numel() == numel && joined.len() + 2 <= target.max_bindings {
                operands.insert(candidate, joined);
                root = candidate;
            }
        }
        if root == n {
            operands.insert(n, own);
        }
        root_of.insert(n, root);
        members.entry(root).or_default().push(n);
    }
    let chain = |mut nodes: Vec<usize>| {
        nodes.sort_unstable();
        Chain { nodes, host: None, keeps_input: false }
    };
    members.into_iter().map(|(root, nodes)| (root, chain(nodes))).collect()
}

/// What a single node reads, constants and per-run scalars left out.
fn loads_of(record: &Record, n: usize) -> HashSet<ValueId> {
    let is_scalar = |x: &ValueId| {
        matches!(record.values[record.values[x.0].base.0].source, crate::graph::Source::Scalar(_))
    };
    let constant =
        |x: &ValueId| record.producer(record.values[x.0].base).is_some_and(|p| is_constant(record, p));
    record.nodes[n].inputs.iter().copied().filter(|x| !is_scalar(x) && !constant(x)).collect()
}
