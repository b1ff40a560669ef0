//! Threads in a page: instances of this module in workers of their own, which share its memory.
//!
//! The module is compiled as if it ran on one thread, for browsers that grant no shared memory to a page. Where they do,
//! the thread that owns the module, and it alone, shares out the pieces of a loop ([`run`]); all others do nothing but wait
//! for such pieces ([`help`]). What the compiler may not assume is then limited to what pieces do: they write to parts of
//! memory of their own, and whatever they allocate is allocated under a lock ([`locked`]). Nothing reachable from a piece may
//! count references or keep state, which without threads is not atomic, and nothing may need more than a mebibyte of stack, below
//! which there is no guard.

use std::cell::Cell;

/// The functions that have the instructions which two threads need: `crates/wasm/src/threads/team.wat`.
#[derive(Clone, Copy)]
pub struct Team {
    /// Announces so many pieces.
    pub begin: extern "C" fn(&Words, i32),
    /// The number of a piece that is to be done, or less than 0.
    pub take: extern "C" fn(&Words) -> i32,
    /// A piece of so many is done.
    pub gave: extern "C" fn(&Words, i32),
    /// Waits until all are.
    pub end: extern "C" fn(&Words, i32),
    /// Waits until no other thread has the lock, and takes it.
    pub lock: extern "C" fn(&Words),
    /// Gives it back.
    pub unlock: extern "C" fn(&Words),
}

/// What they count in.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Words {
    /// How often there has been work.
    calls: Cell<i32>,
    /// Pieces that nobody has taken.
    left: Cell<i32>,
    /// Pieces that are done.
    done: Cell<i32>,
    /// 1 while a thread has the lock.
    lock: Cell<i32>,
    /// 1 when a piece has failed in another thread.
    failed: Cell<i32>,
}

/// A loop whose pieces are shared out: how many there are, and what does one.
type Loop = (i32, *const (dyn Fn(usize) + Sync));

struct State {
    words: Words,
    team: Cell<Option<Team>>,
    threads: Cell<usize>,
    /// At present.
    shared: Cell<Option<Loop>>,
}

// SAFETY: only the owner writes, and only while others have no piece.
unsafe impl Sync for State {}

static STATE: State = State {
    words: Words {
        calls: Cell::new(0),
        left: Cell::new(0),
        done: Cell::new(0),
        lock: Cell::new(0),
        failed: Cell::new(0),
    },
    team: Cell::new(None),
    threads: Cell::new(1),
    shared: Cell::new(None),
};

/// From now on loops are shared among so many threads. Those beside the owner call [`help`] whenever the first word, how often
/// there has been work, has changed.
pub fn set_team(team: Team, threads: usize) -> &'static Words {
    STATE.team.set(Some(team));
    STATE.threads.set(threads);
    &STATE.words
}

/// How many threads share a loop.
pub fn threads() -> usize {
    STATE.threads.get()
}

/// Runs `work(0)` to `work(n − 1)`, in any order and side by side; within a piece, one after the other.
pub(super) fn run(n: usize, work: &(dyn Fn(usize) + Sync)) {
    let alone = n < 2 || threads() < 2 || STATE.shared.get().is_some();
    let team = STATE.team.get().filter(|_| !alone);
    let Some(team) = team else { return (0..n).for_each(work) };
    // SAFETY: it is only called until all pieces are done, which is waited for.
    let work: *const (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(work) };
    STATE.shared.set(Some((n as i32, work)));
    (team.begin)(&STATE.words, n as i32);
    help();
    (team.end)(&STATE.words, n as i32);
    STATE.shared.set(None);
    assert!(STATE.words.failed.get() == 0, "a piece of a loop failed in another thread");
}

/// Takes pieces of the loop that is shared out, until none is left.
pub fn help() {
    let Some(team) = STATE.team.get() else { return };
    loop {
        let piece = (team.take)(&STATE.words);
        let (Ok(piece), Some((n, work))) = (usize::try_from(piece), STATE.shared.get()) else { return };
        // SAFETY: whoever has a piece keeps `run` from returning.
        unsafe { (*work)(piece) };
        (team.gave)(&STATE.words, n);
    }
}

/// Does what no two threads may do at a time.
pub fn locked<T>(f: impl FnOnce() -> T) -> T {
    let Some(team) = STATE.team.get().filter(|_| STATE.shared.get().is_some()) else { return f() };
    (team.lock)(&STATE.words);
    let done = f();
    (team.unlock)(&STATE.words);
    done
}
