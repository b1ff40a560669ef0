//! Hugging Face's `config.json` and `generation_config.json`, as transformers 4 and 5 write and read them.
//!
//! Theirs → ours, GPT-2: `n_embd` → `d_model`, `n_inner` → `d_ff`, `n_positions` → `context_len`. Llama: `hidden_size` →
//! `d_model`, `intermediate_size` → `d_ff`, `num_hidden_layers` → `n_layer`, `num_attention_heads` → `n_head`,
//! `num_key_value_heads` → `n_kv_head`, `head_dim` → `d_head`, `max_position_embeddings` → `context_len`. What a file
//! leaves out has the value that transformers gives it; what would change the computation in a way that we do not
//! implement is an error, not a surprise.

use serde_json::Value;

use super::json::{Object, decimal, list, or_null, quoted};
use super::keys::{Keys, number, token_id};
use super::{Activation, Arch, ConfigError, ModelConfig};

/// The ids that begin, end and pad a text, where the tokenizer has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenIds {
    /// Begins a text.
    pub bos: Option<u32>,
    /// Each of these ends a text.
    pub eos: Vec<u32>,
    /// Fills up shorter rows of a batch.
    pub pad: Option<u32>,
}

/// What a folder's model makes of its last hidden states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// The logits of the next token.
    Logits,
    /// One number at each position: a reward model.
    Score,
}

/// How a model is best sampled from, by the judgement of whoever published it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationConfig {
    /// The ids that begin, end and pad a text.
    pub tokens: TokenIds,
    /// Whether to sample rather than to take the likeliest token.
    pub do_sample: Option<bool>,
    /// What logits are divided by.
    pub temperature: Option<f32>,
    /// Only the `top_k` likeliest tokens are considered.
    pub top_k: Option<usize>,
    /// Only the likeliest tokens that together reach this probability are considered.
    pub top_p: Option<f32>,
    /// Only tokens with at least this share of the likeliest one's probability are considered.
    pub min_p: Option<f32>,
    /// What the logits of tokens that have occurred are divided by.
    pub repetition_penalty: Option<f32>,
    /// The most tokens to generate.
    pub max_new_tokens: Option<usize>,
}

impl ModelConfig {
    /// Writes `config.json` for `GPT2LMHeadModel` or `LlamaForCausalLM`.
    pub fn to_hf_json(&self, tokens: &TokenIds) -> String {
        self.hf_json(tokens).file()
    }

    /// Writes `config.json` for `GPT2ForSequenceClassification` or `LlamaForSequenceClassification` with one label: the
    /// score at the last token of a text that is not `tokens.pad`. Without a pad they take one text at a time.
    pub fn to_hf_score_json(&self, tokens: &TokenIds) -> String {
        let mut json = self.hf_json(tokens);
        let class = match self.arch {
            Arch::Gpt2 => "GPT2ForSequenceClassification",
            Arch::Llama => "LlamaForSequenceClassification",
        };
        json.extend([
            ("architectures", list([quoted(class)])),
            // transformers counts the labels by their names.
            ("id2label", Object::of([("0", quoted("score"))]).text()),
            ("label2id", Object::of([("score", "0".into())]).text()),
            ("num_labels", "1".into()),
        ]);
        json.file()
    }

    pub(super) fn hf_json(&self, tokens: &TokenIds) -> Object {
        let mut json = match self.arch {
            Arch::Gpt2 => self.gpt2_json(),
            Arch::Llama => self.llama_json(),
        };
        json.extend([
            ("vocab_size", self.vocab_size.to_string()),
            ("tie_word_embeddings", self.tied.to_string()),
            ("initializer_range", decimal(self.init_std)),
            ("dtype", quoted("float32")),
            ("use_cache", "true".into()),
        ]);
        json.extend(tokens.json());
        json
    }

    /// Reads `config.json` of GPT-2 and Llama models, and validates it.
    ///
    /// # Errors
    /// The first key that is missing, of the wrong type, or asks for what we do not implement.
    pub fn from_hf_json(text: &str) -> Result<Self, ConfigError> {
        let keys = Keys::parse(text)?;
        let config = match keys.text("model_type")? {
            Some("gpt2") => read_gpt2(&keys)?,
            Some("llama") => read_llama(&keys)?,
            other => {
                let found = other.map_or("nothing".into(), |name| format!("{name:?}"));
                return Err(ConfigError::value("model_type", found, "\"gpt2\" or \"llama\""));
            }
        };
        config.validate()?;
        Ok(config)
    }

    fn gpt2_json(&self) -> Object {
        let dropout = decimal(self.dropout);
        let mut json = Object::of([
            ("architectures", list([quoted("GPT2LMHeadModel")])),
            ("model_type", quoted("gpt2")),
            ("n_layer", self.n_layer.to_string()),
            ("n_head", self.n_head.to_string()),
            ("n_embd", self.d_model.to_string()),
            ("n_inner", self.d_ff.to_string()),
            ("n_positions", self.context_len.to_string()),
            ("activation_function", quoted(self.activation.hf_name())),
            ("layer_norm_epsilon", decimal(self.norm_eps)),
            ("resid_pdrop", dropout.clone()),
            ("embd_pdrop", dropout.clone()),
            ("attn_pdrop", dropout),
        ]);
        if !self.bias {
            json.set("cloche", Object::of([("bias", "false".into())]).text());
        }
        json
    }

    fn llama_json(&self) -> Object {
        let theta = decimal(self.rope_theta);
        Object::of([
            ("architectures", list([quoted("LlamaForCausalLM")])),
            ("model_type", quoted("llama")),
            ("num_hidden_layers", self.n_layer.to_string()),
            ("num_attention_heads", self.n_head.to_string()),
            ("num_key_value_heads", self.n_kv_head.to_string()),
            ("hidden_size", self.d_model.to_string()),
            ("head_dim", self.d_head.to_string()),
            ("intermediate_size", self.d_ff.to_string()),
            ("max_position_embeddings", self.context_len.to_string()),
            ("hidden_act", quoted(self.activation.hf_name())),
            ("rms_norm_eps", decimal(self.norm_eps)),
            ("attention_dropout", decimal(self.dropout)),
            ("attention_bias", "false".into()),
            ("mlp_bias", "false".into()),
            // transformers 4 reads the first, transformers 5 the second.
            ("rope_theta", theta.clone()),
            ("rope_parameters", Object::of([("rope_type", quoted("default")), ("rope_theta", theta)]).text()),
        ])
    }
}

fn read_gpt2(keys: &Keys) -> Result<ModelConfig, ConfigError> {
    keys.must_be("scale_attn_weights", true, true)?;
    keys.must_be("scale_attn_by_inverse_layer_idx", false, false)?;
    keys.must_be("add_cross_attention", false, false)?;
    let (n_head, d_model) = (keys.size("n_head")?, keys.size("n_embd")?);
    let bias = match keys.0.get("cloche") {
        Some(Value::Object(ours)) => Keys(ours.clone()).flag("bias", true)?,
        _ => true,
    };
    Ok(ModelConfig {
        arch: Arch::Gpt2,
        n_layer: keys.size("n_layer")?,
        n_head,
        n_kv_head: n_head,
        d_model,
        d_head: d_model / n_head.max(1),
        d_ff: keys.optional_size("n_inner")?.unwrap_or(d_model.saturating_mul(4)),
        vocab_size: keys.size("vocab_size")?,
        context_len: keys.size("n_positions")?,
        tied: keys.flag("tie_word_embeddings", true)?,
        bias,
        dropout: keys.number("resid_pdrop", 0.1)?,
        activation: activation(keys, "activation_function", "gelu_new")?,
        norm_eps: keys.number("layer_norm_epsilon", 1e-5)?,
        rope_theta: 10_000.0,
        init_std: keys.number("initializer_range", 0.02)?,
    })
}

fn read_llama(keys: &Keys) -> Result<ModelConfig, ConfigError> {
    keys.must_be("attention_bias", false, false)?;
    keys.must_be("mlp_bias", false, false)?;
    let (n_head, d_model) = (keys.size("num_attention_heads")?, keys.size("hidden_size")?);
    let mut rope_theta = keys.number("rope_theta", 10_000.0)?;
    // transformers 5 keeps all of it in rope_parameters, 4 only what departs from plain RoPE, in rope_scaling.
    for key in ["rope_parameters", "rope_scaling"] {
        if let Some(Value::Object(rope)) = keys.0.get(key) {
            let rope = Keys(rope.clone());
            rope_theta = rope.number("rope_theta", rope_theta)?;
            let kind = rope.text("rope_type")?.or(rope.text("type")?).unwrap_or("default");
            if kind != "default" {
                let key = format!("{key}.rope_type");
                return Err(ConfigError::value(&key, format!("{kind:?}"), "\"default\""));
            }
        }
    }
    Ok(ModelConfig {
        arch: Arch::Llama,
        n_layer: keys.size("num_hidden_layers")?,
        n_head,
        n_kv_head: keys.optional_size("num_key_value_heads")?.unwrap_or(n_head),
        d_model,
        d_head: keys.optional_size("head_dim")?.unwrap_or(d_model / n_head.max(1)),
        d_ff: keys.size("intermediate_size")?,
        vocab_size: keys.size("vocab_size")?,
        context_len: keys.size("max_position_embeddings")?,
        tied: keys.flag("tie_word_embeddings", false)?,
        bias: false,
        dropout: keys.number("attention_dropout", 0.0)?,
        activation: activation(keys, "hidden_act", "silu")?,
        norm_eps: keys.number("rms_norm_eps", 1e-6)?,
        rope_theta,
        init_std: keys.number("initializer_range", 0.02)?,
    })
}

fn activation(keys: &Keys, key: &str, default: &str) -> Result<Activation, ConfigError> {
    match keys.text(key)?.unwrap_or(default) {
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        "silu" | "swish" => Ok(Activation::Silu),
        other => Err(ConfigError::value(key, format!("{other:?}"), "\"gelu\", \"gelu_new\" or \"silu\"")),
    }
}

impl Activation {
    /// What Hugging Face calls it.
    fn hf_name(self) -> &'static str {
        match self {
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_new",
            Self::Silu => "silu",
        }
    }
}

impl Head {
    /// Reads from `config.json` what the model of a folder is for.
    ///
    /// # Errors
    /// A classifier into several classes, or another class of models.
    pub fn from_hf_json(text: &str) -> Result<Self, ConfigError> {
        let keys = Keys::parse(text)?;
        let architectures = keys.get("architectures", "a list", Value::as_array)?;
        let class = architectures.and_then(|list| list.first()).and_then(Value::as_str).unwrap_or("");
        match class {
            "" | "GPT2LMHeadModel" | "LlamaForCausalLM" => Ok(Head::Logits),
            "GPT2ForSequenceClassification" | "LlamaForSequenceClassification" => {
                let names = keys.get("id2label", "an object", Value::as_object)?.map(|names| names.len());
                // transformers has two labels where a file says nothing.
                match names.or(keys.optional_size("num_labels")?).unwrap_or(2) {
                    1 => Ok(Head::Score),
                    n => Err(ConfigError::value("num_labels", n, "1, for a model that scores texts")),
                }
            }
            other => {
                let expected = "a class for CausalLM or SequenceClassification of GPT-2 or Llama";
                Err(ConfigError::value("architectures", format!("{other:?}"), expected))
            }
        }
    }
}

impl TokenIds {
    /// Reads the ids from `config.json` or `generation_config.json`.
    ///
    /// # Errors
    /// An id that is not a whole number.
    pub fn from_hf_json(text: &str) -> Result<Self, ConfigError> {
        Self::from_keys(&Keys::parse(text)?)
    }

    fn from_keys(keys: &Keys) -> Result<Self, ConfigError> {
        let [bos, pad] = ["bos_token_id", "pad_token_id"].map(|key| keys.get(key, "a token id", token_id));
        let eos = keys.get("eos_token_id", "a token id or a list of them", |value| match value {
            Value::Array(list) => list.iter().map(token_id).collect::<Option<Vec<u32>>>(),
            one => token_id(one).map(|id| vec![id]),
        })?;
        Ok(Self { bos: bos?, eos: eos.unwrap_or_default(), pad: pad? })
    }

    fn json(&self) -> [(&'static str, String); 3] {
        let eos = match self.eos.as_slice() {
            [] | [_] => or_null(self.eos.first().copied()),
            several => list(several.iter().map(|id| id.to_string())),
        };
        [("bos_token_id", or_null(self.bos)), ("eos_token_id", eos), ("pad_token_id", or_null(self.pad))]
    }
}

impl GenerationConfig {
    /// Writes `generation_config.json`; what is `None` is left to transformers.
    pub fn to_hf_json(&self) -> String {
        let mut json = Object::of(self.tokens.json());
        let set = [
            ("do_sample", self.do_sample.map(|on| on.to_string())),
            ("temperature", self.temperature.map(decimal)),
            ("top_k", self.top_k.map(|k| k.to_string())),
            ("top_p", self.top_p.map(decimal)),
            ("min_p", self.min_p.map(decimal)),
            ("repetition_penalty", self.repetition_penalty.map(decimal)),
            ("max_new_tokens", self.max_new_tokens.map(|n| n.to_string())),
        ];
        json.extend(set.into_iter().filter_map(|(key, value)| Some((key, value?))));
        json.file()
    }

    /// Reads `generation_config.json`.
    ///
    /// # Errors
    /// The first key that is of the wrong type.
    pub fn from_hf_json(text: &str) -> Result<Self, ConfigError> {
        let keys = Keys::parse(text)?;
        Ok(Self {
            tokens: TokenIds::from_keys(&keys)?,
            do_sample: keys.get("do_sample", "true or false", Value::as_bool)?,
            temperature: keys.get("temperature", "a number", number)?,
            top_k: keys.optional_size("top_k")?,
            top_p: keys.get("top_p", "a number", number)?,
            min_p: keys.get("min_p", "a number", number)?,
            repetition_penalty: keys.get("repetition_penalty", "a number", number)?,
            max_new_tokens: keys.optional_size("max_new_tokens")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::PRESETS;
    use super::*;

    #[test]
    fn every_preset_survives_a_round_trip() {
        let tokens = TokenIds { bos: Some(0), eos: vec![0, 3], pad: None };
        for preset in PRESETS {
            for tied in [false, true] {
                let config = ModelConfig { tied, ..preset.model };
                let json = config.to_hf_json(&tokens);
                assert_eq!(ModelConfig::from_hf_json(&json).unwrap(), config, "{}", preset.name);
                assert_eq!(TokenIds::from_hf_json(&json).unwrap(), tokens);
                assert!(!json.contains("99999"), "floats are written short: {json}");
            }
        }
    }

    #[test]
    fn a_folder_says_what_its_model_is_for() {
        let tokens = TokenIds { pad: Some(1), ..Default::default() };
        for name in ["nano", "llama-nano"] {
            let config = super::super::preset(name).unwrap().model;
            let json = config.to_hf_score_json(&tokens);
            assert_eq!(Head::from_hf_json(&json).unwrap(), Head::Score);
            assert_eq!(ModelConfig::from_hf_json(&json).unwrap(), config);
            assert_eq!(TokenIds::from_hf_json(&json).unwrap(), tokens);
            assert_eq!(Head::from_hf_json(&config.to_hf_json(&tokens)).unwrap(), Head::Logits);
        }
        let error = |json: &str| Head::from_hf_json(json).unwrap_err().to_string();
        assert_eq!(
            error(r#"{"architectures": ["GPT2ForSequenceClassification"]}"#),
            "num_labels: found 2, expected 1, for a model that scores texts"
        );
        assert_eq!(
            error(r#"{"architectures": ["GPT2DoubleHeadsModel"]}"#),
            "architectures: found \"GPT2DoubleHeadsModel\", expected a class for CausalLM or SequenceClassification of \
             GPT-2 or Llama"
        );
    }

    #[test]
    fn a_generation_config_survives_a_round_trip() {
        let config = GenerationConfig {
            tokens: TokenIds { bos: None, eos: vec![7], pad: Some(1) },
            temperature: Some(0.8),
            top_k: Some(200),
            ..Default::default()
        };
        let json = config.to_hf_json();
        assert_eq!(GenerationConfig::from_hf_json(&json).unwrap(), config);
        assert!(json.contains("\"temperature\": 0.8") && !json.contains("top_p"), "{json}");
    }

    #[test]
    fn both_ways_of_writing_rope_are_read() {
        let base = r#""model_type":"llama","vocab_size":9,"hidden_size":32,"intermediate_size":64,
            "num_hidden_layers":2,"num_attention_heads":4,"max_position_embeddings":16"#;
        let read = |rest: &str| ModelConfig::from_hf_json(&format!("{{{base}{rest}}}"));
        let plain = read("").unwrap();
        assert_eq!((plain.rope_theta, plain.n_kv_head, plain.d_head, plain.tied), (10_000.0, 4, 8, false));
        assert_eq!(read(r#","rope_theta":5e5,"torch_dtype":"bfloat16""#).unwrap().rope_theta, 5e5);
        let inner = read(r#","dtype":"float32","rope_parameters":{"rope_theta":3e4,"rope_type":"default"}"#);
        assert_eq!(inner.unwrap().rope_theta, 3e4);
        for (rest, message) in [
            (
                r#","rope_scaling":{"rope_type":"llama3"}"#,
                "rope_scaling.rope_type: found \"llama3\", expected \"default\"",
            ),
            (r#","mlp_bias":true"#, "mlp_bias: found true, expected false"),
            (r#","head_dim":-8"#, "head_dim: found -8, expected a whole number"),
            (
                r#","hidden_act":"relu""#,
                "hidden_act: found \"relu\", expected \"gelu\", \"gelu_new\" or \"silu\"",
            ),
            (r#","num_key_value_heads":3"#, "n_kv_head: found 3, expected a number that divides n_head (4)"),
        ] {
            assert_eq!(read(rest).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn what_gpt2_leaves_out_has_transformers_defaults() {
        let json = r#"{"model_type":"gpt2","vocab_size":50257,"n_embd":768,"n_layer":12,"n_head":12,
            "n_positions":1024,"n_ctx":1024,"n_inner":null}"#;
        let read = ModelConfig::from_hf_json(json).unwrap();
        assert_eq!(read, ModelConfig { dropout: 0.1, ..PRESETS[3].model });
        for (json, message) in [
            ("[]", "not valid JSON: invalid type: sequence, expected a map at line 1 column 0"),
            ("{}", "model_type: found nothing, expected \"gpt2\" or \"llama\""),
            (r#"{"model_type":"bert"}"#, "model_type: found \"bert\", expected \"gpt2\" or \"llama\""),
            (r#"{"model_type":"gpt2"}"#, "n_head: found nothing, expected a whole number"),
            (
                r#"{"model_type":"gpt2","n_head":0,"n_embd":1e99}"#,
                "n_embd: found 1e+99, expected a whole number",
            ),
        ] {
            assert_eq!(ModelConfig::from_hf_json(json).unwrap_err().to_string(), message);
        }
    }
}
