//! Weights of linear layers as small whole numbers, for generation. Every other parameter stays what it is, and so does the
//! table of an embedding where its copy is the output matrix.

mod stored;

pub use stored::StoredLayer;

use std::pin::Pin;

pub use cloche_tensor::ops::quantized_matmul::GROUP;
use cloche_tensor::ops::quantized_matmul::{PANEL, Quantized};
use cloche_tensor::{Data, Device, State, Tensor};

use crate::checkpoint::CheckpointError;
use crate::lora::Layer;
use crate::params::PARAM_ALIGN;
use crate::weights::HostWeights;

/// How exact quantised weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 255 steps from the largest weight of a group to its negative; 9 bits a weight, scales included.
    Int8,
    /// 15 steps; 5 bits a weight, scales included.
    Int4,
}

impl Precision {
    /// Bits of a code.
    pub fn bits(self) -> usize {
        match self {
            Precision::Int8 => 8,
            Precision::Int4 => 4,
        }
    }
}

/// Why a model cannot be quantised, or a quantised one not be opened.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// A layer whose inputs do not make whole groups.
    #[error("layer {path:?}: found {k} inputs, expected a multiple of {GROUP}, which share a scale")]
    Width {
        /// The layer.
        path: String,
        /// Its inputs.
        k: usize,
    },
    /// A file that is said to hold quantised layers.
    #[error("found no layer that is quantised, expected some, as config.json says")]
    Whole,
    /// The file does not hold what it should.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The device cannot hold the codes, or was lost.
    #[error(transparent)]
    Device(#[from] cloche_tensor::Error),
}

/// The linear layers of a model, quantised, on a device.
pub struct QuantizedWeights {
    layers: Vec<Place>,
    codes: State,
    scales: State,
}

/// The same in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostQuantized {
    layers: Vec<Place>,
    codes: Vec<u32>,
    scales: Vec<f32>,
}

/// Where a layer lies in the two states, in elements.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    path: String,
    n: usize,
    k: usize,
    codes: usize,
    scales: usize,
    bits: usize,
}

impl Place {
    /// The lengths of a row of codes and of one of scales.
    fn row(&self) -> [usize; 2] {
        [self.k * self.bits / 32, self.k / GROUP]
    }
}

impl HostQuantized {
    /// Quantises `layers`, whose matrices are at `path.weight` of `weights`.
    ///
    /// # Errors
    /// A layer whose width is not a multiple of the group.
    ///
    /// # Panics
    /// When `weights` lack the matrix of a layer.
    pub fn quantize(
        &mut self,
        precision: Precision,
        layers: &[Layer],
        weights: &HostWeights,
    ) -> Result<(), QuantizeError> {
        expect_groups(layers)?;
        for layer in layers {
            let w = weights.get(&format!("{}.weight", layer.path));
            let w = w.unwrap_or_else(|| panic!("layer {:?}: the weights have no matrix for it", layer.path));
            let [by_k, by_n] = if layer.transposed { [layer.n, 1] } else { [1, layer.k] };
            let element = |i: usize, j: usize| w[i * by_k + j * by_n];
            let quantized = Quantized::of([layer.k, layer.n], precision.bits(), element);
            self.push(layer, precision, quantized);
        }
        Ok(())
    }

    /// How exact the layers are, if there are any.
    pub fn precision(&self) -> Option<Precision> {
        let bits = self.layers.first()?.bits;
        Some(if bits == Precision::Int8.bits() { Precision::Int8 } else { Precision::Int4 })
    }

    /// Whether the layer at `path` is among them.
    pub fn has(&self, path: &str) -> bool {
        self.layers.iter().any(|layer| layer.path == path)
    }

    fn push(&mut self, layer: &Layer, precision: Precision, Quantized { codes, scales }: Quantized) {
        // Panels are longer than an alignment, so each layer begins where a binding may.
        const { assert!(PANEL.is_multiple_of(PARAM_ALIGN)) };
        self.layers.push(Place {
            path: layer.path.clone(),
            n: layer.n,
            k: layer.k,
            codes: self.codes.len(),
            scales: self.scales.len(),
            bits: precision.bits(),
        });
        self.codes.extend(codes);
        self.scales.extend(scales);
    }

    /// Puts the layers on a device.
    ///
    /// # Errors
    /// When the device cannot hold them.
    pub fn upload(self, device: &Device) -> Result<QuantizedWeights, cloche_tensor::Error> {
        let codes = device.state_from("codes", &Data::U32(self.codes))?;
        let scales = device.state_from("scales", &Data::F32(self.scales))?;
        Ok(QuantizedWeights { layers: self.layers, codes, scales })
    }
}

/// Requires that the inputs of all layers make whole groups.
fn expect_groups(layers: &[Layer]) -> Result<(), QuantizeError> {
    match layers.iter().find(|layer| !layer.k.is_multiple_of(GROUP)) {
        Some(Layer { path, k, .. }) => Err(QuantizeError::Width { path: path.clone(), k: *k }),
        None => Ok(()),
    }
}

/// What computes linear layers in place of their parameters. A trait, so that only what can quantise contains how it is done:
/// the kernels weigh as much as a fifth of those of the whole engine.
pub trait Substitute {
    /// x `(…, K)` through the layer at `path`, `(…, n)`, if it is among those that have been replaced.
    fn product(&self, path: &str, x: &Tensor) -> Option<Tensor>;

    /// All of them, read back, to be saved.
    fn read(&self) -> Pin<Box<dyn Future<Output = Result<HostQuantized, cloche_tensor::Error>> + '_>>;

    /// The states that a program binds by these names.
    fn states(&self) -> Vec<(&'static str, &State)>;

    /// Bytes of these states.
    fn bytes(&self) -> usize {
        self.states().iter().map(|(_, state)| state.numel() * state.dtype().bytes()).sum()
    }
}

impl Substitute for QuantizedWeights {
    fn states(&self) -> Vec<(&'static str, &State)> {
        vec![("codes", &self.codes), ("scales", &self.scales)]
    }

    fn read(&self) -> Pin<Box<dyn Future<Output = Result<HostQuantized, cloche_tensor::Error>> + '_>> {
        Box::pin(async {
            let (codes, scales) = (self.codes.read().await?, self.scales.read().await?);
            let (codes, scales) = (codes.u32().to_vec(), scales.f32().to_vec());
            Ok(HostQuantized { layers: self.layers.clone(), codes, scales })
        })
    }

    fn product(&self, path: &str, x: &Tensor) -> Option<Tensor> {
        let Place { n, codes, scales, bits, .. } = self.layers.iter().find(|layer| layer.path == path)?;
        let (k, panels) = (x.last_dim(), n.div_ceil(PANEL));
        let part = |name, state: &State, from, words| {
            let whole = x.graph().state(name, (state.numel(),), state.dtype());
            let dims = (panels, k / GROUP, words * PANEL);
            whole.slice(0, from, from + panels * k / GROUP * words * PANEL).reshape(dims)
        };
        let codes = part("codes", &self.codes, *codes, *bits);
        let scales = part("scales", &self.scales, *scales, 1);
        Some(x.quantized_matmul(&codes, &scales, *n))
    }
}
