//! How much memory a device has given to states and programs, how much it may give, and what was computed in it.

use std::cell::Cell;
use std::rc::Rc;

use crate::error::Error;
use crate::plan::Cost;

/// Memory in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// Buffers of states and programs that have not been dropped.
    pub buffers: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// What programs have computed, run after run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Floating-point operations.
    pub flops: u64,
    /// Kernels that ran.
    pub dispatches: u64,
}

/// The account of a device, which all its clones share.
#[derive(Clone, Default)]
pub(crate) struct Memory(Rc<Account>);

#[derive(Default)]
struct Account {
    in_use: Cell<InUse>,
    limit: Cell<Option<u64>>,
    work: Cell<Work>,
}

/// What somebody holds; given back when it is dropped.
pub(crate) struct Held {
    memory: Memory,
    held: InUse,
}

impl Memory {
    pub fn in_use(&self) -> InUse {
        self.0.in_use.get()
    }

    pub fn limit(&self, bytes: u64) {
        self.0.limit.set(Some(bytes));
    }

    pub fn work(&self) -> Work {
        self.0.work.get()
    }

    /// Notes what is about to be allocated.
    ///
    /// # Errors
    /// [`Error::Memory`] where there is less left.
    pub fn hold(&self, what: impl FnOnce() -> String, wanted: InUse) -> Result<Held, Error> {
        let now = self.in_use();
        if let Some(limit) = self.0.limit.get() {
            let available = limit.saturating_sub(now.bytes);
            if wanted.bytes > available {
                return Err(Error::Memory { what: what(), needed: wanted.bytes, available });
            }
        }
        self.0.in_use.set(InUse {
            buffers: now.buffers + wanted.buffers,
            bytes: now.bytes.saturating_add(wanted.bytes),
        });
        Ok(Held { memory: self.clone(), held: wanted })
    }
}

impl Held {
    /// Notes a run of the program that holds this.
    pub fn ran(&self, cost: &Cost) {
        let Work { flops, dispatches } = self.memory.work();
        let work = Work { flops: flops + cost.flops, dispatches: dispatches + cost.dispatches };
        self.memory.0.work.set(work);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let now = self.memory.in_use();
        let (buffers, bytes) = (now.buffers - self.held.buffers, now.bytes.saturating_sub(self.held.bytes));
        self.memory.0.in_use.set(InUse { buffers, bytes });
    }
}

#[cfg(test)]
mod tests {
    use crate::{DType, Device, Graph, InUse, Work};

    #[test]
    fn what_is_held_is_counted_and_given_back() {
        let device = Device::cpu();
        let state = device.state("w", 100, DType::F32).unwrap();
        assert_eq!(device.in_use(), InUse { buffers: 1, bytes: 400 });
        let graph = Graph::new();
        let x = graph.input("x", (10,), DType::F32);
        let mut program = device.compile(&graph, &[("y", &(&x + 1.0))], &[]).unwrap();
        assert_eq!(device.clone().in_use(), InUse { buffers: 3, bytes: 480 });
        assert_eq!(device.work(), Work::default());
        program.run();
        program.run();
        assert_eq!(device.clone().work(), Work { flops: 20, dispatches: 2 });
        let twin = state.clone();
        drop((state, program));
        assert_eq!(device.in_use(), InUse { buffers: 1, bytes: 400 });
        drop(twin);
        assert_eq!(device.in_use(), InUse::default());
    }

    #[test]
    fn what_is_not_there_is_not_given() {
        let device = Device::cpu();
        device.limit_memory(1000);
        let state = device.state("w", 100, DType::F32).unwrap();
        let refused = |numel| device.state("m", numel, DType::F32).err().map(|error| error.to_string());
        assert_eq!(refused(200).unwrap(), "memory: the state \"m\" needs 800 bytes, 600 are available");
        let graph = Graph::new();
        let x = graph.input("x", (100,), DType::F32);
        let error = device.compile(&graph, &[("y", &(&x + 1.0))], &[]).err().unwrap().to_string();
        assert_eq!(error, "memory: a program needs 800 bytes, 600 are available");
        drop(state);
        assert!(refused(200).is_none() && device.compile(&graph, &[("y", &(&x + 1.0))], &[]).is_ok());
    }
}
