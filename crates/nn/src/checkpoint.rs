//! Checkpoints: named tensors in `model.safetensors`, whole or in shards, in and out.
//!
//! The format (<https://huggingface.co/docs/safetensors>) is eight bytes with the header's length, a JSON header that
//! gives each tensor's dtype, shape and byte range, and the bytes. A file comes from anywhere, so nothing in it is
//! believed before it is checked: `header` caps and validates what the file says about itself, and this module
//! compares that with what the model needs, all tensors at once, before a single weight is read.

mod error;
mod header;
mod write;

pub use error::{CheckpointError, Mismatch};
pub use header::{MAX_HEADER_BYTES, MAX_TENSORS};
pub use write::{NamedTensor, Value, write};

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use safetensors::Dtype;

use header::Header;

/// Names end like this for buffers that older versions of `transformers` saved beside the weights: causal masks and
/// rotary frequencies. The model computes them, so the loader passes over them.
const BUFFER_SUFFIXES: [&str; 3] = [".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"];

/// The name of the whole model is put in front of each tensor by some programs and left out by others.
const MODEL_PREFIXES: [&str; 2] = ["transformer.", "model."];

/// Files that PyTorch writes with `pickle`.
const PICKLE_SUFFIXES: [&str; 6] = [".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"];

const INDEX_SUFFIX: &str = ".safetensors.index.json";

/// Bytes that can be read by range: a file, or a `Cursor` over bytes in memory.
pub trait Source: Read + Seek {}
impl<T: Read + Seek> Source for T {}

/// An opened checkpoint: headers read and checked, weights still in the files.
///
/// # Example
/// ```
/// use cloche_nn::checkpoint::{Checkpoint, NamedTensor, write};
/// let (shape, data) = (vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]);
/// let files = write(&[NamedTensor::new("w", &shape, &data)], &[], None).unwrap();
/// let mut checkpoint = Checkpoint::from_bytes(files).unwrap();
/// assert_eq!(checkpoint.tensor("w").unwrap(), (shape, data));
/// ```
pub struct Checkpoint {
    shards: Vec<Shard>,
    tensors: BTreeMap<String, Location>,
    metadata: Vec<(String, String)>,
}

struct Shard {
    file: String,
    source: Box<dyn Source>,
}

/// Where a tensor lies: `start..end` counts from the first byte of the file.
#[derive(Clone)]
struct Location {
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    start: u64,
    end: u64,
}

/// What a file may hold beyond the parameters of the model, and what must be true of it.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// Tensors that the model leaves out because they are zero, such as the biases that the Hugging Face GPT-2 class
    /// always has: present or not, but all zero.
    pub zeros: Vec<(String, Vec<usize>)>,
    /// Pairs (copy, parameter), such as the output matrix of a model that ties it to its embedding: present or not,
    /// but equal to the parameter.
    pub copies: Vec<(String, String)>,
}

impl Checkpoint {
    /// Opens the files of a model folder, given as (file name, contents); files of other kinds are passed over.
    ///
    /// `model.safetensors` is taken where it exists, else the shards that `*.safetensors.index.json` lists, else the
    /// only `.safetensors` file there is.
    ///
    /// # Errors
    /// A pickle in place of a safetensors file, no file at all, or a file whose header does not hold up.
    pub fn read(mut files: Vec<(String, Box<dyn Source>)>) -> Result<Self, CheckpointError> {
        let index = files.iter().position(|(name, _)| name.ends_with(INDEX_SUFFIX));
        let whole: Vec<String> = files
            .iter()
            .map(|(name, _)| name)
            .filter(|name| name.ends_with(".safetensors"))
            .cloned()
            .collect();
        let mut weight_map = Vec::new();
        let names: Vec<String> = match (index, whole.as_slice()) {
            _ if whole.iter().any(|name| name == "model.safetensors") => vec!["model.safetensors".into()],
            (Some(index), _) => {
                let (name, source) = &mut files[index];
                weight_map = header::read_index(name, source)?;
                let mut names: Vec<String> = Vec::new();
                for (_, file) in &weight_map {
                    if !names.contains(file) {
                        names.push(file.clone());
                    }
                }
                names
            }
            (None, [only]) => vec![only.clone()],
            (None, []) => {
                let is_pickle = |name: &str| PICKLE_SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
                return Err(match files.iter().find(|(name, _)| is_pickle(name)) {
                    Some((file, _)) => CheckpointError::Pickle { file: file.clone() },
                    None => CheckpointError::NotFound { what: "model.safetensors".into() },
                });
            }
            (None, several) => {
                return Err(CheckpointError::malformed(
                    &several[0],
                    format!("one of {} shards, but there is no index (*{INDEX_SUFFIX})", several.len()),
                ));
            }
        };
        let mut checkpoint = Self { shards: Vec::new(), tensors: BTreeMap::new(), metadata: Vec::new() };
        for name in names {
            let place = files.iter().position(|(file, _)| *file == name);
            let place = place.ok_or_else(|| CheckpointError::NotFound { what: name.clone() })?;
            checkpoint.add_shard(name, files.swap_remove(place).1)?;
        }
        checkpoint.check_index(&weight_map)?;
        Ok(checkpoint)
    }

    /// As [`Checkpoint::read`], from bytes in memory.
    pub fn from_bytes(files: Vec<(String, Vec<u8>)>) -> Result<Self, CheckpointError> {
        let boxed = |(name, bytes)| (name, Box::new(std::io::Cursor::new(bytes)) as Box<dyn Source>);
        Self::read(files.into_iter().map(boxed).collect())
    }

    /// As [`Checkpoint::read`], from a folder on disk. The files stay open, and are read by range.
    pub fn open_folder(folder: &Path) -> Result<Self, CheckpointError> {
        let io = |source| CheckpointError::Io { file: folder.display().to_string(), source };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let wanted = name.ends_with(".safetensors") || name.ends_with(INDEX_SUFFIX);
            if wanted || PICKLE_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
                let file = std::fs::File::open(entry.path())
                    .map_err(|source| CheckpointError::Io { file: name.clone(), source })?;
                files.push((name, Box::new(file) as Box<dyn Source>));
            }
        }
        Self::read(files)
    }

    /// The names of all tensors, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Bytes of all tensors, as the files hold them.
    pub fn total_bytes(&self) -> u64 {
        self.tensors.values().map(|location| location.end - location.start).sum()
    }

    /// The shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|location| location.shape.as_slice())
    }

    /// What the writer said about the file as a whole under this key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Reads one tensor as (shape, values in row-major order); F16 and BF16 are widened to f32.
    ///
    /// # Errors
    /// No tensor of that name, a dtype that does not hold weights, or a file that can no longer be read.
    pub fn tensor(&mut self, name: &str) -> Result<(Vec<usize>, Vec<f32>), CheckpointError> {
        let (location, bytes) = self.bytes(name)?;
        let data = match location.dtype {
            Dtype::F32 => decode(&bytes, f32::from_le_bytes),
            Dtype::F16 => decode(&bytes, |b| half::f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => decode(&bytes, |b| half::bf16::from_le_bytes(b).to_f32()),
            dtype => {
                return Err(
                    Mismatch::Dtype { name: name.into(), file: dtype, needed: "F32, F16 or BF16" }.into()
                );
            }
        };
        Ok((location.shape, data))
    }

    /// Reads one tensor of whole numbers, such as token ids, as (shape, values in row-major order).
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`].
    pub fn ids(&mut self, name: &str) -> Result<(Vec<usize>, Vec<i64>), CheckpointError> {
        let (location, bytes) = self.bytes(name)?;
        let data = match location.dtype {
            Dtype::I64 => decode(&bytes, i64::from_le_bytes),
            Dtype::I32 => decode(&bytes, |b| i32::from_le_bytes(b).into()),
            Dtype::U32 => decode(&bytes, |b| u32::from_le_bytes(b).into()),
            dtype => {
                return Err(
                    Mismatch::Dtype { name: name.into(), file: dtype, needed: "I64, I32 or U32" }.into()
                );
            }
        };
        Ok((location.shape, data))
    }

    /// Reads one tensor of 32 bits an element, into which a writer has packed smaller numbers.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`].
    pub fn words(&mut self, name: &str) -> Result<(Vec<usize>, Vec<u32>), CheckpointError> {
        let (location, bytes) = self.bytes(name)?;
        match location.dtype {
            Dtype::I32 | Dtype::U32 => Ok((location.shape, decode(&bytes, u32::from_le_bytes))),
            file => Err(Mismatch::Dtype { name: name.into(), file, needed: "I32 or U32" }.into()),
        }
    }

    /// Passes over a tensor from now on, as if there were none of that name.
    pub fn forget(&mut self, name: &str) {
        self.tensors.remove(name);
    }

    /// Fills a model: `sink` gets each parameter of `specs`, given as (path, shape), in that order.
    ///
    /// A leading `transformer.` or `model.` may be missing from the file or from the path, and buffers that old
    /// versions of `transformers` saved are passed over.
    ///
    /// # Errors
    /// [`CheckpointError::Mismatch`] with every tensor that is missing, left over, of another shape or dtype, before
    /// `sink` has been called once.
    pub fn load_into(
        &mut self,
        specs: &[(String, Vec<usize>)],
        extras: &Extras,
        mut sink: impl FnMut(&str, Vec<f32>),
    ) -> Result<(), CheckpointError> {
        let stored = self.match_names(specs, extras)?;
        self.check_values(extras)?;
        for ((path, _), name) in specs.iter().zip(stored) {
            sink(path, self.tensor(&name)?.1);
        }
        Ok(())
    }

    /// What the tensor at a path is called in the file, if it is there.
    pub(crate) fn name_of(&self, path: &str) -> Option<String> {
        self.find(path).map(|(name, _)| name.to_string())
    }

    /// The name in the file of each parameter.
    fn match_names(
        &self,
        specs: &[(String, Vec<usize>)],
        extras: &Extras,
    ) -> Result<Vec<String>, CheckpointError> {
        let (mut problems, mut stored) = (Vec::new(), Vec::new());
        let mut matched: Vec<&str> = Vec::new();
        let zeros = extras.zeros.iter().map(|(name, shape)| (name, Some(shape), false));
        let copies = extras.copies.iter().map(|(name, of)| {
            (name, specs.iter().find(|(path, _)| path == of).map(|(_, shape)| shape), false)
        });
        for (path, shape, needed) in
            specs.iter().map(|(path, shape)| (path, Some(shape), true)).chain(zeros).chain(copies)
        {
            let Some((name, location)) = self.find(path) else {
                if let (true, Some(shape)) = (needed, shape) {
                    problems.push(Mismatch::Missing { name: path.clone(), model: shape.clone() });
                }
                continue;
            };
            matched.push(name);
            if let Some(shape) = shape.filter(|shape| **shape != location.shape) {
                let (file, model) = (location.shape.clone(), shape.clone());
                problems.push(Mismatch::Shape { name: path.clone(), file, model });
            } else if !matches!(location.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
                let (file, needed) = (location.dtype, "F32, F16 or BF16");
                problems.push(Mismatch::Dtype { name: path.clone(), file, needed });
            }
            if needed {
                stored.push(name.to_string());
            }
        }
        // The number settles it where nothing is left over, which is so for all files but wrong ones.
        for (name, location) in self.tensors.iter().filter(|_| matched.len() < self.tensors.len()) {
            let known = matched.contains(&name.as_str());
            if !known && !BUFFER_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
                problems.push(Mismatch::Extra { name: name.clone(), file: location.shape.clone() });
            }
        }
        if problems.is_empty() { Ok(stored) } else { Err(CheckpointError::Mismatch(problems)) }
    }

    /// Whether the tensors that the model does without hold nothing that it would lose.
    fn check_values(&mut self, extras: &Extras) -> Result<(), CheckpointError> {
        let mut problems = Vec::new();
        for (name, _) in &extras.zeros {
            let Some(stored) = self.find(name).map(|(stored, _)| stored.to_string()) else { continue };
            if self.tensor(&stored)?.1.iter().any(|value| *value != 0.0) {
                problems.push(Mismatch::NotZero { name: name.clone() });
            }
        }
        for (name, of) in &extras.copies {
            let found = self.find(name).zip(self.find(of)).map(|(a, b)| (a.0.to_string(), b.0.to_string()));
            let Some((copy, original)) = found else { continue };
            if self.tensor(&copy)?.1 != self.tensor(&original)?.1 {
                problems.push(Mismatch::NotCopy { name: name.clone(), of: of.clone() });
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(CheckpointError::Mismatch(problems)) }
    }

    /// The tensor for a path, whether or not file and path agree about the prefix.
    fn find(&self, path: &str) -> Option<(&str, &Location)> {
        let exact = self.tensors.get_key_value(path);
        let shorter = || {
            let rest = MODEL_PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix))?;
            self.tensors.get_key_value(rest)
        };
        let longer = || MODEL_PREFIXES.iter().find_map(|p| self.tensors.get_key_value(&format!("{p}{path}")));
        exact.or_else(shorter).or_else(longer).map(|(name, location)| (name.as_str(), location))
    }

    fn add_shard(&mut self, file: String, mut source: Box<dyn Source>) -> Result<(), CheckpointError> {
        let Header { data_start, tensors, metadata } = header::read_header(&file, &mut source)?;
        if self.tensors.len() + tensors.len() > MAX_TENSORS {
            return Err(CheckpointError::malformed(
                &file,
                format!("more than {MAX_TENSORS} tensors in all shards"),
            ));
        }
        for (name, info) in tensors {
            let (start, end) =
                (data_start + info.data_offsets.0 as u64, data_start + info.data_offsets.1 as u64);
            let location =
                Location { shard: self.shards.len(), dtype: info.dtype, shape: info.shape, start, end };
            if self.tensors.insert(name.clone(), location).is_some() {
                return Err(CheckpointError::malformed(
                    &file,
                    format!("tensor {name:?} is in another shard too"),
                ));
            }
        }
        self.metadata.extend(metadata);
        self.shards.push(Shard { file, source });
        Ok(())
    }

    fn check_index(&self, weight_map: &[(String, String)]) -> Result<(), CheckpointError> {
        for (name, file) in weight_map {
            if self.tensors.get(name).is_none_or(|location| &self.shards[location.shard].file != file) {
                let reason = format!("the index places tensor {name:?} here, but it is not");
                return Err(CheckpointError::malformed(file, reason));
            }
        }
        Ok(())
    }

    fn bytes(&mut self, name: &str) -> Result<(Location, Vec<u8>), CheckpointError> {
        let not_found = || CheckpointError::NotFound { what: format!("tensor {name:?}") };
        let location = self.tensors.get(name).cloned().ok_or_else(not_found)?;
        let shard = &mut self.shards[location.shard];
        // The header was checked against the file's length, so this never asks for more than the file holds.
        let mut bytes = vec![0; (location.end - location.start) as usize];
        let read = shard
            .source
            .seek(SeekFrom::Start(location.start))
            .and_then(|_| shard.source.read_exact(&mut bytes));
        read.map_err(|source| CheckpointError::Io { file: shard.file.clone(), source })?;
        Ok((location, bytes))
    }
}

impl std::fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Checkpoint({} tensors in {} files)", self.tensors.len(), self.shards.len())
    }
}

fn decode<const N: usize, T>(bytes: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|chunk| value(*chunk)).collect()
}
