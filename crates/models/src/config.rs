//! The shape of a model: one description for both architectures, presets of it, and Hugging Face's `config.json`.

mod card;
mod hf;
mod json;
mod keys;
mod presets;
mod quantization;

pub use card::{CardFacts, TunedFacts, model_card, tuned_card};
pub use hf::{GenerationConfig, Head, TokenIds};
pub(crate) use json::decimal;
pub(crate) use keys::Keys;
pub use presets::{PRESETS, Preset, TrainingDefaults, preset};
pub use quantization::quantization;

use cloche_nn::checkpoint::{CheckpointError, Extras, NamedTensor, write};
use cloche_nn::{Found, HostWeights};
use serde::{Deserialize, Serialize};

/// How the layers are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// Radford et al. (2019): learned positions, LayerNorm before each block, a feed-forward network of two matrices.
    Gpt2,
    /// Touvron et al. (2023): rotary positions, RMSNorm, SwiGLU, grouped-query attention, no biases.
    Llama,
}

/// The non-linearity of the feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x · Φ(x)` with the exact normal distribution, as nanoGPT has it.
    Gelu,
    /// GELU through `tanh`, as OpenAI's GPT-2 has it; Hugging Face calls it `gelu_new`.
    GeluTanh,
    /// `x · sigmoid(x)`, the gate of SwiGLU.
    Silu,
}

/// Everything that fixes the parameters of a model and what they compute. The letters are the axes of the project.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// How the layers are built.
    pub arch: Arch,
    /// Layers, `L`.
    pub n_layer: usize,
    /// Query heads, `H`.
    pub n_head: usize,
    /// Key/value heads, `G`; each serves `H / G` query heads.
    pub n_kv_head: usize,
    /// Model width, `C`.
    pub d_model: usize,
    /// Head width, `D`.
    pub d_head: usize,
    /// Feed-forward width, `F`.
    pub d_ff: usize,
    /// Vocabulary, `V`.
    pub vocab_size: usize,
    /// The most positions the model sees at once, `T`.
    pub context_len: usize,
    /// Whether the output matrix is the embedding.
    pub tied: bool,
    /// Whether linear layers and LayerNorm have biases. Llama has none.
    pub bias: bool,
    /// The share of activations dropped in training.
    pub dropout: f32,
    /// The non-linearity of the feed-forward network.
    pub activation: Activation,
    /// What LayerNorm and RMSNorm add to the variance.
    pub norm_eps: f32,
    /// The base of the rotary frequencies. GPT-2 does not use it.
    pub rope_theta: f32,
    /// Standard deviation of the initial weights.
    pub init_std: f32,
}

/// A setting that no model can have, in our own configuration or in a file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value out of its range, or in contradiction to another.
    #[error("{key}: found {found}, expected {expected}")]
    Value {
        /// The name of the setting.
        key: String,
        /// What it says.
        found: String,
        /// What it could say.
        expected: String,
    },
    /// A file that is not JSON.
    #[error("not valid JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl ConfigError {
    pub(crate) fn value(key: &str, found: impl Found, expected: impl Into<String>) -> Self {
        Self::Value { key: key.into(), found: found.shown(), expected: expected.into() }
    }
}

impl ModelConfig {
    /// The number of parameters; a tied output matrix counts once.
    ///
    /// # Example
    /// `gpt2`: 50257·768 + 1024·768 + 12·(4·768² + 8·768² + 13·768) + 2·768 = 124,439,808.
    pub fn n_params(&self) -> u64 {
        let [c, d, f] = [self.d_model, self.d_head, self.d_ff].map(|n| n as u64);
        let [h, g, v, t] = [self.n_head, self.n_kv_head, self.vocab_size, self.context_len].map(|n| n as u64);
        // Sizes that have not been validated yet may be absurd, so the arithmetic saturates.
        let mul = u64::saturating_mul;
        let sum = |terms: &[u64]| terms.iter().fold(0, |sum: u64, term| sum.saturating_add(*term));
        let (q, kv) = (mul(h, d), mul(g, d));
        let attention = sum(&[mul(c, q), mul(2, mul(c, kv)), mul(q, c)]);
        let bias = u64::from(self.bias);
        let norm = mul(c, 1 + bias);
        let (layer, positions) = match self.arch {
            Arch::Gpt2 => {
                let biases = mul(bias, sum(&[q, mul(2, kv), c, f, c]));
                (sum(&[attention, mul(2, mul(c, f)), mul(2, norm), biases]), mul(t, c))
            }
            Arch::Llama => (sum(&[attention, mul(3, mul(c, f)), mul(2, norm)]), 0),
        };
        let embedding = mul(v, c);
        let head = if self.tied { 0 } else { embedding };
        sum(&[embedding, positions, mul(self.n_layer as u64, layer), norm, head])
    }

    /// Tensors that a Hugging Face folder of this model may hold beyond our parameters.
    ///
    /// Hugging Face's GPT-2 always has biases. A model without them is exported with these biases at zero, which
    /// computes the same, and `config.json` says `"cloche": {"bias": false}`, so that we read it back without them.
    pub fn extras(&self) -> Extras {
        let (mut zeros, mut copies) = (Vec::new(), Vec::new());
        if self.arch == Arch::Gpt2 && !self.bias {
            let (c, f) = (self.d_model, self.d_ff);
            let layer = [
                ("ln_1", c),
                ("attn.c_attn", 3 * c),
                ("attn.c_proj", c),
                ("ln_2", c),
                ("mlp.c_fc", f),
                ("mlp.c_proj", c),
            ];
            for i in 0..self.n_layer {
                zeros.extend(layer.map(|(name, dim)| (format!("transformer.h.{i}.{name}.bias"), vec![dim])));
            }
            zeros.push(("transformer.ln_f.bias".into(), vec![c]));
        }
        if self.tied {
            let embedding = match self.arch {
                Arch::Gpt2 => "transformer.wte.weight",
                Arch::Llama => "model.embed_tokens.weight",
            };
            copies.push(("lm_head.weight".into(), embedding.into()));
        }
        Extras { zeros, copies }
    }

    /// Writes `model.safetensors` of a Hugging Face folder, for either head: the weights, and at zero the biases that their
    /// class has and this model leaves out.
    ///
    /// # Errors
    /// Weights that a reader would refuse.
    pub fn weight_files(&self, weights: &HostWeights) -> Result<Vec<(String, Vec<u8>)>, CheckpointError> {
        self.weight_files_with(weights, &[])
    }

    /// The same with some more tensors.
    pub(crate) fn weight_files_with(
        &self,
        weights: &HostWeights,
        more: &[NamedTensor<'_>],
    ) -> Result<Vec<(String, Vec<u8>)>, CheckpointError> {
        let zeros = self.extras().zeros;
        let widest = zeros.iter().map(|(_, shape)| shape.iter().product()).max().unwrap_or(0);
        let nothing: Vec<f32> = vec![0.0; widest];
        let mut tensors = weights.tensors();
        tensors.extend(more);
        tensors.extend(zeros.iter().map(|(name, shape)| {
            let numel: usize = shape.iter().product();
            NamedTensor::new(name, shape, &nothing[..numel])
        }));
        write(&tensors, &[], None)
    }

    /// Holds the settings against each other, before anything is allocated for them.
    ///
    /// # Errors
    /// The first setting that no model can have.
    pub fn validate(&self) -> Result<(), ConfigError> {
        // Far above any model that exists, far below where a product of two could overflow.
        for (key, found, most) in [
            ("n_layer", self.n_layer, 1 << 10),
            ("n_head", self.n_head, 1 << 10),
            ("n_kv_head", self.n_kv_head, 1 << 10),
            ("d_model", self.d_model, 1 << 17),
            ("d_head", self.d_head, 1 << 12),
            ("d_ff", self.d_ff, 1 << 20),
            ("vocab_size", self.vocab_size, 1 << 24),
            ("context_len", self.context_len, 1 << 24),
        ] {
            if found == 0 || found > most {
                return Err(ConfigError::value(key, found, format!("1 to {most}")));
            }
        }
        for (key, found, valid, expected) in [
            ("dropout", self.dropout, (0.0..1.0).contains(&self.dropout), "at least 0 and less than 1"),
            ("norm_eps", self.norm_eps, self.norm_eps > 0.0 && self.norm_eps < 1.0, "between 0 and 1"),
            ("init_std", self.init_std, self.init_std > 0.0 && self.init_std < 100.0, "between 0 and 100"),
            (
                "rope_theta",
                self.rope_theta,
                self.rope_theta > 1.0 && self.rope_theta.is_finite(),
                "more than 1",
            ),
        ] {
            if !valid {
                return Err(ConfigError::value(key, found, expected));
            }
        }
        if !self.n_head.is_multiple_of(self.n_kv_head) {
            let expected = format!("a number that divides n_head ({})", self.n_head);
            return Err(ConfigError::value("n_kv_head", self.n_kv_head, expected));
        }
        match self.arch {
            Arch::Gpt2 => self.validate_gpt2()?,
            Arch::Llama => self.validate_llama()?,
        }
        if !self.d_head.is_multiple_of(4) || self.d_head > 256 {
            let expected = "a multiple of 4 up to 256, which the attention kernels can read";
            return Err(ConfigError::value("d_head", self.d_head, expected));
        }
        Ok(())
    }

    fn validate_gpt2(&self) -> Result<(), ConfigError> {
        if !self.d_model.is_multiple_of(self.n_head) {
            let expected = format!("a number that divides d_model ({})", self.d_model);
            return Err(ConfigError::value("n_head", self.n_head, expected));
        }
        if self.d_head != self.d_model / self.n_head {
            let expected = format!("d_model / n_head ({})", self.d_model / self.n_head);
            return Err(ConfigError::value("d_head", self.d_head, expected));
        }
        if self.n_kv_head != self.n_head {
            let expected = format!("n_head ({}): GPT-2 has no grouped queries", self.n_head);
            return Err(ConfigError::value("n_kv_head", self.n_kv_head, expected));
        }
        Ok(())
    }

    fn validate_llama(&self) -> Result<(), ConfigError> {
        if !self.d_head.is_multiple_of(2) {
            return Err(ConfigError::value("d_head", self.d_head, "an even number, for rotary positions"));
        }
        if self.bias {
            return Err(ConfigError::value("bias", true, "false: Llama has no biases"));
        }
        if self.activation != Activation::Silu {
            return Err(ConfigError::value(
                "activation",
                format!("{:?}", self.activation),
                "Silu, for SwiGLU",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_counts_are_those_of_hugging_face() {
        // Counted by `num_parameters()` of transformers 5.23, without the biases where the preset has none.
        for (name, tied, counted) in [
            ("tiny", true, 106_880),
            ("nano", true, 804_096),
            ("mini", true, 10_745_088),
            ("gpt2", true, 124_439_808),
            ("llama-tiny", true, 110_976),
            ("llama-nano", true, 812_288),
            ("llama-mini", true, 9_467_136),
            ("llama-tiny", false, 115_136),
            ("llama-nano", false, 820_608),
            ("llama-mini", false, 9_492_096),
        ] {
            let config = ModelConfig { tied, ..preset(name).unwrap().model };
            assert_eq!(config.n_params(), counted, "{name}");
        }
        let with_bias = ModelConfig { bias: true, ..preset("nano").unwrap().model };
        assert_eq!(with_bias.n_params(), 809_856);
        let zeros: usize =
            preset("nano").unwrap().model.extras().zeros.iter().map(|(_, shape)| shape[0]).sum();
        assert_eq!(zeros, 809_856 - 804_096, "the zero biases are those that a model with biases has");
    }

    #[test]
    fn impossible_settings_are_refused_by_name() {
        let gpt2 = preset("nano").unwrap().model;
        let llama = preset("llama-mini").unwrap().model;
        for (config, expected) in [
            (
                ModelConfig { n_head: 3, n_kv_head: 3, ..gpt2 },
                "n_head: found 3, expected a number that divides d_model (128)",
            ),
            (ModelConfig { n_layer: 0, ..gpt2 }, "n_layer: found 0, expected 1 to 1024"),
            (
                ModelConfig { d_model: usize::MAX, ..gpt2 },
                "d_model: found 18446744073709551615, expected 1 to 131072",
            ),
            (ModelConfig { d_head: 16, ..gpt2 }, "d_head: found 16, expected d_model / n_head (32)"),
            (
                ModelConfig { n_kv_head: 2, ..gpt2 },
                "n_kv_head: found 2, expected n_head (4): GPT-2 has no grouped queries",
            ),
            (
                ModelConfig { n_kv_head: 4, ..llama },
                "n_kv_head: found 4, expected a number that divides n_head (6)",
            ),
            (
                ModelConfig { d_head: 7, ..llama },
                "d_head: found 7, expected an even number, for rotary positions",
            ),
            (
                ModelConfig { d_head: 6, ..llama },
                "d_head: found 6, expected a multiple of 4 up to 256, which the attention kernels can read",
            ),
            (ModelConfig { bias: true, ..llama }, "bias: found true, expected false: Llama has no biases"),
            (ModelConfig { dropout: 1.0, ..gpt2 }, "dropout: found 1, expected at least 0 and less than 1"),
            (ModelConfig { norm_eps: f32::NAN, ..gpt2 }, "norm_eps: found NaN, expected between 0 and 1"),
        ] {
            assert_eq!(config.validate().unwrap_err().to_string(), expected);
            config.n_params(); // must not overflow, whatever the sizes
        }
    }
}
