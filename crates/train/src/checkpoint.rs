//! Checkpoints: everything that a run needs to go on exactly as if it had never stopped.
//!
//! | file | content |
//! |---|---|
//! | `model.safetensors` | the parameters, under Hugging Face's names |
//! | `optimizer.safetensors` | `m` and `v`, the moments of AdamW, flat as on the device |
//! | `critic.safetensors`, `critic_optimizer.safetensors` | the same of a second model, where a stage trains two |
//! | `trainer_state.json` | [`State`]: the step, all settings, what the data was |
//! | `manifest.json` | length and SHA-256 of each file; written last, so whatever it vouches for is whole |
//!
//! There is no state of a random generator and no cursor into the data: batches, masks and samples are functions of
//! the seed and the step. This module makes and reads bytes; where they are kept is the business of others.

mod keeper;
mod reading;

pub use keeper::Keeper;

use cloche_nn::checkpoint::{Checkpoint, CheckpointError, Extras};
use cloche_nn::optim::Moments;
use cloche_nn::{ParamSpec, Weights};
use cloche_tensor::{Data, Device};
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::settings::Settings;

/// The version of the layout that this module writes and reads.
const FORMAT: u32 = 1;

/// The file that vouches for the others.
pub const MANIFEST: &str = "manifest.json";
const STATE: &str = "trainer_state.json";

/// Name and content of each file, in the order in which to write them.
pub type Files = Vec<(String, Vec<u8>)>;

/// What a run knows besides its numbers on the device. `S` are the settings of its stage.
#[derive(Clone, Debug, PartialEq)]
pub struct State<S = Settings> {
    /// Steps done.
    pub step: u64,
    /// The latest steps in a row that were skipped because their gradient was not finite.
    pub nonfinite_in_a_row: u32,
    /// All settings of the run.
    pub settings: S,
    /// The fingerprint of the data.
    pub data: String,
    /// Losses so far.
    pub history: History,
}

/// Losses so far: enough to draw the curve, never more than a few thousand points.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct History {
    /// Every how many steps a loss is kept.
    pub stride: u64,
    /// (step, loss) in nats per token.
    pub losses: Vec<(u64, f32)>,
    /// (step, training loss, validation loss) of each evaluation.
    pub evals: Vec<(u64, f32, f32)>,
}

/// The layout's version and the program's, and then the state, so that a reader of the file sees them first.
///
/// It is written out, and these files are read by hand (`reading`), because serde takes several kilobytes of a page's module
/// for a flattened structure, and for each structure that it reads from text.
#[derive(Serialize)]
struct StateFile<'a, S> {
    format: u32,
    cloche: &'a str,
    step: u64,
    nonfinite_in_a_row: u32,
    settings: &'a S,
    data: &'a str,
    history: &'a History,
}

#[derive(Serialize)]
struct Manifest {
    format: u32,
    step: u64,
    /// In alphabetical order.
    #[serde(serialize_with = "as_map")]
    files: Vec<(String, Digested)>,
}

#[derive(PartialEq, Serialize)]
struct Digested {
    bytes: u64,
    sha256: String,
}

fn as_map<S: Serializer>(files: &[(String, Digested)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(files.iter().map(|(name, digested)| (name, digested)))
}

/// A checkpoint that has been opened and found whole.
pub struct Saved<S = Settings> {
    /// Where the run was. Settings may be changed before going on: more steps, another rhythm of samples.
    pub state: State<S>,
    pub(crate) parts: Parts,
}

/// The models of a checkpoint.
pub(crate) struct Parts(Vec<Part>);

/// A model that was being trained: what is kept of it. The name says which of a stage's models it is.
struct Part {
    name: String,
    model: Checkpoint,
    m: Vec<f32>,
    v: Vec<f32>,
}

/// The part of the model itself, which every stage has.
pub(crate) const MODEL: &str = "model";
/// The value model beside it.
pub(crate) const CRITIC: &str = "critic";

/// A checkpoint that cannot be resumed from.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// A file that is not what the manifest says, or not what it must be.
    #[error("checkpoint file {file:?}: found {found}, expected {expected}")]
    Damaged {
        /// The file.
        file: String,
        /// What is there.
        found: String,
        /// What should be there.
        expected: String,
    },
    /// A whole checkpoint, of another run.
    #[error("checkpoint of another run: {what} is {found}, expected {expected}")]
    Differs {
        /// What differs.
        what: &'static str,
        /// What the checkpoint has.
        found: String,
        /// What the run has.
        expected: String,
    },
    /// The weights.
    #[error(transparent)]
    Weights(#[from] CheckpointError),
}

impl History {
    /// Points after which every other one is dropped.
    const MOST: usize = 2048;

    /// Keeps the loss of a step, where it is that step's turn.
    pub fn push(&mut self, step: u64, loss: f32) {
        if step.is_multiple_of(self.stride) && loss.is_finite() {
            self.losses.push((step, loss));
        }
        if self.losses.len() > Self::MOST {
            self.stride *= 2;
            self.losses.retain(|(step, _)| step.is_multiple_of(self.stride));
        }
    }

    /// Keeps an evaluation. A step that is evaluated again, after resuming, is kept once.
    pub fn push_eval(&mut self, step: u64, train_loss: f32, val_loss: f32) {
        // JSON has no NaN.
        if train_loss.is_finite() && val_loss.is_finite() {
            self.evals.retain(|(other, ..)| *other != step);
            self.evals.push((step, train_loss, val_loss));
        }
    }
}

impl Default for History {
    fn default() -> Self {
        History { stride: 1, losses: Vec::new(), evals: Vec::new() }
    }
}

fn model_file(part: &str) -> String {
    format!("{part}.safetensors")
}

fn optimizer_file(part: &str) -> String {
    if part == MODEL { "optimizer.safetensors".into() } else { format!("{part}_optimizer.safetensors") }
}

/// Opens the files of a checkpoint, in any order, and holds them against their manifest. Files that the manifest does
/// not name are passed over.
///
/// # Errors
/// A file that is missing, cut off or altered; another version of the layout.
pub fn open<S: DeserializeOwned>(mut files: Files) -> Result<Saved<S>, ResumeError> {
    let manifest = verify(&mut files)?;
    // Only now is anything of it believed.
    let state = reading::state(STATE, &take(&mut files, STATE)?)?;
    let mut parts = Vec::new();
    // What others keep beside the run lies in folders.
    let is_model = |name: &str| {
        name.ends_with(".safetensors") && !name.ends_with("optimizer.safetensors") && !name.contains('/')
    };
    for file in manifest.files.iter().map(|(name, _)| name).filter(|name| is_model(name)) {
        let name = file.strip_suffix(".safetensors").unwrap_or_default().to_string();
        let mut open = |file: String| {
            let bytes = take(&mut files, &file)?;
            Ok::<_, ResumeError>(Checkpoint::from_bytes(vec![(file, bytes)])?)
        };
        let (model, mut optimizer) = (open(file.clone())?, open(optimizer_file(&name))?);
        parts.push(Part { name, model, m: optimizer.tensor("m")?.1, v: optimizer.tensor("v")?.1 });
    }
    Ok(Saved { state, parts: Parts(parts) })
}

/// Whether the files are a checkpoint, of whatever stage, and as their manifest says.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn is_whole(mut files: Files) -> bool {
    verify(&mut files).is_ok()
}

/// Takes the manifest out, and holds all other files against it.
fn verify(files: &mut Files) -> Result<Manifest, ResumeError> {
    let manifest = reading::manifest(MANIFEST, &take(files, MANIFEST)?)?;
    for (name, expected) in &manifest.files {
        let found = files.iter().find(|(file, _)| file == name);
        let found = found.map(|(_, bytes)| digest(bytes)).ok_or_else(|| missing(name))?;
        if found != *expected {
            let words = |d: &Digested| format!("{} bytes with SHA-256 {}", d.bytes, d.sha256);
            return Err(damaged(name, words(&found), words(expected)));
        }
    }
    Ok(manifest)
}

impl Parts {
    /// Puts a part back onto a device: weights as `specs` have them, and their moments into `moments`.
    pub(crate) fn restore(
        &mut self,
        device: &Device,
        part: &str,
        (specs, extras): (&[ParamSpec], &Extras),
        moments: &Moments,
    ) -> Result<Weights, Error> {
        let saved = self.0.iter_mut().find(|p| p.name == part).ok_or_else(|| missing(&model_file(part)))?;
        for (name, state, values) in [("m", &moments.m, &saved.m), ("v", &moments.v, &saved.v)] {
            if state.numel() != values.len() {
                let numbers = |n: usize| format!("{n} numbers");
                let (found, expected) = (numbers(values.len()), numbers(state.numel()));
                return Err(ResumeError::Differs { what: name, found, expected }.into());
            }
            state.write(&Data::F32(values.clone()));
        }
        Ok(Weights::load(device, specs, &mut saved.model, extras)?)
    }
}

impl<S> Saved<S> {
    /// The same with other settings, where a run's are kept by a name of somebody else's.
    pub fn with_settings<T>(self, settings: T) -> Saved<T> {
        let State { step, nonfinite_in_a_row, data, history, .. } = self.state;
        Saved { state: State { step, nonfinite_in_a_row, settings, data, history }, parts: self.parts }
    }

    /// Requires that the data is what the run learned from so far.
    ///
    /// # Errors
    /// [`ResumeError::Differs`].
    pub fn expect_data(&self, fingerprint: &str) -> Result<(), ResumeError> {
        if self.state.data == fingerprint {
            return Ok(());
        }
        let (found, expected) = (self.state.data.clone(), fingerprint.to_string());
        Err(ResumeError::Differs { what: "the data's SHA-256", found, expected })
    }
}

fn take(files: &mut Files, name: &str) -> Result<Vec<u8>, ResumeError> {
    let place = files.iter().position(|(file, _)| file == name).ok_or_else(|| missing(name))?;
    Ok(files.swap_remove(place).1)
}

fn missing(name: &str) -> ResumeError {
    damaged(name, "nothing".into(), "a file".into())
}

fn damaged(file: &str, found: String, expected: String) -> ResumeError {
    ResumeError::Damaged { file: file.into(), found, expected }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("finite numbers, strings and lists");
    bytes.push(b'\n');
    bytes
}

fn digest(bytes: &[u8]) -> Digested {
    Digested { bytes: bytes.len() as u64, sha256: hex(&Sha256::digest(bytes)) }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_stays_small() {
        let mut history = History::default();
        (1..=100_000).for_each(|step| history.push(step, step as f32));
        history.push(100_032, f32::NAN);
        assert_eq!((history.stride, history.losses.len()), (64, 1562));
        assert!(history.losses.iter().all(|&(step, loss)| step % 64 == 0 && loss == step as f32));
        history.push_eval(5, 1.0, 2.0);
        history.push_eval(5, 1.0, 3.0);
        history.push_eval(6, f32::NAN, 3.0);
        assert_eq!(history.evals, [(5, 1.0, 3.0)]);
    }

    #[test]
    fn nothing_is_not_a_checkpoint() {
        let message = |files| open::<Settings>(files).err().unwrap().to_string();
        assert_eq!(message(vec![]), "checkpoint file \"manifest.json\": found nothing, expected a file");
        let manifest = |json: &str| vec![(MANIFEST.to_string(), json.as_bytes().to_vec())];
        let newer = message(manifest(r#"{"format":2,"step":1,"files":{}}"#));
        assert_eq!(newer, "checkpoint file \"manifest.json\": found format 2, expected format 1");
        assert!(message(manifest("{\"form")).starts_with("checkpoint file \"manifest.json\": found EOF"));
    }
}
