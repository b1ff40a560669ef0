//! Weights of linear layers as small whole numbers, for generation. Every other parameter stays what it is, and so does the
//! table of an embedding where its copy is the output matrix.

use cloche_tensor::ops::quantized_matmul::{GROUP, PANEL, Quantized};
use cloche_tensor::{Data, Device, State, Tensor};

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

/// Why a model cannot be quantised.
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

/// Where a layer lies in the two states, in elements.
struct Place {
    path: String,
    n: usize,
    codes: usize,
    scales: usize,
    bits: usize,
}

impl QuantizedWeights {
    /// Quantises `layers`, whose matrices are at `path.weight` of `weights`.
    ///
    /// # Errors
    /// A layer whose width is not a multiple of the group; a device that cannot hold the codes.
    ///
    /// # Panics
    /// When `weights` lack the matrix of a layer.
    pub fn new(
        device: &Device,
        precision: Precision,
        layers: &[Layer],
        weights: &HostWeights,
    ) -> Result<Self, QuantizeError> {
        if let Some(Layer { path, k, .. }) = layers.iter().find(|layer| !layer.k.is_multiple_of(GROUP)) {
            return Err(QuantizeError::Width { path: path.clone(), k: *k });
        }
        let (mut codes, mut scales, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for Layer { path, n, k, transposed } in layers {
            let w = weights.get(&format!("{path}.weight"));
            let w = w.unwrap_or_else(|| panic!("layer {path:?}: the weights have no matrix for it"));
            let [by_k, by_n] = if *transposed { [*n, 1] } else { [1, *k] };
            let bits = precision.bits();
            let quantized = Quantized::of([*k, *n], bits, |i, j| w[i * by_k + j * by_n]);
            let place = Place { path: path.clone(), n: *n, codes: codes.len(), scales: scales.len(), bits };
            places.push(place);
            // Panels are longer than an alignment, so each layer begins where a binding may.
            const { assert!(PANEL.is_multiple_of(PARAM_ALIGN)) };
            codes.extend(quantized.codes);
            scales.extend(quantized.scales);
        }
        let codes = device.state_from("codes", &Data::U32(codes))?;
        let scales = device.state_from("scales", &Data::F32(scales))?;
        Ok(QuantizedWeights { layers: places, codes, scales })
    }
}

/// What computes linear layers in place of their parameters. A trait, so that only what can quantise contains how it is done:
/// the kernels weigh as much as a fifth of those of the whole engine.
pub trait Substitute {
    /// x `(…, K)` through the layer at `path`, `(…, n)`, if it is among those that have been replaced.
    fn product(&self, path: &str, x: &Tensor) -> Option<Tensor>;

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

    fn product(&self, path: &str, x: &Tensor) -> Option<Tensor> {
        let Place { n, codes, scales, bits, .. } = self.layers.iter().find(|layer| layer.path == path)?;
        let (k, panels) = (x.last_dim(), n.div_ceil(PANEL));
        let part = |name, state: &State, from, rows| {
            let whole = x.graph().state(name, (state.numel(),), state.dtype());
            whole.slice(0, from, from + panels * rows * PANEL).reshape((panels, rows, PANEL))
        };
        let codes = part("codes", &self.codes, *codes, k * bits / 32);
        let scales = part("scales", &self.scales, *scales, k / GROUP);
        Some(x.quantized_matmul(&codes, &scales, *n))
    }
}
