//! Writing a checkpoint: one file, or shards with an index, the same bytes for the same tensors.

use bytemuck::Pod;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, json};

use super::{CheckpointError, MAX_TENSORS};

/// A tensor to be written.
#[derive(Clone, Copy, Debug)]
pub struct NamedTensor<'a> {
    /// Its path.
    pub name: &'a str,
    /// Its shape.
    pub shape: &'a [usize],
    dtype: &'static str,
    /// Its values in row-major order, as the file holds them.
    bytes: &'a [u8],
}

/// A type of values that can be written.
pub trait Value: Pod {
    /// What the format calls it.
    const DTYPE: &'static str;
}

impl Value for f32 {
    const DTYPE: &'static str = "F32";
}

impl Value for i32 {
    const DTYPE: &'static str = "I32";
}

impl Value for i64 {
    const DTYPE: &'static str = "I64";
}

// The format is little-endian, and so is every machine that this runs on: values are written as they lie in memory.
const _: () = assert!(cfg!(target_endian = "little"));

impl<'a> NamedTensor<'a> {
    /// A tensor by its path, its shape and its values in row-major order.
    ///
    /// # Panics
    /// If there are not as many values as the shape says.
    #[track_caller]
    pub fn new<T: Value>(name: &'a str, shape: &'a [usize], data: &'a [T]) -> Self {
        let numel: usize = shape.iter().product();
        assert_eq!(numel, data.len(), "tensor {name:?} of shape {shape:?}");
        NamedTensor { name, shape, dtype: T::DTYPE, bytes: bytemuck::cast_slice(data) }
    }

    /// The same tensor by another path.
    pub fn renamed(&self, name: &'a str) -> Self {
        NamedTensor { name, ..*self }
    }

    /// Its values as the file holds them.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Writes tensors as (file name, bytes) pairs: `model.safetensors`, or, where that would hold more than `shard_bytes`
/// of weights, `model-00001-of-00002.safetensors` and so on with `model.safetensors.index.json` last, as
/// `transformers` lays them out. `transformers` wants the metadata to say `"format": "pt"`, which is added to the
/// pairs of `metadata`.
///
/// # Errors
/// A name that occurs twice, or more than [`MAX_TENSORS`] tensors: our own reader would refuse the file.
pub fn write(
    tensors: &[NamedTensor<'_>],
    metadata: &[(&str, &str)],
    shard_bytes: Option<usize>,
) -> Result<Vec<(String, Vec<u8>)>, CheckpointError> {
    if tensors.len() > MAX_TENSORS {
        let reason = format!("cannot be written with more than {MAX_TENSORS} tensors");
        return Err(CheckpointError::malformed("model.safetensors", reason));
    }
    for (i, tensor) in tensors.iter().enumerate() {
        if tensors[..i].iter().any(|t| t.name == tensor.name) || tensor.name == "__metadata__" {
            let reason = format!("cannot be written with two entries {:?}", tensor.name);
            return Err(CheckpointError::malformed("model.safetensors", reason));
        }
    }

    // Where nobody asks for shards, the code for them is not part of the program.
    let shards = shard_bytes.map(|limit| split(tensors, limit)).filter(|shards| shards.len() > 1);
    let Some(shards) = shards else {
        return Ok(vec![("model.safetensors".into(), encode(tensors, metadata))]);
    };
    let file = |i: usize| format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len());
    let mut files: Vec<_> =
        shards.iter().enumerate().map(|(i, shard)| (file(i), encode(shard, metadata))).collect();
    let mut weight_map = Map::new();
    for (i, shard) in shards.iter().enumerate() {
        shard.iter().for_each(|tensor| drop(weight_map.insert(tensor.name.into(), file(i).into())));
    }
    let total_size: usize = tensors.iter().map(|tensor| tensor.bytes.len()).sum();
    let index = json!({ "metadata": { "total_size": total_size }, "weight_map": weight_map });
    // The index comes last: a reader that finds it finds the shards too.
    files.push(("model.safetensors.index.json".into(), format!("{index:#}\n").into_bytes()));
    Ok(files)
}

/// Cuts the list wherever the next tensor would take the shard beyond `limit`; a larger tensor is a shard of its own.
fn split<'a, 'b>(tensors: &'b [NamedTensor<'a>], limit: usize) -> Vec<&'b [NamedTensor<'a>]> {
    let (mut shards, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (i, tensor) in tensors.iter().enumerate() {
        let size = tensor.bytes.len();
        if i > start && size > limit.saturating_sub(bytes) {
            shards.push(&tensors[start..i]);
            (start, bytes) = (i, 0);
        }
        bytes += size;
    }
    shards.push(&tensors[start..]);
    shards
}

fn encode(tensors: &[NamedTensor<'_>], metadata: &[(&str, &str)]) -> Vec<u8> {
    let header =
        serde_json::to_string(&HeaderEntries { tensors, metadata }).expect("strings and numbers only");
    let data_bytes: usize = tensors.iter().map(|tensor| tensor.bytes.len()).sum();
    // Padded with spaces, so that the tensors lie aligned in a memory map.
    let length = header.len().next_multiple_of(8);
    let mut file = Vec::with_capacity(8 + length + data_bytes);
    file.extend((length as u64).to_le_bytes());
    file.extend(header.as_bytes());
    file.resize(8 + length, b' ');
    for tensor in tensors {
        file.extend_from_slice(tensor.bytes);
    }
    file
}

/// The header in the order of the data. The `safetensors` crate keeps the metadata in a hash map, in another order
/// each time, and two saves of one model would differ.
struct HeaderEntries<'a> {
    tensors: &'a [NamedTensor<'a>],
    metadata: &'a [(&'a str, &'a str)],
}

impl Serialize for HeaderEntries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1 + self.tensors.len()))?;
        map.serialize_entry("__metadata__", &Pairs(self.metadata))?;
        let mut start = 0;
        for tensor in self.tensors {
            let end = start + tensor.bytes.len();
            let data_offsets = [start, end];
            map.serialize_entry(
                tensor.name,
                &Entry { data_offsets, dtype: tensor.dtype, shape: tensor.shape },
            )?;
            start = end;
        }
        map.end()
    }
}

/// What the header says of a tensor.
#[derive(serde::Serialize)]
struct Entry<'a> {
    data_offsets: [usize; 2],
    dtype: &'static str,
    shape: &'a [usize],
}

/// The metadata, in alphabetical order, with what `transformers` wants to find among them.
struct Pairs<'a>(&'a [(&'a str, &'a str)]);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut pairs = vec![("format", "pt")];
        for pair in self.0 {
            let place = pairs.partition_point(|other| other.0 < pair.0);
            pairs.insert(place, *pair);
        }
        serializer.collect_map(pairs)
    }
}
