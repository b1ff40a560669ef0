//! Threads in a page, which `threads.js` beside this file starts: see [`cloche_tensor::cpu::team`].

use cloche_tensor::cpu::team::{Team, Words, help, locked, set_team};
use std::alloc::{GlobalAlloc, Layout, System};
use wasm_bindgen::prelude::*;

/// From now on so many threads share the loops of the CPU device, by the functions of `team.wat` that are in the table from this
/// index on, in the order of [`Team`]. Returns the address of the words that they count in.
#[wasm_bindgen(js_name = useThreads)]
pub fn use_threads(first: usize, threads: usize) -> usize {
    let indices: [usize; 6] = std::array::from_fn(|i| first + i);
    // SAFETY: in WebAssembly a function's address is its index, and one of another type traps where it is called.
    let team = unsafe { std::mem::transmute::<[usize; 6], Team>(indices) };
    std::ptr::from_ref::<Words>(set_team(team, threads)).addr()
}

/// What a thread does whenever there is work. It has no JavaScript around it, so wasm-bindgen has no part in it.
#[unsafe(no_mangle)]
pub extern "C" fn cloche_help() {
    help();
}

/// The standard library's allocator, for one thread at a time.
struct Locked;

#[global_allocator]
static ALLOCATOR: Locked = Locked;

// SAFETY: that of `System`.
unsafe impl GlobalAlloc for Locked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, here and below.
        locked(|| unsafe { System.alloc(layout) })
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        locked(|| unsafe { System.dealloc(at, layout) });
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        locked(|| unsafe { System.realloc(at, layout, size) })
    }
}
