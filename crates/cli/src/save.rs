//! Keeping a run: what it is, its checkpoints, and the model that it leaves.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use cloche_train::checkpoint::{Files, Saved};
use cloche_train::settings::Settings;
use cloche_train::store;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::curation::Dedup;
use crate::folder::{read_json, write_file};
use crate::report::Report;

/// The file that says what a run is.
const RECORD: &str = "run.json";

/// Everything that makes a folder the folder of a run; what else lies there is none of ours.
const OURS: [&str; 13] = [
    RECORD,
    "checkpoints",
    "demonstrations.jsonl",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "adapter_config.json",
    "adapter_model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "README.md",
];

/// How long to wait before a save that has failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How often the last save is tried, and the pause between.
const LAST_TRIES: usize = 5;
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// What a run is: what it was begun with, so that going on needs nothing but the folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The preset's name.
    pub preset: String,
    /// `stories`, or the path of the texts.
    pub data: String,
    /// Bytes of stories to train on.
    pub stories_bytes: u64,
    /// The kind of tokenizer, such as `bpe:512`.
    pub tokenizer: String,
    /// Which documents are left out as there before.
    #[serde(default)]
    pub dedup: Option<Dedup>,
    /// All settings at the beginning.
    pub settings: Settings,
}

/// The record of the run of `stage` in a folder, if there is one.
///
/// # Errors
/// A run of another stage; a file that is not what we write.
pub fn read_record<R: DeserializeOwned>(folder: &Path, stage: &str) -> Result<Option<R>> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let Some(text) = read_json(folder, RECORD)? else { return Ok(None) };
    let damaged = |error| anyhow!("{}: {error}", folder.join(RECORD).display());
    let record: Value = serde_json::from_str(&text).map_err(damaged)?;
    // Pre-training came first, and does not name itself.
    let found = record["stage"].as_str().unwrap_or("train");
    if found != stage {
        bail!("{} holds a run of {found}, expected one of {stage}", folder.display());
    }
    serde_json::from_value(record).map(Some).map_err(damaged)
}

/// Writes the record of a run.
///
/// # Errors
/// What the system says.
pub fn write_record(folder: &Path, record: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(record).expect("settings are numbers and names");
    write_file(folder, RECORD, text.as_bytes())
}

/// Requires that a new run destroys nothing.
///
/// # Errors
/// When the folder holds a run or a model.
pub fn require_free(folder: &Path) -> Result<()> {
    require_free_or(folder, "--resume goes on with it, --overwrite replaces it")
}

/// The same, and what else could be done.
///
/// # Errors
/// When the folder holds a run or a model.
pub fn require_free_or(folder: &Path, ways: &str) -> Result<()> {
    match [RECORD, "checkpoints", "model.safetensors", "config.json", "adapter_config.json"]
        .iter()
        .find(|name| folder.join(name).exists())
    {
        None => Ok(()),
        Some(name) => bail!("{} holds a run or a model already ({name}): {ways}", folder.display()),
    }
}

/// Whether a path is the folder itself, or among what [`clear`] removes from it.
pub fn is_ours(folder: &Path, path: &Path) -> bool {
    let inside = path.strip_prefix(folder).map(|inside| inside.iter().next());
    inside.is_ok_and(|first| first.is_none_or(|first| OURS.iter().any(|name| first == *name)))
}

/// Removes what an earlier run has left.
///
/// # Errors
/// What the system says.
pub fn clear(folder: &Path) -> Result<()> {
    for path in OURS.map(|name| folder.join(name)) {
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                bail!("{}: {error}", path.display())
            }
            _ => {}
        }
    }
    Ok(())
}

/// The latest whole checkpoint of a run, if it has come to one.
///
/// # Errors
/// Checkpoints of which none is whole.
pub fn latest<S: DeserializeOwned>(folder: &Path, report: &Report) -> Result<Option<Saved<S>>> {
    let Some(latest) = store::open_latest(&checkpoints(folder))? else { return Ok(None) };
    for (path, error) in &latest.damaged {
        report.warn(format_args!("{}: {error}; going back to {}", path.display(), latest.path.display()));
    }
    Ok(Some(latest.saved))
}

fn checkpoints(folder: &Path) -> PathBuf {
    folder.join("checkpoints")
}

/// Stores checkpoints as they come. One that cannot be stored, on a full disk for instance, is kept and tried again;
/// meanwhile the training goes on.
pub struct Keeper {
    folder: PathBuf,
    pending: Option<Pending>,
}

struct Pending {
    step: u64,
    files: Files,
    tried: Instant,
}

impl Keeper {
    /// A keeper of the checkpoints of the run in a folder.
    pub fn new(folder: &Path) -> Keeper {
        Keeper { folder: checkpoints(folder), pending: None }
    }

    /// Stores a checkpoint; an older one that is still waiting gives way to it.
    pub fn save(&mut self, step: u64, files: Files, report: &Report) {
        self.pending = Some(Pending { step, files, tried: Instant::now() });
        self.attempt(report);
    }

    /// Tries again, if there is something to try and the last time is a while ago.
    pub fn retry(&mut self, report: &Report) {
        if self.pending.as_ref().is_some_and(|pending| pending.tried.elapsed() >= RETRY_AFTER) {
            self.attempt(report);
        }
    }

    /// The last chance: what is waiting is stored, or lost.
    ///
    /// # Errors
    /// When it could not be stored.
    pub fn finish(mut self, report: &Report) -> Result<()> {
        for _ in 0..LAST_TRIES {
            if self.pending.is_none() {
                return Ok(());
            }
            std::thread::sleep(LAST_PAUSE);
            self.attempt(report);
        }
        match self.pending {
            None => Ok(()),
            Some(pending) => bail!("the checkpoint of step {} could not be saved", pending.step),
        }
    }

    fn attempt(&mut self, report: &Report) {
        let Some(pending) = &mut self.pending else { return };
        let step = pending.step;
        match store::save(&self.folder, step, &pending.files) {
            Ok(_) => {
                self.pending = None;
                report.checkpoint(step);
            }
            Err(error) => {
                pending.tried = Instant::now();
                report.warn(format_args!(
                    "the checkpoint of step {step} could not be saved and will be tried again: {error}"
                ));
            }
        }
    }
}

/// The first Ctrl-C asks the run to finish its step and save; the second one ends the process.
pub fn listen_for_interrupt() -> Arc<AtomicBool> {
    /// A process has one handler, however many runs it makes.
    static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    let listen = || {
        let interrupted = Arc::new(AtomicBool::new(false));
        let flag = interrupted.clone();
        let handler = move || {
            if flag.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
            eprintln!("stopping after this step; press Ctrl-C again to stop at once");
        };
        // Without a handler Ctrl-C ends the process, and the run goes on from its latest checkpoint.
        let _ = ctrlc::set_handler(handler);
        interrupted
    };
    INTERRUPTED.get_or_init(listen).clone()
}
