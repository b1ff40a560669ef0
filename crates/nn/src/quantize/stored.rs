//! Quantised layers in a checkpoint, as compressed-tensors (<https://github.com/vllm-project/compressed-tensors>) packs them
//! in its format `pack-quantized`, which `transformers` and vLLM read.
//!
//! In place of `path.weight` `(n, K)` there are `path.weight_packed` `(n, K·bits / 32)` of 32-bit words, in which the lower k is
//! in the lower bits and a code is the weight's number of steps plus 2^(bits − 1); `path.weight_scale` `(n, K / GROUP)`; and
//! `path.weight_shape`, the numbers n and K, which follow from the model's shape as well. The device wants the same words in
//! panels of columns.

use cloche_tensor::ops::quantized_matmul::{GROUP, Quantized, from_panels, to_panels};

use super::{HostQuantized, Place, Precision, QuantizeError, expect_groups};
use crate::checkpoint::{Checkpoint, CheckpointError, Mismatch, NamedTensor};
use crate::lora::Layer;

/// A layer as a file holds it.
pub struct StoredLayer {
    names: [String; 3],
    shapes: [[usize; 2]; 2],
    codes: Vec<i32>,
    scales: Vec<f32>,
    shape: [i64; 2],
}

impl StoredLayer {
    /// Its tensors, ready for [`checkpoint::write`](crate::checkpoint::write).
    pub fn tensors(&self) -> [NamedTensor<'_>; 3] {
        let [packed, scale, shape] = &self.names;
        [
            NamedTensor::new(packed, &self.shapes[0], &self.codes),
            NamedTensor::new(scale, &self.shapes[1], &self.scales),
            NamedTensor::new(shape, &[2], &self.shape),
        ]
    }
}

/// What a layer's codes, scales and shape are called.
fn names(path: &str) -> [String; 3] {
    ["packed", "scale", "shape"].map(|part| format!("{path}.weight_{part}"))
}

impl HostQuantized {
    /// Those of `layers` that are quantised, as a file holds them.
    pub fn stored(&self, layers: &[Layer]) -> Vec<StoredLayer> {
        let places = self.layers.iter().filter(|place| layers.iter().any(|layer| layer.path == place.path));
        let stored = |place: &Place| {
            let Place { n, bits, .. } = *place;
            let [words, scales] = place.row();
            let codes = from_panels(&self.codes[place.codes..], n, [words, bits]);
            StoredLayer {
                names: names(&place.path),
                shapes: [[n, words], [n, scales]],
                codes: codes.into_iter().map(|x| x as i32).collect(),
                scales: from_panels(&self.scales[place.scales..], n, [scales, 1]),
                shape: [place.n as i64, place.k as i64],
            }
        };
        places.map(stored).collect()
    }

    /// Takes those of `layers` that a checkpoint holds quantised out of it; of the others it has to hold the weights. The names
    /// of those that it held.
    ///
    /// # Errors
    /// Codes and scales that are missing or of another shape, all of them; of another dtype; a layer whose width is not a multiple
    /// of the group; a file that can no longer be read.
    pub fn load(
        &mut self,
        precision: Precision,
        layers: &[Layer],
        checkpoint: &mut Checkpoint,
    ) -> Result<Vec<Layer>, QuantizeError> {
        let whole = |layer: &Layer| checkpoint.name_of(&format!("{}.weight", layer.path)).is_some();
        let layers: Vec<Layer> = layers.iter().filter(|layer| !whole(layer)).cloned().collect();
        expect_groups(&layers)?;
        // 1. All that does not fit, before anything is read.
        let problems: Vec<Mismatch> =
            layers.iter().flat_map(|layer| misfits(layer, precision, checkpoint)).collect();
        if !problems.is_empty() {
            return Err(CheckpointError::Mismatch(problems).into());
        }
        // 2. Layer by layer, so that no more than one is there twice.
        for layer in &layers {
            let [packed, scale, shape] =
                names(&layer.path).map(|name| checkpoint.name_of(&name).unwrap_or(name));
            let (codes, scales) = (checkpoint.words(&packed)?.1, checkpoint.tensor(&scale)?.1);
            let (bits, groups) = (precision.bits(), layer.k / GROUP);
            let quantized = Quantized {
                codes: to_panels(&codes, [groups * bits, bits]),
                scales: to_panels(&scales, [groups, 1]),
            };
            self.push(layer, precision, quantized);
            [packed, scale, shape].iter().for_each(|name| checkpoint.forget(name));
        }
        Ok(layers)
    }
}

/// What of a layer is missing from a checkpoint or has another shape. What has another dtype is found when it is read.
fn misfits(layer: &Layer, precision: Precision, checkpoint: &Checkpoint) -> Vec<Mismatch> {
    let needed = [layer.k * precision.bits() / 32, layer.k / GROUP].map(|row| vec![layer.n, row]);
    let shape =
        |name: &str| checkpoint.name_of(name).and_then(|name| checkpoint.shape(&name).map(<[usize]>::to_vec));
    let misfit = |(name, model): (String, Vec<usize>)| match shape(&name) {
        None => Some(Mismatch::Missing { name, model }),
        Some(file) if file != model => Some(Mismatch::Shape { name, file, model }),
        Some(_) => None,
    };
    names(&layer.path).into_iter().zip(needed).filter_map(misfit).collect()
}
