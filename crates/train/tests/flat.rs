//! Policy steps leave memory as it was, counted by the allocator.

mod class;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use class::{network, prompts, verifier};
use cloche_tensor::Device;
use cloche_train::events::TuneEvent;
use cloche_train::learner::Optimization;
use cloche_train::split::Split;
use cloche_train::stage::Stage;
use cloche_train::{Error, grpo, ppo};
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

/// Bytes in use after each step.
fn in_use(mut stage: Stage<TuneEvent, Error>) -> Vec<usize> {
    let mut bytes = Vec::with_capacity(1000);
    while let Some(event) = block_on(stage.next()) {
        if let TuneEvent::Step(_) = event.unwrap() {
            bytes.push(IN_USE.load(Ordering::Relaxed));
        }
    }
    bytes
}

/// From the 50th step on, when everything has been made that is made once, only the curve grows: a few bytes a step.
fn assert_flat(bytes: &[usize]) {
    let grown = bytes[bytes.len() - 1] as isize - bytes[50] as isize;
    assert!(grown < 16 * 1024, "{grown} bytes more after {} steps", bytes.len());
}

// One test for both: they share the count.
#[test]
fn policy_steps_leave_memory_as_it_was() {
    let device = Device::cpu();
    let optimization = Optimization { steps: 300, batch_size: 2, eval_every: 0, ..Default::default() };
    let prompts = || prompts("copy", Split::Train, 20, 1);
    let stop_ids = vec![class::END];

    let settings = grpo::Settings {
        optimization: optimization.clone(),
        stop_ids: stop_ids.clone(),
        max_tokens: 3,
        group: 2,
        ..Default::default()
    };
    let verify = || verifier("copy", Split::Train, 1);
    let data = grpo::Data { prompts: prompts(), verifier: verify(), reference: None, exam: None };
    let run = grpo::Run::new(&device, network(&device, 1), settings, data, None).unwrap();
    assert_flat(&in_use(run.stage()));

    let settings = ppo::Settings { optimization, stop_ids, max_tokens: 3, epochs: 2, ..Default::default() };
    let critic = block_on(network(&device, 1).scoring(&device, 1)).unwrap();
    let models = ppo::Models { policy: network(&device, 1), reference: network(&device, 1), critic };
    let scorer = ppo::Scorer::Verifier(verify());
    let data = ppo::Data { prompts: prompts(), scorer, pretraining: Vec::new(), exam: None };
    let run = ppo::Run::new(&device, models, settings, data, None).unwrap();
    assert_flat(&in_use(run.stage()));
}
