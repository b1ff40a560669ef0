//! What a safetensors file says about itself, checked before anything is allocated for it.
//!
//! The `safetensors` crate verifies that the tensors follow one another without holes or overlaps and that each range
//! has the bytes its shape and dtype ask for, with checked arithmetic. Beyond that we refuse headers above
//! [`MAX_HEADER_BYTES`], more than [`MAX_TENSORS`] tensors, and names that occur twice: JSON readers disagree about
//! which of two equal keys counts, so one file could be two models.

use std::collections::HashSet;
use std::fmt;
use std::io::{Read, Seek, SeekFrom};
use std::marker::PhantomData;

use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::{CheckpointError, Source};

/// The longest header that is read; GPT-2's takes 15 KB, and that of a 405-billion-parameter Llama 150 KB.
pub const MAX_HEADER_BYTES: u64 = 10_000_000;

/// The most tensors a checkpoint may have.
pub const MAX_TENSORS: usize = 20_000;

/// A header that holds up.
pub(super) struct Header {
    /// The byte of the file at which the ranges of `tensors` begin to count.
    pub data_start: u64,
    pub tensors: Vec<(String, TensorInfo)>,
    pub metadata: Vec<(String, String)>,
}

/// Reads the header of `source` and holds it against the length of the file.
pub(super) fn read_header(file: &str, source: &mut Box<dyn Source>) -> Result<Header, CheckpointError> {
    let io = |source| CheckpointError::Io { file: file.into(), source };
    let malformed = |reason: String| CheckpointError::malformed(file, reason);
    let file_bytes = source.seek(SeekFrom::End(0)).map_err(io)?;
    source.seek(SeekFrom::Start(0)).map_err(io)?;
    let mut start = Vec::new();
    source.by_ref().take(9).read_to_end(&mut start).map_err(io)?;
    // A pickle is known by its first bytes. A header may by chance be 640 bytes long, which looks like a pickle too,
    // but then its JSON follows.
    if start.get(8) != Some(&b'{') && (start.starts_with(b"PK\x03\x04") || start.first() == Some(&0x80)) {
        return Err(CheckpointError::Pickle { file: file.into() });
    }
    let Some(length) = start.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) else {
        return Err(malformed(format!("{file_bytes} bytes, a header needs at least 8")));
    };
    if length > MAX_HEADER_BYTES {
        return Err(malformed(format!("a header of {length} bytes, at most {MAX_HEADER_BYTES} are read")));
    }
    if file_bytes < 8 + length {
        return Err(malformed(format!("truncated: a header of {length} bytes in a file of {file_bytes}")));
    }
    let mut json = vec![0; length as usize];
    source.seek(SeekFrom::Start(8)).and_then(|_| source.read_exact(&mut json)).map_err(io)?;

    let Entries { mut tensors, metadata } =
        serde_json::from_slice(&json).map_err(|error| malformed(format!("header: {error}")))?;
    tensors.sort_unstable_by_key(|(_, info)| info.data_offsets);
    let checked = Metadata::new(None, tensors.clone()).map_err(|error| malformed(error.to_string()))?;
    let needed = 8 + length + checked.data_len() as u64;
    match file_bytes {
        _ if file_bytes < needed => {
            Err(malformed(format!("truncated: {file_bytes} bytes, the header needs {needed}")))
        }
        _ if file_bytes > needed => {
            Err(malformed(format!("{} bytes after the last tensor, there must be none", file_bytes - needed)))
        }
        _ => Ok(Header { data_start: 8 + length, tensors, metadata }),
    }
}

/// Reads `*.safetensors.index.json`: the file that holds each tensor.
pub(super) fn read_index(
    file: &str,
    source: &mut Box<dyn Source>,
) -> Result<Vec<(String, String)>, CheckpointError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: UniqueKeys<String>,
    }
    let mut json = Vec::new();
    let read = source.by_ref().take(MAX_HEADER_BYTES + 1).read_to_end(&mut json);
    read.map_err(|source| CheckpointError::Io { file: file.into(), source })?;
    if json.len() as u64 > MAX_HEADER_BYTES {
        let reason = format!("an index of more than {MAX_HEADER_BYTES} bytes");
        return Err(CheckpointError::malformed(file, reason));
    }
    match serde_json::from_slice::<Index>(&json) {
        Ok(Index { weight_map }) if !weight_map.0.is_empty() => Ok(weight_map.0),
        Ok(_) => Err(CheckpointError::malformed(file, "the weight_map names no tensor")),
        Err(error) => Err(CheckpointError::malformed(file, error.to_string())),
    }
}

/// The JSON header, read key by key so that a bomb is noticed while it is read, not after.
struct Entries {
    tensors: Vec<(String, TensorInfo)>,
    metadata: Vec<(String, String)>,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;

        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with one entry for each tensor")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let (mut tensors, mut metadata) = (Vec::new(), Vec::new());
                let mut seen = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        metadata = map.next_value::<UniqueKeys<String>>()?.0;
                    } else if tensors.len() == MAX_TENSORS {
                        return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                    } else {
                        tensors.push((name.clone(), map.next_value()?));
                    }
                    if let Some(name) = seen.replace(name) {
                        return Err(A::Error::custom(format!("key {name:?} occurs twice")));
                    }
                }
                Ok(Entries { tensors, metadata })
            }
        }

        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// A JSON object in which no key occurs twice.
struct UniqueKeys<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for UniqueKeys<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UniqueVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for UniqueVisitor<T> {
            type Value = UniqueKeys<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut entries, mut seen) = (Vec::new(), HashSet::new());
                while let Some(key) = map.next_key::<String>()? {
                    entries.push((key.clone(), map.next_value()?));
                    if let Some(key) = seen.replace(key) {
                        return Err(A::Error::custom(format!("key {key:?} occurs twice")));
                    }
                    if entries.len() > MAX_TENSORS {
                        return Err(A::Error::custom(format!("more than {MAX_TENSORS} keys")));
                    }
                }
                Ok(UniqueKeys(entries))
            }
        }

        deserializer.deserialize_map(UniqueVisitor(PhantomData))
    }
}
