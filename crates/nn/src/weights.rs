//! The values of a model's parameters, on a device.

use cloche_tensor::{DType, Data, Device, Graph, State};

use crate::checkpoint::{Checkpoint, CheckpointError, Extras, NamedTensor};
use crate::lora::Layer;
use crate::params::{PARAM_ALIGN, ParamSpec, Params};

/// All parameters of a model in one buffer on a device, which every program of the model binds as `"params"`.
/// Cloning is cheap and yields the same buffer.
#[derive(Clone)]
pub struct Weights {
    specs: Vec<ParamSpec>,
    state: State,
}

/// Why weights cannot be put on a device.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The device cannot hold them, or was lost.
    #[error(transparent)]
    Device(#[from] cloche_tensor::Error),
    /// The file does not hold them.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl Weights {
    /// Weights before training: the values of [`Init`](crate::Init) under `seed`.
    ///
    /// # Errors
    /// When the device cannot hold them.
    pub fn init(device: &Device, specs: &[ParamSpec], seed: u64) -> Result<Self, cloche_tensor::Error> {
        let mut flat = vec![0.0; flat_numel(specs)];
        for spec in specs {
            spec.init.fill(seed, &spec.path, &mut flat[spec.offset..spec.end()]);
        }
        Self::from_flat(device, specs, flat)
    }

    /// Weights of a checkpoint, each found by its path.
    ///
    /// # Errors
    /// Tensors that are missing, left over or misshapen, all of them; a device that cannot hold the weights.
    pub fn load(
        device: &Device,
        specs: &[ParamSpec],
        checkpoint: &mut Checkpoint,
        extras: &Extras,
    ) -> Result<Self, WeightsError> {
        Ok(HostWeights::load(specs, "", checkpoint, extras)?.upload(device)?)
    }

    /// Weights as [`HostWeights::flat`] holds them.
    ///
    /// # Errors
    /// When the device cannot hold them.
    ///
    /// # Panics
    /// When the length is not that of the specs.
    pub fn from_flat(
        device: &Device,
        specs: &[ParamSpec],
        flat: Vec<f32>,
    ) -> Result<Self, cloche_tensor::Error> {
        assert_eq!(
            flat.len(),
            flat_numel(specs),
            "weights: the flat buffer has another length than the parameters"
        );
        let state = device.state_from("params", &Data::F32(flat))?;
        Ok(Weights { specs: specs.to_vec(), state })
    }

    /// What the parameters are called and where they lie.
    pub fn specs(&self) -> &[ParamSpec] {
        &self.specs
    }

    /// The buffer, to be bound as `"params"`.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Overwrites all weights, for instance by those that were best so far.
    ///
    /// # Panics
    /// When they are those of another model.
    #[track_caller]
    pub fn write(&self, weights: &HostWeights) {
        self.state.write(&weights.flat);
    }

    /// Reads all weights back, to save them.
    ///
    /// # Errors
    /// A lost device, or an error of earlier work on it.
    pub async fn read(&self) -> Result<HostWeights, cloche_tensor::Error> {
        Ok(HostWeights { specs: self.specs.clone(), flat: self.state.read().await? })
    }
}

/// The weights of a model, read back from its device.
#[derive(Clone, Debug, PartialEq)]
pub struct HostWeights {
    specs: Vec<ParamSpec>,
    flat: Data,
}

impl HostWeights {
    /// Weights from their values, one after another as [`flat`](Self::flat) gives them.
    ///
    /// # Panics
    /// When the length is not that of the specs.
    #[track_caller]
    pub fn new(specs: &[ParamSpec], flat: Vec<f32>) -> Self {
        assert_eq!(flat.len(), flat_numel(specs), "weights: as many values as the parameters take");
        HostWeights { specs: specs.to_vec(), flat: Data::F32(flat) }
    }

    /// What the parameters are called and where they lie.
    pub fn specs(&self) -> &[ParamSpec] {
        &self.specs
    }

    /// Weights of a checkpoint, where each parameter is found by `prefix` and its path.
    ///
    /// # Errors
    /// Tensors that are missing, left over or misshapen, all of them.
    pub fn load(
        specs: &[ParamSpec],
        prefix: &str,
        checkpoint: &mut Checkpoint,
        extras: &Extras,
    ) -> Result<Self, CheckpointError> {
        let wanted: Vec<(String, Vec<usize>)> =
            specs.iter().map(|s| (format!("{prefix}{}", s.path), s.shape.to_vec())).collect();
        let mut flat = vec![0.0; flat_numel(specs)];
        let mut places = specs.iter();
        checkpoint.load_into(&wanted, extras, |_, values| {
            let spec = places.next().expect("one call for each parameter, in order");
            flat[spec.offset..spec.end()].copy_from_slice(&values);
        })?;
        Ok(Self::new(specs, flat))
    }

    /// Weights of another model: those of the same path and shape from here, the others as at the beginning under `seed`.
    pub fn carried_over(&self, specs: &[ParamSpec], seed: u64) -> HostWeights {
        let mut flat = vec![0.0; flat_numel(specs)];
        for spec in specs {
            let place = &mut flat[spec.offset..spec.end()];
            match self.specs.iter().find(|s| s.path == spec.path && s.shape == spec.shape) {
                Some(own) => place.copy_from_slice(&self.flat()[own.offset..own.end()]),
                None => spec.init.fill(seed, &spec.path, place),
            }
        }
        HostWeights::new(specs, flat)
    }

    /// The weights but for the matrices of these layers.
    pub fn without(&self, layers: &[Layer]) -> HostWeights {
        self.carried_over(&specs_without(&self.specs, layers), 0)
    }

    /// Puts the weights on a device.
    ///
    /// # Errors
    /// When the device cannot hold them.
    pub fn upload(&self, device: &Device) -> Result<Weights, cloche_tensor::Error> {
        Ok(Weights { specs: self.specs.clone(), state: device.state_from("params", &self.flat)? })
    }

    /// Each parameter with its path, ready for [`checkpoint::write`](crate::checkpoint::write).
    pub fn tensors(&self) -> Vec<NamedTensor<'_>> {
        let flat = self.flat();
        self.specs.iter().map(|s| NamedTensor::new(&s.path, &s.shape, &flat[s.offset..s.end()])).collect()
    }

    /// The values of the parameter at `path`, if there is one.
    pub fn get(&self, path: &str) -> Option<&[f32]> {
        self.specs.iter().find(|s| s.path == path).map(|s| &self.flat()[s.offset..s.end()])
    }

    /// The flat buffer, padding included.
    pub fn flat(&self) -> &[f32] {
        self.flat.f32()
    }
}

/// The parameters of a model but for the matrices of these layers.
pub fn specs_without(specs: &[ParamSpec], layers: &[Layer]) -> Vec<ParamSpec> {
    let is_theirs = |s: &ParamSpec| {
        s.path.strip_suffix(".weight").is_some_and(|path| layers.iter().any(|l| l.path == path))
    };
    let p = Params::new(&Graph::new());
    let kept = specs.iter().filter(|s| !is_theirs(s));
    kept.for_each(|s| drop(p.declare(&s.path, s.shape.clone(), s.init, s.kind)));
    p.specs()
}

/// Length of the flat buffer: where the last parameter ends, padding included.
fn flat_numel(specs: &[ParamSpec]) -> usize {
    specs.last().map_or(0, |s| s.end().next_multiple_of(PARAM_ALIGN))
}

/// A buffer beside the weights, of their length: moments, accumulated gradients.
///
/// # Errors
/// When the device cannot hold it.
pub(crate) fn twin(device: &Device, name: &str, specs: &[ParamSpec]) -> Result<State, cloche_tensor::Error> {
    device.state(name, flat_numel(specs), DType::F32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Init;
    use crate::checkpoint::write;

    #[test]
    fn weights_survive_a_checkpoint() {
        let p = Params::new(&Graph::new());
        p.at("a").param("weight", (3, 5), Init::Normal { std: 0.02 });
        p.at("b").param("bias", (7,), Init::Ones);
        let device = Device::cpu();
        let weights = Weights::init(&device, &p.specs(), 1).unwrap();
        let host = pollster::block_on(weights.read()).unwrap();
        assert_eq!(host.get("b.bias"), Some(&[1.0; 7][..]));

        let files = write(&host.tensors(), &[], None).unwrap();
        let mut checkpoint = Checkpoint::from_bytes(files).unwrap();
        let loaded = Weights::load(&device, &p.specs(), &mut checkpoint, &Extras::default()).unwrap();
        assert_eq!(pollster::block_on(loaded.read()).unwrap(), host);

        let other = Params::new(&Graph::new());
        other.at("a").param("weight", (3, 6), Init::Ones);
        let error =
            Weights::load(&device, &other.specs(), &mut checkpoint, &Extras::default()).err().unwrap();
        assert!(
            error.to_string().contains("tensor \"a.weight\": file has (3, 5), model needs (3, 6)"),
            "{error}"
        );
    }
}
