//! A stage that JavaScript pulls, event by event.

use crate::thrown;
use cloche_train::Error;
use cloche_train::stage::Stage;
use std::cell::{Cell, RefCell};
use wasm_bindgen::prelude::*;

/// A stage under way. Nothing happens between two calls of `next`, so not calling it is a pause.
pub(crate) struct Pulled<Event> {
    /// Taken out while an event is awaited.
    stage: RefCell<Option<Stage<Event, Error>>>,
    stop: Cell<bool>,
}

impl<Event> Pulled<Event> {
    pub(crate) fn new(stage: Stage<Event, Error>) -> Self {
        Pulled { stage: RefCell::new(Some(stage)), stop: Cell::new(false) }
    }

    /// The next event; nothing after the last, after an error, or while another one is awaited.
    pub(crate) async fn next(&self) -> Result<Option<Event>, JsValue> {
        let Some(mut stage) = self.stage.take() else { return Ok(None) };
        if self.stop.get() {
            stage.stop();
        }
        let event = stage.next().await;
        self.stage.replace(event.is_some().then_some(stage));
        event.transpose().map_err(|e| thrown(&e))
    }

    /// Lets the stage end after the event it is at; what it still has to say comes.
    pub(crate) fn stop(&self) {
        self.stop.set(true);
    }
}
