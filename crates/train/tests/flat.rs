//! A thousand updates of every stage leave memory as it was, counted by the allocator and by the device.

mod class;
mod every;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use cloche_tensor::{Device, InUse};
use cloche_train::events::TuneEvent;
use cloche_train::learner::Optimization;
use every::STAGES;
use pollster::block_on;

/// The system's allocator, with a count of the bytes that are in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Steps of a stage; those from rewards update twice a step.
const STEPS: u64 = 1000;

/// By when everything has been made that is made once.
const SETTLED: usize = 50;

// One test for all: they share the count.
#[test]
fn a_thousand_updates_leave_memory_as_it_was() {
    for (name, begin) in STAGES {
        let device = Device::cpu();
        let steps = if ["ppo", "grpo"].contains(&name) { STEPS / 2 } else { STEPS };
        let optimization = Optimization { steps, batch_size: 2, eval_every: 0, ..Default::default() };
        let mut stage = begin(&device, optimization);
        // Made beforehand, so that they do not count.
        let mut bytes: Vec<usize> = Vec::with_capacity(STEPS as usize);
        let mut buffers: Vec<InUse> = Vec::with_capacity(STEPS as usize);
        while let Some(event) = block_on(stage.next()) {
            if let TuneEvent::Step(_) = event.unwrap() {
                bytes.push(IN_USE.load(Ordering::Relaxed));
                buffers.push(device.in_use());
            }
        }
        drop(stage);
        assert_eq!(bytes.len() as u64, steps, "{name}: steps that were not finite");
        // The curve grows, a few bytes a step.
        let grown = bytes[bytes.len() - 1] as isize - bytes[SETTLED] as isize;
        assert!(grown < 32 * 1024, "{name}: {grown} bytes more after {steps} steps");
        assert!(
            buffers[0].buffers > 0 && buffers[SETTLED..].iter().all(|now| *now == buffers[SETTLED]),
            "{name}"
        );
        assert_eq!(device.in_use(), InUse::default(), "{name}: buffers are left behind");
    }
}
