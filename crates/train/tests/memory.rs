//! `cost()` against what is really allocated: on the CPU counted by the allocator, on an adapter by its buffers.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use cloche_models::config::preset;
use cloche_tensor::{Device, DeviceKind};
use cloche_train::cost::{cost, cost_recomputing};
use cloche_train::data::Corpus;
use cloche_train::pretrain::Run;
use cloche_train::reference::reference_run;
use cloche_train::settings::Settings;

/// The system's allocator, with a count of the bytes that are in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// `nano` with and without accumulation, a Llama with dropout, and both with blocks computed again.
fn configurations() -> Vec<(Settings, Corpus)> {
    let (_, corpus) = reference_run().unwrap();
    let nano = |name: &str| Settings::from_preset(preset(name).unwrap(), 128);
    let accumulating = Settings { grad_accumulation: 4, ..nano("nano") };
    let mut dropping = nano("llama-nano");
    dropping.model.dropout = 0.1;
    let small = |settings: &Settings| {
        let smallest = cost_recomputing(&Device::cpu(), settings, settings.model.n_layer).unwrap().peak_bytes;
        Settings { memory_budget: Some(smallest + smallest / 20), ..settings.clone() }
    };
    let again = [small(&accumulating), small(&dropping)];
    let all = [nano("nano"), accumulating, dropping].into_iter().chain(again);
    all.map(|settings| (settings, corpus.clone())).collect()
}

fn assert_within_a_tenth(planned: u64, allocated: u64, what: &str) {
    println!("{what}: planned {planned}, allocated {allocated}");
    assert!((allocated as f64 / planned as f64 - 1.0).abs() < 0.1, "{what}: {planned}, not {allocated}");
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn the_cost_is_what_is_then_allocated() {
    for (settings, corpus) in configurations() {
        let device = Device::cpu();
        let planned = cost(&device, &settings, None).unwrap().cost.peak_bytes;
        let before = IN_USE.load(Ordering::Relaxed);
        let run = Run::new(&device, settings, corpus, None).unwrap();
        assert_within_a_tenth(planned, (IN_USE.load(Ordering::Relaxed) - before) as u64, "CPU");
        drop(run);
    }
    let device = match pollster::block_on(Device::open(DeviceKind::Gpu)) {
        Ok(device) => device,
        Err(error) => {
            assert!(std::env::var("CI").is_err(), "no adapter: {error}");
            eprintln!("SKIPPED: no adapter: {error}");
            return;
        }
    };
    let memory = || device.gpu().expect("opened as a GPU").memory();
    for (settings, corpus) in configurations() {
        let planned = cost(&device, &settings, None).unwrap().cost.peak_bytes;
        let before = memory();
        let run = Run::new(&device, settings, corpus, None).unwrap();
        assert_within_a_tenth(planned, memory().bytes - before.bytes, "adapter");
        drop(run);
        assert_eq!(memory().buffers, before.buffers, "buffers are left behind");
    }
}
