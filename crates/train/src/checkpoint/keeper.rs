//! Making the files of a run.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use cloche_nn::Weights;
use cloche_nn::checkpoint::{CheckpointError, NamedTensor, write};
use cloche_nn::optim::Moments;
use serde::Serialize;

use super::{Digested, FORMAT, Files, MANIFEST, Manifest, STATE, State, StateFile};
use super::{digest, json, model_file, optimizer_file};
use crate::error::Error;
use crate::events::{Event, TuneEvent};

/// Holds all that a checkpoint needs, so that one can be made at any moment between two events of a run, and after the
/// last one as well.
#[derive(Clone)]
pub struct Keeper {
    state: Rc<dyn Told>,
    parts: Vec<(&'static str, Weights, Moments)>,
}

/// The steps done, and the files.
type Made = Result<(u64, Files), Error>;

/// A state whose settings do not matter here.
trait Told {
    /// The steps done, and the file.
    fn told(&self) -> (u64, Vec<u8>);
}

impl<S: Serialize> Told for RefCell<State<S>> {
    fn told(&self) -> (u64, Vec<u8>) {
        let State { step, nonfinite_in_a_row, settings, data, history } = &*self.borrow();
        let file = StateFile {
            format: FORMAT,
            cloche: env!("CARGO_PKG_VERSION"),
            step: *step,
            nonfinite_in_a_row: *nonfinite_in_a_row,
            settings,
            data,
            history,
        };
        (*step, json(&file))
    }
}

impl Keeper {
    /// Of a run that changes its state as it goes, and these models.
    pub(crate) fn new<S: Serialize + 'static>(
        state: &Rc<RefCell<State<S>>>,
        parts: Vec<(&'static str, Weights, Moments)>,
    ) -> Keeper {
        Keeper { state: state.clone(), parts }
    }

    /// Reads everything back from the device and makes files of it; the manifest is the last one, and vouches for what
    /// others keep `beside` too.
    ///
    /// # Errors
    /// A lost device, or an error of earlier work on it.
    pub async fn files(&self, beside: Files) -> Result<Files, Error> {
        Ok(self.made(beside).await?.1)
    }

    /// The steps done, and the files. (In a box, so that the code for it is there once, whoever calls it.)
    fn made(&self, beside: Files) -> Pin<Box<dyn Future<Output = Made> + '_>> {
        Box::pin(self.make(beside))
    }

    async fn make(&self, beside: Files) -> Made {
        let mut files = beside;
        for (name, weights, moments) in &self.parts {
            let (host, m, v) = (weights.read().await?, moments.m.read().await?, moments.v.read().await?);
            let shape = [m.f32().len()];
            let moments =
                [("m", m.f32()), ("v", v.f32())].map(|(name, data)| NamedTensor::new(name, &shape, data));
            files.push((model_file(name), whole(&host.tensors())?));
            files.push((optimizer_file(name), whole(&moments)?));
        }
        let (step, state) = self.state.told();
        files.push((STATE.into(), state));
        let mut digests: Vec<(String, Digested)> = Vec::with_capacity(files.len());
        for (name, bytes) in &files {
            let place = digests.partition_point(|(other, _)| other < name);
            digests.insert(place, (name.clone(), digest(bytes)));
        }
        let manifest = Manifest { format: FORMAT, step, files: digests };
        files.push((MANIFEST.into(), json(&manifest)));
        Ok((step, files))
    }

    /// A checkpoint as an event of pre-training.
    pub(crate) async fn event(&self) -> Result<Event, Error> {
        let (step, files) = self.made(Vec::new()).await?;
        Ok(Event::Checkpoint { step, files })
    }

    /// A checkpoint as an event of a later stage.
    pub(crate) async fn tune_event(&self) -> Result<TuneEvent, Error> {
        let (step, files) = self.made(Vec::new()).await?;
        Ok(TuneEvent::Checkpoint { step, files })
    }
}

fn whole(tensors: &[NamedTensor]) -> Result<Vec<u8>, CheckpointError> {
    Ok(write(tensors, &[], None)?.remove(0).1)
}
