//! Keeps in half precision what the backward pass reads of the forward pass: half the memory while nobody reads it.
//!
//! Behind its last reader of the forward pass a value is packed, two numbers in a u32, and its slot is free; before its first
//! reader of the backward pass it is unpacked into another one. What reads it computes in f32, so gradients are those of
//! activations that were rounded to 11 bits once. They stay in f32 themselves, small ones too, and nothing needs the scaling
//! of the loss with which training in f16 keeps them from vanishing: Micikevicius et al. 2018, "Mixed Precision Training",
//! <https://arxiv.org/abs/1710.03740>.

use std::rc::Rc;

use super::emit::{Emitted, Virtual};
use super::{BufferId, Operand, Step, Work};
use crate::dtype::DType;
use crate::ops::half::Half;
use crate::shape::Layout;

/// Below this many numbers two more kernels cost more than the memory is worth.
const LEAST_NUMEL: usize = 4096;

/// A value must rest for this many steps: what is read again at once, as the logits are, would be packed for nothing.
const LEAST_REST: usize = 6;

/// What is this much smaller than the largest kept value is about a row rather than an element: means, normalisers of
/// attention. It takes little, and an error in it is one in the whole row.
const ROWS: usize = 32;

/// When a virtual buffer is used: last in the forward pass, and first behind it.
#[derive(Clone, Copy, Default)]
struct Uses {
    early: Option<usize>,
    late: Option<usize>,
    written_late: bool,
}

/// A buffer that is packed: behind which step, before which one, and the two buffers that take over from it.
struct Kept {
    id: usize,
    early: usize,
    late: usize,
    pairs: usize,
    again: usize,
}

/// Where a graph has a backward pass, packs what it reads.
pub(super) fn halve(emitted: &mut Emitted) {
    let Some(border) = emitted.backward else { return };
    let kept = choose(emitted, border);
    let steps = std::mem::take(&mut emitted.steps);
    for (s, mut step) in steps.into_iter().enumerate() {
        for value in kept.iter().filter(|value| value.late == s) {
            let step = convert(emitted, Half::Unpack, value.pairs, value.again);
            emitted.steps.push(step);
        }
        for x in step.inputs.iter_mut().filter(|_| s >= border) {
            if let Some(value) = kept.iter().find(|value| x.buffer == BufferId::Slot(value.id)) {
                x.buffer = BufferId::Slot(value.again);
            }
        }
        emitted.steps.push(step);
        for value in kept.iter().filter(|value| value.early == s) {
            let step = convert(emitted, Half::Pack, value.id, value.pairs);
            emitted.steps.push(step);
        }
    }
}

/// Which buffers to pack, each with two new ones.
fn choose(emitted: &mut Emitted, border: usize) -> Vec<Kept> {
    let mut uses = vec![Uses::default(); emitted.buffers.len()];
    for (s, step) in emitted.steps.iter().enumerate() {
        for (k, operand) in step.inputs.iter().chain(&step.outputs).enumerate() {
            let BufferId::Slot(id) = operand.buffer else { continue };
            match s < border {
                true => uses[id].early = Some(s),
                false => {
                    uses[id].late.get_or_insert(s);
                    uses[id].written_late |= k >= step.inputs.len();
                }
            }
        }
    }
    // What the host reads is read from where it was written.
    for (_, y) in &emitted.outputs {
        if let BufferId::Slot(id) = y.buffer {
            uses[id].written_late = true;
        }
    }
    let mut kept = Vec::new();
    let mut largest = 0;
    for (id, (uses, buffer)) in uses.iter().zip(&emitted.buffers).enumerate() {
        let (Some(early), Some(late)) = (uses.early, uses.late) else { continue };
        let whole = !uses.written_late && !buffer.dedicated && buffer.dtype == DType::F32;
        if whole && buffer.numel >= LEAST_NUMEL && late - early > LEAST_REST {
            largest = buffer.numel.max(largest);
            kept.push(Kept { id, early, late, pairs: 0, again: 0 });
        }
    }
    kept.retain(|value| emitted.buffers[value.id].numel > largest / ROWS);
    for value in &mut kept {
        let numel = emitted.buffers[value.id].numel;
        value.pairs = emitted.buffers.len();
        value.again = value.pairs + 1;
        emitted.buffers.push(Virtual { numel: numel.div_ceil(2), dtype: DType::U32, dedicated: false });
        emitted.buffers.push(Virtual { numel, dtype: DType::F32, dedicated: false });
    }
    kept
}

/// The step that fills buffer `to` from buffer `from`.
fn convert(emitted: &Emitted, op: Half, from: usize, to: usize) -> Step {
    let whole = |id: usize| {
        let Virtual { numel, dtype, .. } = emitted.buffers[id];
        Operand { buffer: BufferId::Slot(id), layout: Layout::contiguous((numel,)), dtype }
    };
    Step { work: Work::Op(Rc::new(op)), inputs: vec![whole(from)], outputs: vec![whole(to)], epilogue: None }
}
