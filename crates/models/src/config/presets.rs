//! Models of known sizes, each with the settings that are known to train it.

use super::{Activation, Arch, ConfigError, ModelConfig};

/// A model of a known size, by name.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// The name given on command lines and in pages.
    pub name: &'static str,
    /// What it is for, in one sentence.
    pub summary: &'static str,
    /// The model; its vocabulary is the one its tokenizer gave where that was trained on another text.
    pub model: ModelConfig,
    /// How it is trained.
    pub training: TrainingDefaults,
}

/// Settings of pre-training: AdamW under a warm-up and a cosine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingDefaults {
    /// Rows of one step, `B`.
    pub batch_size: usize,
    /// Steps of a whole run.
    pub steps: usize,
    /// The learning rate after warm-up.
    pub lr: f32,
    /// The learning rate at the end of the cosine.
    pub min_lr: f32,
    /// Steps in which the learning rate grows from 0 to `lr`.
    pub warmup_steps: usize,
    /// AdamW's memory of gradients.
    pub beta1: f32,
    /// AdamW's memory of squared gradients.
    pub beta2: f32,
    /// AdamW's decay of matrices; norms and biases are left alone.
    pub weight_decay: f32,
    /// Gradients are shortened to this norm.
    pub max_grad_norm: f32,
}

/// Small GPT-2s as nanoGPT trains them, <https://github.com/karpathy/nanoGPT> (2022): no biases, exact GELU.
const fn gpt2(n_layer: usize, n_head: usize, d_model: usize, context_len: usize) -> ModelConfig {
    ModelConfig {
        arch: Arch::Gpt2,
        n_layer,
        n_head,
        n_kv_head: n_head,
        d_model,
        d_head: d_model / n_head,
        d_ff: 4 * d_model,
        vocab_size: TINY_SHAKESPEARE_CHARS,
        context_len,
        tied: true,
        bias: false,
        dropout: 0.0,
        activation: Activation::Gelu,
        norm_eps: 1e-5,
        rope_theta: 10_000.0,
        init_std: 0.02,
    }
}

/// A Llama of the same width. SwiGLU has three matrices where GPT-2 has two, so its inner width is 8/3 of the model's
/// instead of 4 times (Shazeer 2020), rounded up to a multiple of 32.
const fn llama(n_layer: usize, n_head: usize, d_model: usize, context_len: usize) -> ModelConfig {
    ModelConfig {
        arch: Arch::Llama,
        d_ff: (8 * d_model).div_ceil(3).next_multiple_of(32),
        activation: Activation::Silu,
        ..gpt2(n_layer, n_head, d_model, context_len)
    }
}

/// The number of different characters in Tiny Shakespeare.
const TINY_SHAKESPEARE_CHARS: usize = 65;

/// nanoGPT's settings for Tiny Shakespeare on a CPU.
const SMALL: TrainingDefaults = TrainingDefaults {
    batch_size: 12,
    steps: 2000,
    lr: 1e-3,
    min_lr: 1e-4,
    warmup_steps: 100,
    beta1: 0.9,
    beta2: 0.99,
    weight_decay: 0.1,
    max_grad_norm: 1.0,
};

const MEDIUM: TrainingDefaults = TrainingDefaults { batch_size: 64, steps: 5000, ..SMALL };

/// So small a model bears a larger step, and shows words within seconds for it.
const TINY: TrainingDefaults = TrainingDefaults { steps: 1000, lr: 3e-3, min_lr: 3e-4, ..SMALL };

/// nanoGPT's settings for GPT-2 itself, without the gradient accumulation.
const LARGE: TrainingDefaults =
    TrainingDefaults { steps: 600_000, lr: 6e-4, min_lr: 6e-5, warmup_steps: 2000, beta2: 0.95, ..SMALL };

/// All presets, smallest first.
pub const PRESETS: [Preset; 7] = [
    Preset {
        name: "tiny",
        summary: "A GPT-2 of 0.1M parameters that learns something within seconds on a CPU.",
        model: gpt2(2, 4, 64, 64),
        training: TINY,
    },
    Preset {
        name: "nano",
        summary: "nanoGPT's configuration for a CPU, 0.8M parameters.",
        model: gpt2(4, 4, 128, 64),
        training: SMALL,
    },
    Preset {
        name: "mini",
        summary: "nanoGPT's configuration for a GPU, 10.7M parameters.",
        model: ModelConfig { dropout: 0.2, ..gpt2(6, 6, 384, 256) },
        training: MEDIUM,
    },
    Preset {
        name: "gpt2",
        summary: "OpenAI's smallest GPT-2, 124M parameters.",
        model: ModelConfig {
            vocab_size: 50_257,
            bias: true,
            activation: Activation::GeluTanh,
            ..gpt2(12, 12, 768, 1024)
        },
        training: LARGE,
    },
    Preset {
        name: "llama-tiny",
        summary: "A Llama of the size of tiny.",
        model: llama(2, 4, 64, 64),
        training: TINY,
    },
    Preset {
        name: "llama-nano",
        summary: "A Llama of the size of nano.",
        model: llama(4, 4, 128, 64),
        training: SMALL,
    },
    Preset {
        name: "llama-mini",
        summary: "A Llama of the size of mini; three query heads share a key/value head.",
        model: ModelConfig { n_kv_head: 2, dropout: 0.2, ..llama(6, 6, 384, 256) },
        training: MEDIUM,
    },
];

/// The preset of a name.
///
/// # Errors
/// No preset has that name; the message lists those there are.
pub fn preset(name: &str) -> Result<&'static Preset, ConfigError> {
    PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        ConfigError::value("preset", format!("{name:?}"), format!("one of {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid() {
        for Preset { name, model, training, .. } in PRESETS {
            model.validate().unwrap();
            assert!(training.min_lr < training.lr && training.warmup_steps < training.steps, "{name}");
        }
        assert_eq!(PRESETS.map(|preset| preset.model.d_ff), [256, 512, 1536, 3072, 192, 352, 1024]);
        let error = preset("micro").unwrap_err().to_string();
        assert!(error.starts_with("preset: found \"micro\", expected one of tiny, nano"), "{error}");
    }
}
