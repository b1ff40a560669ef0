//! Attention of the newest token, in one kernel with what writes its key and value into the cache. Nobody records it: the
//! planner puts it in the place of both.

use std::rc::Rc;

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::attention::{Bounds, Heads, vec4_places};
use crate::ops::parts_row::Parts;
use crate::ops::prologue::Prologue;
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, Split};
use crate::plan::Operand;
use crate::shader;
use crate::shape::Layout;
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "attention_cached", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("attention_few", "attention_cached");

/// (cache (B, S, 2·G, D), new rows (B, 1, 2·G, D), position (B), q (B, 1, H, D), position) → y (B, 1, H, D), lse (B, H, 1),
/// and the cache in place. In parts y and lse are what [`Parts`] says.
#[derive(Debug)]
pub(super) struct AttentionCached {
    heads: Heads,
    parts: Option<Parts>,
}

impl AttentionCached {
    /// q, keys and values as [`Heads::views`] expects them.
    fn operands(&self, io: &[Operand]) -> Vec<Operand> {
        let g = self.heads.g;
        let part = |from, to| Operand { layout: io[0].layout.slice(2, from, to), ..io[0].clone() };
        vec![io[3].clone(), part(0, g), part(g, 2 * g)]
    }
}

impl Op for AttentionCached {
    fn name(&self) -> &'static str {
        "attention_cached"
    }
    fn grad(&self, _: &Vjp) -> Vec<Option<Tensor>> {
        unreachable!("only plans contain it")
    }
    fn flops(&self, io: &Operands) -> u64 {
        let cache = &io.inputs[0].layout.shape;
        4 * (cache[0] * self.heads.h * cache[1] * self.heads.d) as u64
    }
    fn strided_input(&self, i: usize) -> bool {
        [0, 1, 3].contains(&i)
    }
    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(2, 0)]
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let mut constants = self.heads.constants(&self.operands(io.inputs));
        let parts = self.parts.map_or(1, |parts| parts.count);
        constants.extend(self.parts.map(|parts| ("SPAN", parts.span as f64)));
        constants.push(("PARTS", parts as f64));
        constants.extend(vec4_places(["NEW_OFFSET", "NEW_B", "NEW_T", "NEW_G"], &io.inputs[1].layout));
        let [q, new, position] = [3, 1, 2].map(Bind::Input);
        vec![Dispatch {
            shader: SHADER,
            entry: "few",
            constants,
            bindings: vec![q, new, Bind::Output(2), position, Bind::Output(0), Bind::Output(1)],
            workgroups: (io.outputs[0].dims()[0] * self.heads.h * parts) as u64,
        }]
    }
    fn split(&self, inputs: &[Layout]) -> Option<Split> {
        let (Heads { h, d, .. }, cache) = (self.heads, &inputs[0].shape);
        let parts = Parts::of(cache[1], cache[0] * h, h, d)?;
        let outputs = [(cache[0], 1, h, parts.count, d).into(), (cache[0], h, parts.count).into()];
        let op = Rc::new(AttentionCached { parts: Some(parts), ..*self });
        Some(Split { op, outputs, sum: Prologue::Parts(parts) })
    }
}

impl AttentionCached {
    /// What can stand in the place of a cache's update and the attention that reads it, as [`Op::merged`] asks.
    pub fn merged(
        heads: Heads,
        producer: &dyn Op,
        at: &[usize],
        inputs: &[Layout],
        its: &[Layout],
    ) -> Option<Rc<dyn Op>> {
        if producer.name() != "kv_cache" || heads.bounds != Bounds::Position || *at != [1, 2] {
            return None;
        }
        let Heads { g, d, .. } = heads;
        let cache = Layout::contiguous((inputs[0].shape[0], inputs[1].shape[1], 2 * g, d));
        let beside = [cache.slice(2, 0, g), cache.slice(2, g, 2 * g)];
        // One new row for each head, read in fours.
        let [new @ .., last] = &its[1].strides[..] else { unreachable!("(B, T, 2·G, D)") };
        let in_fours = *last == 1 && new.iter().chain([&its[1].offset]).all(|n| n.is_multiple_of(4));
        let one = inputs[0].shape[1] == 1 && its[1].shape[1] == 1;
        (one && in_fours && inputs[1..3] == beside)
            .then(|| Rc::new(AttentionCached { heads, parts: None }) as Rc<dyn Op>)
    }

    fn run<F: Real>(&self, _: CpuIo<F>) {
        unreachable!("plans for the CPU do not contain it")
    }
}

/// Heads of the newest token, from a packed matrix, on a cache that is read again afterwards.
fn samples() -> Vec<Sample> {
    let sample = |[b, s, h, g, d]: [usize; 5]| {
        let new: &[usize] = &[b, 1, (h + 2 * g) * d];
        let inputs: &[(&[usize], Range)] =
            &[(new, Range::Normal), (&[b, s, 2 * g, d], Range::Normal), (&[b], Range::Ids(s as u32 + 1))];
        Sample::new(format!("{b} of {h} heads, {g} of keys, {s} places, D {d}"), inputs, move |x| {
            let cache = x[0].graph().state("cache", (b, s, 2 * g, d), DType::F32).assign(&x[1]);
            let qkv = x[0].reshape((b, 1, h + 2 * g, d));
            let heads = cache.cache_write(&qkv.slice(2, h, h + 2 * g), &x[2]).chunk(2, 2);
            vec![qkv.slice(2, 0, h).attention(&heads[0], &heads[1], Some(&x[2]))]
        })
        .forward_only()
    };
    vec![sample([1, 5, 2, 2, 8]), sample([3, 300, 6, 2, 64]), sample([2, 40, 4, 1, 256])]
}
