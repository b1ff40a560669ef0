//! Lets buffers that do not live at the same time share memory.
//!
//! Greedy by size: Pisarchyk and Lee 2020, "Efficient Memory Management for Deep Neural Net Inference",
//! <https://arxiv.org/abs/2001.03288>. The largest buffer chooses first, so no slot is ever enlarged, and no small buffer that
//! lives long keeps a large one from memory that would suit it. A buffer lives from its first step to its last, both
//! included, so no kernel reads and writes the same slot.

use super::emit::Emitted;
use super::{BufferId, Operand, Plan, Slot};

pub(super) fn assign(emitted: Emitted) -> Plan {
    let Emitted { mut steps, buffers, inputs, states, scalars, data, mut outputs, backward: _ } = emitted;
    // 1. The steps between which each virtual buffer lives, both included.
    let mut lives = vec![(usize::MAX, 0); buffers.len()];
    for (s, step) in steps.iter().enumerate() {
        for id in step.inputs.iter().chain(&step.outputs).filter_map(virtual_id) {
            lives[id] = (s.min(lives[id].0), s);
        }
    }
    outputs.iter().filter_map(|(_, y)| virtual_id(y)).for_each(|id| lives[id].1 = usize::MAX);
    for (life, _) in lives.iter_mut().zip(&buffers).filter(|(_, buffer)| buffer.dedicated) {
        *life = (0, usize::MAX);
    }
    // 2. The largest buffer first, of equal ones the earliest: each goes into the smallest slot that nobody has during its
    //    life.
    let mut slots: Vec<Slot> = Vec::new();
    let mut guests: Vec<Vec<(usize, usize)>> = Vec::new();
    let mut slot_of: Vec<Option<usize>> = vec![None; buffers.len()];
    let mut waiting: Vec<usize> = (0..buffers.len()).collect();
    while let Some(at) = (0..waiting.len()).rev().max_by_key(|&at| buffers[waiting[at]].numel) {
        let id = waiting.remove(at);
        let (buffer, life) = (&buffers[id], lives[id]);
        let suits = |&slot: &usize| {
            let apart = |other: &(usize, usize)| other.1 < life.0 || life.1 < other.0;
            guests[slot].iter().all(apart)
        };
        // Slots stand in the order of their size.
        let slot = (0..slots.len()).rev().find(suits).unwrap_or_else(|| {
            slots.push(Slot { numel: buffer.numel.max(1) });
            guests.push(Vec::new());
            slots.len() - 1
        });
        guests[slot].push(life);
        slot_of[id] = Some(slot);
    }
    for step in &mut steps {
        step.inputs.iter_mut().chain(&mut step.outputs).for_each(|operand| rename(operand, &slot_of));
    }
    outputs.iter_mut().for_each(|(_, y)| rename(y, &slot_of));
    Plan { steps, slots, inputs, states, scalars, data, outputs }
}

fn virtual_id(operand: &Operand) -> Option<usize> {
    match operand.buffer {
        BufferId::Slot(id) => Some(id),
        _ => None,
    }
}

fn rename(operand: &mut Operand, slot_of: &[Option<usize>]) {
    if let BufferId::Slot(id) = operand.buffer {
        operand.buffer =
            BufferId::Slot(slot_of[id].expect("every buffer that is read was written by a step"));
    }
}
