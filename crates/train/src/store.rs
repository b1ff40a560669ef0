//! Checkpoints in a folder, saved so that a kill at any moment, or a full disk, leaves one that opens.
//!
//! A checkpoint is written to `step-N.tmp`, file by file, each flushed to the disk, the manifest last. Then it is
//! renamed to `step-N`, which is one atomic act of the file system. The previous checkpoint stays; older ones go.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::checkpoint::{self, Files, ResumeError, Saved};

/// Checkpoints that are kept: the latest and the one before it.
const KEPT: usize = 2;

/// A checkpoint that could not be written or found.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused something.
    #[error("{path:?}: {error}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// There are checkpoints, but none that is whole; this is what is wrong with the latest.
    #[error("{path:?}: {error}")]
    Damaged {
        /// The latest checkpoint.
        path: PathBuf,
        /// What is wrong with it.
        error: ResumeError,
    },
}

/// The newest checkpoint that is whole.
pub struct Latest<S> {
    /// The checkpoint.
    pub saved: Saved<S>,
    /// Its folder.
    pub path: PathBuf,
    /// Newer ones that are damaged, newest first, and what is wrong with each.
    pub damaged: Vec<(PathBuf, ResumeError)>,
}

/// Saves a checkpoint under `folder`, which is created where needed, and removes all but this one and the one before
/// it. Checkpoints of later steps, which another run left, go too.
///
/// # Errors
/// What the system says, a full disk for instance. Earlier checkpoints are then untouched, and what has been written
/// of this one is removed as far as possible: a run can go on and try again with the next one.
pub fn save(folder: &Path, step: u64, files: &Files) -> Result<PathBuf, StoreError> {
    fs::create_dir_all(folder).map_err(at(folder))?;
    tidy_up(folder)?;
    let (partial, whole) = (folder.join(format!("step-{step}.tmp")), folder.join(format!("step-{step}")));
    if let Err(error) = write_all(&partial, files) {
        // What failed is the write; a failure to clean up after it would only hide that.
        let _ = fs::remove_dir_all(&partial);
        return Err(error);
    }
    // A run that was resumed here and stopped at once. If we are killed between these two lines, `tidy_up` and
    // `open_latest` still know the partial folder by its manifest.
    remove(&whole)?;
    fs::rename(&partial, &whole).map_err(at(&whole))?;
    sync_folder(folder)?;
    let mut earlier = list(folder)?;
    earlier.retain(|found| found.step < step);
    let keep: Vec<PathBuf> = earlier.into_iter().map(|found| found.path).take(KEPT - 1).collect();
    for found in list(folder)? {
        if found.path != whole && !keep.contains(&found.path) {
            remove(&found.path)?;
        }
    }
    Ok(whole)
}

/// Opens the newest checkpoint under `folder` whose manifest vouches for it; `None` where there is none at all.
///
/// # Errors
/// A folder that cannot be read; [`StoreError::Damaged`] where no checkpoint is whole.
pub fn open_latest<S: DeserializeOwned>(folder: &Path) -> Result<Option<Latest<S>>, StoreError> {
    if !folder.exists() {
        return Ok(None);
    }
    let mut damaged = Vec::new();
    for Found { path, partial, .. } in list(folder)? {
        match checkpoint::open(read_all(&path)?) {
            Ok(saved) => return Ok(Some(Latest { saved, path, damaged })),
            // What a killed process had not finished was never a checkpoint.
            Err(_) if partial => {}
            Err(error) => damaged.push((path, error)),
        }
    }
    match damaged.into_iter().next() {
        Some((path, error)) => Err(StoreError::Damaged { path, error }),
        None => Ok(None),
    }
}

/// A folder that is named like a checkpoint.
struct Found {
    step: u64,
    partial: bool,
    path: PathBuf,
}

/// All checkpoints and parts of checkpoints, newest first.
fn list(folder: &Path) -> Result<Vec<Found>, StoreError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let entry = entry.map_err(at(folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let partial = name.ends_with(".tmp");
        let step = name.strip_prefix("step-").map(|rest| rest.trim_end_matches(".tmp").parse());
        if let Some(Ok(step)) = step {
            found.push(Found { step, partial, path: entry.path() });
        }
    }
    found.sort_by_key(|f| (std::cmp::Reverse(f.step), f.partial));
    Ok(found)
}

/// Finishes or removes what a killed process left.
fn tidy_up(folder: &Path) -> Result<(), StoreError> {
    for Found { path, partial, .. } in list(folder)? {
        if !partial {
            continue;
        }
        let whole = path.with_extension("");
        // The one that it was to replace may be there still, or half of it.
        let is_replaced = whole.exists() && checkpoint::is_whole(read_all(&whole)?);
        if !is_replaced && checkpoint::is_whole(read_all(&path)?) {
            remove(&whole)?;
            fs::rename(&path, &whole).map_err(at(&whole))?;
        } else {
            remove(&path)?;
        }
    }
    Ok(())
}

fn read_all(folder: &Path) -> Result<Files, StoreError> {
    let mut files = Files::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_file() {
            files.push((name, fs::read(&path).map_err(at(&path))?));
        }
    }
    Ok(files)
}

fn write_all(folder: &Path, files: &Files) -> Result<(), StoreError> {
    fs::create_dir(folder).map_err(at(folder))?;
    for (name, bytes) in files {
        let path = folder.join(name);
        let write = || {
            let mut file = File::create(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(at(&path))?;
    }
    sync_folder(folder)
}

/// A name is on the disk once its folder is. Windows does not open folders, and does not need this.
fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    if cfg!(unix) { File::open(folder).and_then(|file| file.sync_all()).map_err(at(folder)) } else { Ok(()) }
}

fn remove(folder: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(folder)(error)),
        _ => Ok(()),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError + '_ {
    |error| StoreError::Io { path: path.to_path_buf(), error }
}
