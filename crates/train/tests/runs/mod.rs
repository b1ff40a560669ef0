//! Running a stage to its end, and picking from its events.

#![allow(dead_code, reason = "each test binary uses some of it")]

use cloche_train::checkpoint::Files;
use cloche_train::events::Event;
use cloche_train::pretrain::Run;
use pollster::block_on;

/// All events of a run.
pub fn finish(run: Run) -> Vec<Event> {
    let mut stage = run.stage();
    let mut events = Vec::new();
    while let Some(event) = block_on(stage.next()) {
        events.push(event.unwrap());
    }
    events
}

/// The loss of each step.
pub fn losses(events: &[Event]) -> Vec<f32> {
    events.iter().filter_map(|e| if let Event::Step(step) = e { Some(step.loss) } else { None }).collect()
}

/// Step and files of each checkpoint.
pub fn checkpoints(events: &[Event]) -> Vec<(u64, &Files)> {
    let pick = |e| if let &Event::Checkpoint { step, ref files } = e { Some((step, files)) } else { None };
    events.iter().filter_map(pick).collect()
}
