//! Attention of the newest token, in one kernel with what turns its query and key by their position and with what writes its key
//! and value into the cache. Nobody records it: the planner puts it in the place of all three.

use std::rc::Rc;

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::attention::Heads;
use crate::ops::attention_cached::{constants, count, parts};
use crate::ops::parts_row::Parts;
use crate::ops::prologue::Prologue;
use crate::ops::rope::inverse_frequencies;
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, Split};
use crate::shader;
use crate::shape::Layout;
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "attention_turned", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("attention_few", "attention_cached", "cos_sin", "attention_turned");

/// (heads (B, 1, H + 2·G, D), frequency (D/2), position (B), cache (B, S, 2·G, D), position, position) → what
/// [`AttentionCached`](super::attention_cached::AttentionCached) gives.
#[derive(Debug)]
pub(super) struct AttentionTurned {
    heads: Heads,
    /// The first heads, which are turned; the others are as they were.
    rotated: usize,
    parts: Option<Parts>,
}

impl AttentionTurned {
    /// What can stand in the place of a turn and the attention of those heads, as [`Op::after`] asks.
    pub fn of(heads: Heads, rotated: usize, at: &[usize], inputs: &[Layout]) -> Option<Rc<dyn Op>> {
        let (Heads { h, g, d, .. }, b) = (heads, inputs[0].shape[0]);
        let all = Layout::contiguous((b, 1, h + 2 * g, d));
        let all_turned =
            *at == [1, 3] && inputs[3] == all.slice(2, 0, h) && inputs[1] == all.slice(2, h, h + 2 * g);
        (all_turned && rotated == h + g && d.is_multiple_of(8))
            .then(|| Rc::new(AttentionTurned { heads, rotated, parts: None }) as Rc<dyn Op>)
    }
}

impl Op for AttentionTurned {
    fn name(&self) -> &'static str {
        "attention_turned"
    }
    fn grad(&self, _: &Vjp) -> Vec<Option<Tensor>> {
        unreachable!("only plans contain it")
    }
    fn flops(&self, io: &Operands) -> u64 {
        let (Heads { h, d, .. }, cache) = (self.heads, io.inputs[3].dims());
        (cache[0] * d * (4 * h * cache[1] + 3 * self.rotated)) as u64
    }
    fn strided_input(&self, i: usize) -> bool {
        i == 3
    }
    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(2, 3)]
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let (Heads { h, g, .. }, all) = (self.heads, &io.inputs[0].layout);
        let [q, new] = [all.slice(2, 0, h), all.slice(2, h, h + 2 * g)];
        let [heads, frequency, position] = [0, 1, 2].map(Bind::Input);
        let [y, lse, cache] = [0, 1, 2].map(Bind::Output);
        vec![Dispatch {
            shader: SHADER,
            entry: "few",
            constants: constants(self.heads, self.parts, [&q, &new], &io.inputs[3].layout),
            bindings: vec![heads, heads, cache, position, y, lse, frequency],
            workgroups: (all.shape[0] * h * count(self.parts)) as u64,
        }]
    }
    fn split(&self, inputs: &[Layout]) -> Option<Split> {
        let (parts, outputs) = parts(self.heads, &inputs[3])?;
        let op = Rc::new(AttentionTurned { parts: Some(parts), ..*self });
        Some(Split { op, outputs, sum: Prologue::Parts(parts) })
    }
}

impl AttentionTurned {
    fn run<F: Real>(&self, _: CpuIo<F>) {
        unreachable!("plans for the CPU do not contain it")
    }
}

/// The newest token of `b` sequences on caches of `s` places, of which some are in use, up to `seen`.
fn samples() -> Vec<Sample> {
    let sample = |[b, s, seen]: [usize; 3], [h, g, d]: [usize; 3]| {
        let (n, rows) = (Range::Normal, [b, 1, (h + 2 * g) * d]);
        let inputs: [(&[usize], Range); 4] =
            [(&rows, n), (&[b, s, 2 * g, d], n), (&[b], Range::Ids(seen as u32)), (&[h * d, 20], n)];
        Sample::new(format!("{b} of {h} heads, {g} of keys, {s} places, D {d}"), &inputs, move |x| {
            let cache = x[0].graph().state("cache", (b, s, 2 * g, d), DType::F32).assign(&x[1]);
            let all = x[0].reshape((b, 1, h + 2 * g, d));
            let all = all.rope_heads(Some(&x[2]), &inverse_frequencies(d, 1e4), h + g);
            let heads = cache.cache_write(&all.slice(2, h, h + 2 * g), &x[2]).chunk(2, 2);
            let y = all.slice(2, 0, h).attention(&heads[0], &heads[1], Some(&x[2]));
            vec![y.reshape((b, h * d)).matmul(&x[3])]
        })
        .forward_only()
    };
    vec![
        sample([1, 5, 5], [2, 2, 8]),
        sample([3, 300, 300], [6, 2, 64]),
        sample([2, 40, 41], [4, 1, 256]),
        sample([1, 600, 600], [3, 3, 16]),
    ]
}
