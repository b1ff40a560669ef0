//! Attention of the newest token, in one kernel with what writes its key and value into the cache, and with what turns heads by
//! their position where something does. Nobody records it: the planner puts it in the place of all.

use std::rc::Rc;

use crate::autograd::Vjp;
use crate::check::{Range, Sample};
use crate::cpu::{CpuIo, Real};
use crate::cpu_kernel;
use crate::dtype::DType;
use crate::ops::attention::{Bounds, Heads, vec4_places};
use crate::ops::attention_turned;
use crate::ops::parts_row::Parts;
use crate::ops::prologue::{Possible, Prologue};
use crate::ops::{Bind, Dispatch, GpuIo, Op, OpEntry, Operands, Shader, Split};
use crate::shader;
use crate::shape::Layout;
use crate::tensor::Tensor;

/// Registry row.
pub const ENTRY: OpEntry = OpEntry { name: "attention_cached", samples, shader: Some(SHADER) };

const SHADER: Shader = shader!("attention_few", "newest_plain", "attention_cached");

/// (cache (B, S, 2·G, D), new rows (B, 1, 2·G, D), position (B), q (B, 1, H, D), position) → y (B, 1, H, D), lse (B, H, 1),
/// and the cache in place. In parts y and lse are what [`Parts`] says.
#[derive(Debug)]
pub(super) struct AttentionCached {
    heads: Heads,
    /// q and the new keys turn by their position first: the inputs are heads (B, 1, H + 2·G, D), frequency (D/2), position, cache,
    /// position and position.
    turned: Option<Possible>,
    parts: Option<Parts>,
}

impl AttentionCached {
    /// The input that is the cache.
    fn cache(&self) -> usize {
        self.in_place()[0].1
    }
}

impl Op for AttentionCached {
    fn name(&self) -> &'static str {
        if self.turned.is_some() { attention_turned::SHADER.stem } else { SHADER.stem }
    }
    fn grad(&self, _: &Vjp) -> Vec<Option<Tensor>> {
        unreachable!("only plans contain it")
    }
    fn flops(&self, io: &Operands) -> u64 {
        let cache = io.inputs[self.cache()].dims();
        let Heads { h, g, d, .. } = self.heads;
        let turn = self.turned.map_or(0, |_| 3 * (h + g));
        (cache[0] * d * (4 * h * cache[1] + turn)) as u64
    }
    fn strided_input(&self, i: usize) -> bool {
        i == 3 || i < 2 && self.turned.is_none()
    }
    fn in_place(&self) -> &'static [(usize, usize)] {
        if self.turned.is_some() { &[(2, 3)] } else { &[(2, 0)] }
    }
    cpu_kernel!(run);
    fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
        let (Heads { h, g, .. }, layout) = (self.heads, |i: usize| &io.inputs[i].layout);
        let turned = self.turned.map(|_| [layout(0).slice(2, 0, h), layout(0).slice(2, h, h + 2 * g)]);
        let (shader, [q, new], [q_layout, new_layout]) = match &turned {
            None => (SHADER, [3, 1], [layout(3), layout(1)]),
            Some([q, new]) => (attention_turned::SHADER, [0, 0], [q, new]),
        };
        let cache = layout(self.cache());
        let [k, v] = [cache.slice(2, 0, g), cache.slice(2, g, 2 * g)];
        let mut constants = self.heads.constants_of([1, cache.shape[1]], [q_layout, &k, &v]);
        let parts = self.parts.map_or(1, |parts| parts.count);
        constants.extend(self.parts.map(|parts| ("SPAN", parts.span as f64)));
        constants.push(("PARTS", parts as f64));
        constants.extend(vec4_places(["NEW_OFFSET", "NEW_B", "NEW_T", "NEW_G"], new_layout));
        let [q, new, position] = [q, new, 2].map(Bind::Input);
        let mut bindings = vec![q, new, Bind::Output(2), position, Bind::Output(0), Bind::Output(1)];
        bindings.extend(turned.map(|_| Bind::Input(1)));
        let workgroups = (cache.shape[0] * h * parts) as u64;
        vec![Dispatch { shader, entry: "few", constants, bindings, workgroups }]
    }
    fn split(&self, inputs: &[Layout]) -> Option<Split> {
        let (Heads { h, d, .. }, cache) = (self.heads, &inputs[self.cache()].shape);
        let parts = Parts::of(cache[1], cache[0] * h, h, d)?;
        let outputs = [(cache[0], 1, h, parts.count, d).into(), (cache[0], h, parts.count).into()];
        let op = Rc::new(AttentionCached { parts: Some(parts), ..*self });
        Some(Split { op, outputs, sum: Prologue::Parts(parts) })
    }
    fn after(&self, prologue: Prologue, at: &[usize], inputs: &[Layout]) -> Option<Rc<dyn Op>> {
        let Prologue::Turned { rotated, possible } = prologue else { return None };
        let Heads { h, g, d, .. } = self.heads;
        let all = Layout::contiguous((inputs[0].shape[0], 1, h + 2 * g, d));
        let all_read =
            *at == [1, 3] && inputs[3] == all.slice(2, 0, h) && inputs[1] == all.slice(2, h, h + 2 * g);
        (all_read && rotated == h + g && d.is_multiple_of(8))
            .then(|| Rc::new(AttentionCached { turned: Some(possible), ..*self }) as Rc<dyn Op>)
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
            .then(|| Rc::new(AttentionCached { heads, turned: None, parts: None }) as Rc<dyn Op>)
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
