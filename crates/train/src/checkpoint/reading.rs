//! Reading what `keeper` writes as JSON.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Digested, FORMAT, History, Manifest, ResumeError, State, damaged};

/// The state of a run, from the file of this name.
pub(super) fn state<S: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<State<S>, ResumeError> {
    let mut file = parse(name, bytes)?;
    let settings = file.get_mut("settings").map(Value::take).unwrap_or_default();
    let settings = serde_json::from_value(settings).map_err(|e| unlike(name, &e))?;
    let read = || {
        Some(State {
            step: file["step"].as_u64()?,
            nonfinite_in_a_row: file["nonfinite_in_a_row"].as_u64()? as u32,
            settings,
            data: file["data"].as_str()?.to_string(),
            history: history(&file["history"])?,
        })
    };
    read().ok_or_else(|| unlike(name, &"no state of a run"))
}

/// What vouches for the other files.
pub(super) fn manifest(name: &str, bytes: &[u8]) -> Result<Manifest, ResumeError> {
    let file = parse(name, bytes)?;
    let read = || {
        let mut files = Vec::new();
        for (name, value) in file["files"].as_object()? {
            let (bytes, sha256) = (value["bytes"].as_u64()?, value["sha256"].as_str()?.to_string());
            files.push((name.clone(), Digested { bytes, sha256 }));
        }
        Some(Manifest { format: FORMAT, step: file["step"].as_u64()?, files })
    };
    read().ok_or_else(|| unlike(name, &"no list of files"))
}

fn history(value: &Value) -> Option<History> {
    let number = |value: &Value| Some(value.as_f64()? as f32);
    let loss = |point: &Value| Some((point[0].as_u64()?, number(&point[1])?));
    let eval = |point: &Value| Some((point[0].as_u64()?, number(&point[1])?, number(&point[2])?));
    Some(History {
        stride: value["stride"].as_u64()?,
        losses: value["losses"].as_array()?.iter().map(loss).collect::<Option<_>>()?,
        evals: value["evals"].as_array()?.iter().map(eval).collect::<Option<_>>()?,
    })
}

/// The content of a file, of the version that we write.
fn parse(name: &str, bytes: &[u8]) -> Result<Value, ResumeError> {
    let file: Value = serde_json::from_slice(bytes).map_err(|e| unlike(name, &e))?;
    match file["format"].as_u64() {
        Some(format) if format == u64::from(FORMAT) => Ok(file),
        Some(format) => Err(damaged(name, format!("format {format}"), format!("format {FORMAT}"))),
        None => Err(unlike(name, &"no format")),
    }
}

fn unlike(name: &str, found: &dyn std::fmt::Display) -> ResumeError {
    damaged(name, found.to_string(), "what Cloche writes".into())
}
