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

use std::collections::BTreeMap;

use cloche_nn::checkpoint::{Checkpoint, CheckpointError, Extras, NamedTensor, write};
use cloche_nn::optim::Moments;
use cloche_nn::{ParamSpec, Weights};
use cloche_tensor::{Data, Device};
use serde::{Deserialize, Serialize};
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Every how many steps a loss is kept.
    pub stride: u64,
    /// (step, loss) in nats per token.
    pub losses: Vec<(u64, f32)>,
    /// (step, training loss, validation loss) of each evaluation.
    pub evals: Vec<(u64, f32, f32)>,
}

/// The layout's version and the program's, around the state, so that a reader of the file sees them first.
#[derive(Serialize, Deserialize)]
struct StateFile<S> {
    format: u32,
    cloche: String,
    #[serde(flatten)]
    state: State<S>,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    step: u64,
    files: BTreeMap<String, Digested>,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct Digested {
    bytes: u64,
    sha256: String,
}

/// A checkpoint that has been opened and found whole.
pub struct Saved<S = Settings> {
    /// Where the run was. Settings may be changed before going on: more steps, another rhythm of samples.
    pub state: State<S>,
    parts: Vec<Part>,
}

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

/// Reads everything back from the device and makes files of it; the manifest is the last one.
///
/// # Errors
/// A lost device, or an error of earlier work on it.
pub(crate) async fn files<S: Clone + Serialize>(
    state: &State<S>,
    parts: &[(&str, &Weights, &Moments)],
) -> Result<Files, Error> {
    let mut files = Vec::new();
    for &(name, weights, moments) in parts {
        let (host, m, v) = (weights.read().await?, moments.m.read().await?, moments.v.read().await?);
        let shape = [m.f32().len()];
        let moments =
            [("m", m.f32()), ("v", v.f32())].map(|(name, data)| NamedTensor { name, shape: &shape, data });
        files.push((model_file(name), whole(&host.tensors())?));
        files.push((optimizer_file(name), whole(&moments)?));
    }
    let file = StateFile { format: FORMAT, cloche: env!("CARGO_PKG_VERSION").into(), state: state.clone() };
    files.push((STATE.into(), json(&file)));
    let mut digests = BTreeMap::new();
    for (name, bytes) in &files {
        digests.insert(name.clone(), digest(bytes));
    }
    files.push((MANIFEST.into(), json(&Manifest { format: FORMAT, step: state.step, files: digests })));
    Ok(files)
}

fn whole(tensors: &[NamedTensor]) -> Result<Vec<u8>, CheckpointError> {
    Ok(write(tensors, &[], None)?.remove(0).1)
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
pub fn open<S: for<'a> Deserialize<'a>>(mut files: Files) -> Result<Saved<S>, ResumeError> {
    let manifest = verify(&mut files)?;
    // Only now is anything of it believed.
    let StateFile { format, state, .. } = parse(STATE, &take(&mut files, STATE)?)?;
    expect_format(STATE, format)?;
    let mut parts = Vec::new();
    let is_model = |name: &str| name.ends_with(".safetensors") && !name.ends_with("optimizer.safetensors");
    for file in manifest.files.keys().filter(|name| is_model(name)) {
        let name = file.trim_end_matches(".safetensors").to_string();
        let mut open = |file: String| {
            let bytes = take(&mut files, &file)?;
            Ok::<_, ResumeError>(Checkpoint::from_bytes(vec![(file, bytes)])?)
        };
        let (model, mut optimizer) = (open(file.clone())?, open(optimizer_file(&name))?);
        parts.push(Part { name, model, m: optimizer.tensor("m")?.1, v: optimizer.tensor("v")?.1 });
    }
    Ok(Saved { state, parts })
}

/// Whether the files are a checkpoint, of whatever stage, and as their manifest says.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn is_whole(mut files: Files) -> bool {
    verify(&mut files).is_ok()
}

/// Takes the manifest out, and holds all other files against it.
fn verify(files: &mut Files) -> Result<Manifest, ResumeError> {
    let manifest: Manifest = parse(MANIFEST, take(files, MANIFEST)?.as_slice())?;
    expect_format(MANIFEST, manifest.format)?;
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

impl<S> Saved<S> {
    /// Puts a part back onto a device: weights as `specs` have them, and their moments into `moments`.
    pub(crate) fn restore(
        &mut self,
        device: &Device,
        part: &str,
        (specs, extras): (&[ParamSpec], &Extras),
        moments: &Moments,
    ) -> Result<Weights, Error> {
        let saved =
            self.parts.iter_mut().find(|p| p.name == part).ok_or_else(|| missing(&model_file(part)))?;
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

fn parse<T: for<'a> Deserialize<'a>>(name: &str, bytes: &[u8]) -> Result<T, ResumeError> {
    serde_json::from_slice(bytes).map_err(|e| damaged(name, e.to_string(), "what Cloche writes".into()))
}

fn expect_format(name: &str, format: u32) -> Result<(), ResumeError> {
    if format == FORMAT {
        Ok(())
    } else {
        Err(damaged(name, format!("format {format}"), format!("format {FORMAT}")))
    }
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
