//! A stage of training: an async function that reads from top to bottom and yields events.
//!
//! Whoever runs it asks for one event after another. Between two events nothing happens, so pausing is not asking, and
//! stopping is a word that the function hears at its next event.
//!
//! ```
//! use cloche_train::stage::{Control, stage};
//!
//! let mut count = stage(async |events| {
//!     for step in 0..1000 {
//!         if events.send(step).await == Control::Stop {
//!             break;
//!         }
//!     }
//!     Ok::<(), std::convert::Infallible>(())
//! });
//! pollster::block_on(async {
//!     assert_eq!(count.next().await, Some(Ok(0)));
//!     assert_eq!(count.next().await, Some(Ok(1)));
//!     count.stop();
//!     assert_eq!(count.next().await, None);
//! });
//! ```

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

/// What a stage hears when it has sent an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Finish: send what must be kept, and return.
    Stop,
}

/// A running stage: an asynchronous iterator of events.
pub struct Stage<Event, Error> {
    future: Pin<Box<dyn Future<Output = Result<(), Error>>>>,
    slot: Rc<RefCell<Slot<Event>>>,
    finished: bool,
}

/// Where a stage leaves its events.
pub struct Events<Event>(Rc<RefCell<Slot<Event>>>);

struct Slot<Event> {
    event: Option<Event>,
    stop: bool,
}

/// Makes a stage of an async function. Nothing runs before the first [`Stage::next`].
pub fn stage<Event: 'static, Error>(
    run: impl AsyncFnOnce(Events<Event>) -> Result<(), Error> + 'static,
) -> Stage<Event, Error> {
    let slot = Rc::new(RefCell::new(Slot { event: None, stop: false }));
    let events = Events(slot.clone());
    Stage { future: Box::pin(async move { run(events).await }), slot, finished: false }
}

impl<Event, Error> Stage<Event, Error> {
    /// Runs up to the next event. `None` after the last one.
    ///
    /// # Errors
    /// What the stage itself returns; it ends with it.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        poll_fn(|context| {
            if self.finished {
                return Poll::Ready(None);
            }
            let outcome = self.future.as_mut().poll(context);
            if let Some(event) = self.slot.borrow_mut().event.take() {
                // The function may have returned right after its last event; the next call finds that out.
                self.finished = outcome.is_ready();
                return Poll::Ready(Some(Ok(event)));
            }
            match outcome {
                Poll::Pending => Poll::Pending,
                Poll::Ready(result) => {
                    self.finished = true;
                    Poll::Ready(result.err().map(Err))
                }
            }
        })
        .await
    }

    /// Asks the stage to finish. It still yields what it has to say, so keep calling [`next`](Self::next).
    pub fn stop(&mut self) {
        self.slot.borrow_mut().stop = true;
    }
}

impl<Event> Events<Event> {
    /// Yields an event, and waits until the next one is asked for.
    pub async fn send(&self, event: Event) -> Control {
        self.0.borrow_mut().event = Some(event);
        let mut asked_again = false;
        poll_fn(|_| match std::mem::replace(&mut asked_again, true) {
            false => Poll::Pending,
            true => Poll::Ready(()),
        })
        .await;
        if self.0.borrow().stop { Control::Stop } else { Control::Continue }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_ends_the_stage() {
        let mut failing = stage(async |events| {
            events.send("first").await;
            Err("broken")
        });
        pollster::block_on(async {
            assert_eq!(failing.next().await, Some(Ok("first")));
            assert_eq!(failing.next().await, Some(Err("broken")));
            assert_eq!(failing.next().await, None);
        });
    }

    #[test]
    fn a_stopped_stage_still_says_what_it_must() {
        let mut run = stage(async |events| {
            while events.send("step").await == Control::Continue {}
            events.send("checkpoint").await;
            Ok::<(), ()>(())
        });
        pollster::block_on(async {
            assert_eq!(run.next().await, Some(Ok("step")));
            run.stop();
            assert_eq!(run.next().await, Some(Ok("checkpoint")));
            assert_eq!(run.next().await, None);
        });
    }
}
