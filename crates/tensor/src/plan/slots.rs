//! Lets buffers that do not live at the same time share memory.
//!
//! One walk over the steps: a buffer gets a slot at its first step and gives it back after its last. A slot is free again
//! only after the step, so no kernel reads and writes the same one.

use super::emit::{Emitted, Virtual};
use super::{BufferId, Operand, Plan, Slot};

pub(super) fn assign(emitted: Emitted) -> Plan {
    let Emitted { mut steps, buffers, inputs, states, scalars, data, mut outputs } = emitted;
    // 1. The last step that touches each virtual buffer.
    let mut last_use = vec![0; buffers.len()];
    for (s, step) in steps.iter().enumerate() {
        for id in step.inputs.iter().chain(&step.outputs).filter_map(virtual_id) {
            last_use[id] = s;
        }
    }
    outputs.iter().filter_map(|(_, y)| virtual_id(y)).for_each(|id| last_use[id] = usize::MAX);
    for (id, buffer) in buffers.iter().enumerate() {
        if buffer.dedicated {
            last_use[id] = usize::MAX;
        }
    }
    // 2. Slots, first step to last.
    let mut slots: Vec<Slot> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut slot_of: Vec<Option<usize>> = vec![None; buffers.len()];
    for (s, step) in steps.iter_mut().enumerate() {
        let ids: Vec<usize> = step.inputs.iter().chain(&step.outputs).filter_map(virtual_id).collect();
        for &id in &ids {
            slot_of[id].get_or_insert_with(|| take(&buffers[id], &mut slots, &mut free));
        }
        for operand in step.inputs.iter_mut().chain(&mut step.outputs) {
            rename(operand, &slot_of);
        }
        for &id in &ids {
            let slot = slot_of[id].expect("assigned above");
            if last_use[id] == s && !free.contains(&slot) {
                free.push(slot);
            }
        }
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

/// The smallest free slot that is large enough; else the largest free one, enlarged; else a new one.
fn take(buffer: &Virtual, slots: &mut Vec<Slot>, free: &mut Vec<usize>) -> usize {
    let wanted = Slot { numel: buffer.numel.max(1), dtype: buffer.dtype };
    let usable = |i: &&usize| !buffer.dedicated && slots[**i].dtype == wanted.dtype;
    let fits = free
        .iter()
        .filter(usable)
        .filter(|&&i| slots[i].numel >= wanted.numel)
        .min_by_key(|&&i| slots[i].numel);
    let found = fits.or_else(|| free.iter().filter(usable).max_by_key(|&&i| slots[i].numel)).copied();
    let Some(slot) = found else {
        slots.push(wanted);
        return slots.len() - 1;
    };
    free.retain(|&i| i != slot);
    slots[slot].numel = slots[slot].numel.max(wanted.numel);
    slot
}
