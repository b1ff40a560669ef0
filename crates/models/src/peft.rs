//! Adapter folders as Hugging Face's PEFT lays them out: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! The names of tensors are ours with `base_model.model.` in front. Which base the adapter was trained beside is said by
//! name in the configuration, as PEFT does, and by fingerprint in the metadata of the weights, where PEFT passes over it.

use cloche_nn::HostWeights;
use cloche_nn::checkpoint::{Checkpoint, CheckpointError, Extras, NamedTensor, write};
use cloche_nn::lora::{ALL_LINEAR, LoraConfig};
use cloche_tensor::Device;
use serde_json::{Value, json};

use crate::config::{Arch, ConfigError, Keys, ModelConfig, decimal};
use crate::lora::{Adapter, AdapterError, Base, layers};

/// The file that says what the adapter is.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// The file that holds its parameters.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// Variants of PEFT's that compute something else, where they are not off: absent, null, false or empty.
const UNSUPPORTED: [&str; 12] = [
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "monteclora_config",
    "rank_pattern",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "use_rslora",
];

const PREFIX: &str = "base_model.model.";
const FACTOR: &str = ".lora_A.weight";
const FINGERPRINT: &str = "base_sha256";

impl Adapter {
    /// The files of the folder, as (name, bytes).
    ///
    /// # Errors
    /// A lost device.
    pub async fn to_peft(
        &self,
        model: &ModelConfig,
        base: &Base,
    ) -> Result<Vec<(String, Vec<u8>)>, AdapterError> {
        let host = self.weights.read().await?;
        let names: Vec<String> = host.specs().iter().map(|s| format!("{PREFIX}{}", s.path)).collect();
        let tensors = host.tensors();
        let tensors: Vec<NamedTensor> =
            tensors.iter().zip(&names).map(|(tensor, name)| tensor.renamed(name)).collect();
        let config = self.peft_config(model, base);
        let mut files = vec![(CONFIG_FILE.to_string(), format!("{config:#}\n").into_bytes())];
        let weights = write(&tensors, &[(FINGERPRINT, base.fingerprint.as_str())], None)?;
        files.extend(weights.into_iter().map(|(_, bytes)| (WEIGHTS_FILE.to_string(), bytes)));
        Ok(files)
    }

    /// Opens the files of a folder, ours or PEFT's, for a model whose base is `base`; other files are passed over.
    ///
    /// # Errors
    /// A file that is missing or not what it should be; another kind of adapter than LoRA; an adapter for another model,
    /// or for another base, where the files name it; a device that cannot hold the weights.
    pub fn from_peft(
        device: &Device,
        model: &ModelConfig,
        base: &Base,
        files: Vec<(String, Vec<u8>)>,
    ) -> Result<Adapter, AdapterError> {
        let text = files.iter().find(|(name, _)| name == CONFIG_FILE).map(|(_, bytes)| bytes.clone());
        let text = text.ok_or_else(|| not_found(CONFIG_FILE))?;
        let keys = Keys::parse(&String::from_utf8_lossy(&text))?;
        let mut checkpoint = match files.into_iter().find(|(name, _)| name.starts_with("adapter_model.")) {
            Some(file) => Checkpoint::from_bytes(vec![file])?,
            None => return Err(not_found(WEIGHTS_FILE).into()),
        };
        if let Some(fingerprint) = checkpoint.metadata(FINGERPRINT).filter(|found| *found != base.fingerprint)
        {
            let name = keys.text("base_model_name_or_path")?.unwrap_or("").to_string();
            let adapter = Base { name, fingerprint: fingerprint.to_string() };
            return Err(AdapterError::OtherBase { adapter, model: base.clone() });
        }
        let config = read_config(&keys, model, &checkpoint)?;
        let specs = Adapter::specs(model, &config)?;
        let weights = HostWeights::load(&specs, PREFIX, &mut checkpoint, &Extras::default())?;
        Ok(Adapter { config, weights: weights.upload(device)? })
    }

    fn peft_config(&self, model: &ModelConfig, base: &Base) -> Value {
        let LoraConfig { rank, alpha, dropout, targets, whole } = &self.config;
        let layers = layers(model);
        let mut target_modules: Vec<&str> = Vec::new();
        for target in targets {
            if target != ALL_LINEAR {
                target_modules.push(target);
                continue;
            }
            // PEFT takes the name of all layers only as a string by itself. These are what it would come to.
            for layer in &layers {
                let Some((_, end)) = layer.path.rsplit_once('.') else { continue };
                if !target_modules.contains(&end) {
                    target_modules.push(end);
                }
            }
        }
        let scores = whole.iter().any(|name| name == "score");
        let fraction = |x: f32| serde_json::from_str(&decimal(x)).unwrap_or(Value::Null);
        let alpha = if alpha.fract() == 0.0 { json!(*alpha as u64) } else { fraction(*alpha) };
        json!({
            "peft_type": "LORA",
            "task_type": if scores { "SEQ_CLS" } else { "CAUSAL_LM" },
            "base_model_name_or_path": base.name,
            "r": rank,
            "lora_alpha": alpha,
            "lora_dropout": fraction(*dropout),
            "target_modules": target_modules,
            "modules_to_save": if whole.is_empty() { Value::Null } else { json!(whole) },
            // How PEFT calls the layout of Conv1D.
            "fan_in_fan_out": model.arch == Arch::Gpt2,
            "bias": "none",
            "inference_mode": true,
            "init_lora_weights": true,
            "use_rslora": false,
            "use_dora": false,
        })
    }
}

/// What a configuration says, as far as the file of weights bears it out.
fn read_config(keys: &Keys, model: &ModelConfig, file: &Checkpoint) -> Result<LoraConfig, AdapterError> {
    // 1. Nothing that would compute something else.
    for (key, only, default) in [("peft_type", "LORA", ""), ("bias", "none", "none")] {
        let found = keys.text(key)?.unwrap_or(default);
        if found != only {
            return Err(ConfigError::value(key, format!("{found:?}"), format!("{only:?}")).into());
        }
    }
    for key in UNSUPPORTED {
        let off = |v: &Value| *v == json!(false) || *v == json!({});
        keys.get(key, "nothing: it changes what the adapter computes", |v| off(v).then_some(()))?;
    }
    let keeps_base =
        |v: &Value| v.is_boolean() || ["gaussian", "orthogonal", "eva"].iter().any(|name| v == name);
    keys.get("init_lora_weights", "an initialisation that leaves the base as it is", |v| {
        keeps_base(v).then_some(())
    })?;
    // 2. Which layers: the listed ones, where that is what the file has. A regular expression, an exclusion or a range of
    //    layers is told by the file just as well.
    let paths: Vec<&str> = file.names().filter_map(|name| name.strip_prefix(PREFIX)).collect();
    let stored: Vec<&str> = paths.iter().filter_map(|path| path.strip_suffix(FACTOR)).collect();
    let within = |path: &str, name: &str| {
        path.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let mut targets = match keys.0.get("target_modules") {
        Some(Value::Array(_)) => names(keys, "target_modules")?,
        _ => Vec::new(),
    };
    targets.retain(|target| stored.iter().any(|path| within(path, target)));
    let mut whole = names(keys, "modules_to_save")?;
    whole.retain(|name| {
        paths.iter().any(|path| path.rsplit_once('.').is_some_and(|(path, _)| within(path, name)))
    });
    let mut config = LoraConfig {
        rank: keys.size("r")?,
        alpha: keys.number("lora_alpha", 8.0)?,
        dropout: keys.number("lora_dropout", 0.0)?,
        targets,
        whole,
    };
    let layers = layers(model);
    let as_listed = config.adapted(&layers).is_ok_and(|adapted| {
        adapted.len() == stored.len() && adapted.iter().all(|layer| stored.contains(&layer.path.as_str()))
    });
    if !as_listed {
        config.targets = stored.iter().map(|path| path.to_string()).collect();
    }
    Ok(config)
}

/// A list of names, or none.
fn names(keys: &Keys, key: &str) -> Result<Vec<String>, ConfigError> {
    let read = |value: &Value| -> Option<Vec<String>> {
        value.as_array()?.iter().map(|name| name.as_str().map(str::to_string)).collect()
    };
    Ok(keys.get(key, "a list of names", read)?.unwrap_or_default())
}

fn not_found(file: &str) -> CheckpointError {
    CheckpointError::NotFound { what: file.into() }
}
