//! A model folder as Hugging Face lays it out: opened to be used, written to be carried away.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use clap::ValueEnum;
use cloche_models::config::{GenerationConfig, Head, ModelConfig, TokenIds, quantization};
use cloche_models::{Adapter, Base, Network, Precision, QuantizedModel, peft};
use cloche_nn::checkpoint::Checkpoint;
use cloche_nn::{HostWeights, Weights};
use cloche_tensor::Device;
use cloche_text::Tokenizer;

use crate::device;

/// A small file of a folder from elsewhere is not read beyond this.
const MAX_JSON_BYTES: u64 = 32 << 20;

/// A model that is ready to be asked.
pub struct Model {
    /// Its shape, and its parameters on the device.
    pub network: Network,
    /// The ids that begin and end texts, and how the model is best sampled from.
    pub generation: GenerationConfig,
}

/// Opens the model in a folder, whole or quantised, as its files are.
///
/// # Errors
/// A file that is missing or not what it should be; a model that does not fit in memory.
pub fn open(folder: &Path, device: &Device) -> Result<Model> {
    let text = read_json(folder, "config.json")?.ok_or_else(|| missing(folder, "config.json"))?;
    let in_config = |error| anyhow!("config.json: {error}");
    let config = ModelConfig::from_hf_json(&text).map_err(in_config)?;
    let mut generation = match read_json(folder, "generation_config.json")? {
        Some(text) => GenerationConfig::from_hf_json(&text)
            .map_err(|error| anyhow!("generation_config.json: {error}"))?,
        None => GenerationConfig::default(),
    };
    if generation.tokens == TokenIds::default() {
        generation.tokens = TokenIds::from_hf_json(&text).map_err(in_config)?;
    }
    let precision = quantization(&text).map_err(in_config)?;
    let mut checkpoint = Checkpoint::open_folder(folder)?;
    // The weights are there twice for a moment: as read, and on the device.
    let bytes =
        if precision.is_some() { checkpoint.total_bytes() } else { config.n_params().saturating_mul(4) };
    device::require_memory(device, "the model", bytes.saturating_mul(2))?;
    let network = match precision {
        Some(precision) => QuantizedModel::load(&config, precision, &mut checkpoint)?.upload(device)?,
        None => {
            let specs = cloche_models::specs(&config);
            Network::new(config, Weights::load(device, &specs, &mut checkpoint, &config.extras())?)
        }
    };
    Ok(Model { network, generation })
}

/// Requires a model that can learn, be an adapter's base, or be quantised.
///
/// # Errors
/// A model that is quantised.
pub fn expect_whole(folder: &Path, network: &Network) -> Result<()> {
    match network.quantized {
        None => Ok(()),
        Some(_) => bail!(
            "{}: the model is quantised: it can speak and be evaluated, but neither learn, teach, carry an adapter nor be quantised",
            folder.display()
        ),
    }
}

/// Opens the reward model in a folder.
///
/// # Errors
/// As [`open`]; a model that makes words and not scores.
pub fn open_judge(folder: &Path, device: &Device) -> Result<Network> {
    let text = read_json(folder, "config.json")?.ok_or_else(|| missing(folder, "config.json"))?;
    let in_config = |error| anyhow!("{}: config.json: {error}", folder.display());
    if Head::from_hf_json(&text).map_err(in_config)? != Head::Score {
        bail!("{}: found a model that makes words, expected one that scores them", folder.display());
    }
    let config = ModelConfig::from_hf_json(&text).map_err(in_config)?;
    if quantization(&text).map_err(in_config)?.is_some() {
        bail!("{}: found a quantised reward model, expected a whole one", folder.display());
    }
    let mut checkpoint = Checkpoint::open_folder(folder)?;
    device::require_memory(device, "the reward model", config.n_params().saturating_mul(2 * 4))?;
    let specs = cloche_models::score_specs(&config);
    let weights = Weights::load(device, &specs, &mut checkpoint, &config.extras())?;
    Ok(Network::new(config, weights))
}

/// Whether a folder, or an adapter to it, holds a reward model.
///
/// # Errors
/// A file that is missing or not what it should be.
pub fn is_judge(folder: &Path, adapter: Option<&Path>) -> Result<bool> {
    let text = read_json(folder, "config.json")?.ok_or_else(|| missing(folder, "config.json"))?;
    let Some(adapter) = adapter else { return Ok(matches!(Head::from_hf_json(&text), Ok(Head::Score))) };
    let name = peft::CONFIG_FILE;
    let text = read_json(adapter, name)?.ok_or_else(|| missing(adapter, name))?;
    let config: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| anyhow!("{}: {name}: {error}", adapter.display()))?;
    let whole = config["modules_to_save"].as_array();
    Ok(whole.is_some_and(|modules| modules.iter().any(|module| module == "score")))
}

/// Opens the reward model of a folder and an adapter that brings the head, or of the folder alone.
///
/// # Errors
/// As [`open_judge`] and [`open_with`].
pub fn open_judge_with(folder: &Path, adapter: Option<&Path>, device: &Device) -> Result<Model> {
    match adapter {
        Some(_) => open_with(folder, adapter, device),
        None => Ok(Model { network: open_judge(folder, device)?, generation: GenerationConfig::default() }),
    }
}

/// Opens the tokenizer in a folder.
///
/// # Errors
/// A file that is missing or not what it should be.
pub fn tokenizer(folder: &Path) -> Result<Tokenizer> {
    let text = read_json(folder, "tokenizer.json")?.ok_or_else(|| missing(folder, "tokenizer.json"))?;
    let tokenizer = match read_json(folder, "tokenizer_config.json")? {
        Some(config) => Tokenizer::from_files(&text, &config)?,
        None => Tokenizer::from_json(&text)?,
    };
    // A chat template in a file of its own goes before that of the configuration.
    Ok(match read_json(folder, "chat_template.jinja")? {
        Some(template) => tokenizer.with_chat_template(template)?,
        None => tokenizer,
    })
}

/// The model in a folder with an adapter that belongs to it switched on, where one is named.
///
/// # Errors
/// As [`open`]; an adapter that is not what it should be, or belongs to another model.
pub fn open_with(folder: &Path, adapter: Option<&Path>, device: &Device) -> Result<Model> {
    let mut model = open(folder, device)?;
    if let Some(path) = adapter {
        expect_whole(folder, &model.network)?;
        let base =
            Base::new(folder.display().to_string(), &pollster::block_on(model.network.weights.read())?);
        let adapter = Adapter::from_peft(device, &model.network.config, &base, adapter_files(path)?);
        let adapter = adapter.map_err(|error| anyhow!("{}: {error}", path.display()))?;
        model.network = model.network.with_adapter(adapter);
    }
    Ok(model)
}

/// How exact the weights of a model that only speaks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Quantize {
    /// One byte a weight, and a scale for 32 of them.
    Int8,
    /// Half a byte.
    Int4,
}

impl Quantize {
    /// What it is for models.
    pub fn precision(self) -> Precision {
        match self {
            Quantize::Int8 => Precision::Int8,
            Quantize::Int4 => Precision::Int4,
        }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Quantize::Int8 => "int8",
            Quantize::Int4 => "int4",
        }
    }
}

/// The model in a folder, its linear layers quantised where that is asked for.
///
/// # Errors
/// As [`open`]; a layer whose width is not a multiple of the group that shares a scale.
pub fn open_quantized(folder: &Path, quantize: Option<Quantize>, device: &Device) -> Result<Model> {
    let mut model = open(folder, device)?;
    if let Some(quantize) = quantize {
        expect_whole(folder, &model.network)?;
        // The weights once more, as they are read back, and their codes.
        device::require_memory(
            device,
            "quantising the model",
            model.network.config.n_params().saturating_mul(6),
        )?;
        model.network = pollster::block_on(model.network.quantized(device, quantize.precision()))
            .map_err(|error| anyhow!("quantize: {error}"))?;
    }
    Ok(model)
}

/// The files of an adapter's folder that an adapter is read from.
fn adapter_files(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let config = read_json(folder, peft::CONFIG_FILE)?.ok_or_else(|| missing(folder, peft::CONFIG_FILE))?;
    let path = folder.join(peft::WEIGHTS_FILE);
    let weights = std::fs::read(&path).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    Ok(vec![(peft::CONFIG_FILE.into(), config.into_bytes()), (peft::WEIGHTS_FILE.into(), weights)])
}

/// The tokenizer to speak with a model: the adapter's, which may have learnt another chat template, else the model's.
///
/// # Errors
/// As [`tokenizer`]; a tokenizer that is not the model's.
pub fn tokenizer_of(folder: &Path, adapter: Option<&Path>, model: &Model) -> Result<Tokenizer> {
    let place = adapter.filter(|path| path.join("tokenizer.json").is_file()).unwrap_or(folder);
    let tokenizer = tokenizer(place)?;
    expect_vocabulary(place, &tokenizer, model.network.config.vocab_size)?;
    Ok(tokenizer)
}

/// Requires that a model knows every token of a tokenizer.
///
/// # Errors
/// A tokenizer that is not the model's.
pub fn expect_vocabulary(folder: &Path, tokenizer: &Tokenizer, vocab_size: usize) -> Result<()> {
    match tokenizer.vocab_size() {
        found if found > vocab_size => {
            bail!("{}: tokenizer.json: found {found} tokens, the model has {vocab_size}", folder.display())
        }
        _ => Ok(()),
    }
}

/// Makes a folder, and those that it lies in.
///
/// # Errors
/// What the system says.
pub fn create(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| anyhow!("{}: {error}", folder.display()))
}

/// Writes what can be known before training: shape, tokenizer and how to sample.
///
/// # Errors
/// What the system says.
pub fn write_setup(
    folder: &Path,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    generation: &GenerationConfig,
) -> Result<()> {
    write_file(folder, "config.json", config.to_hf_json(&generation.tokens).as_bytes())?;
    write_speech(folder, config, tokenizer, generation)
}

/// Writes what a folder says of its model beside the shape: tokenizer and how to sample.
///
/// # Errors
/// What the system says.
pub fn write_speech(
    folder: &Path,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    generation: &GenerationConfig,
) -> Result<()> {
    let generation = GenerationConfig {
        do_sample: generation.do_sample.or(Some(true)),
        temperature: generation.temperature.or(Some(0.8)),
        max_new_tokens: generation.max_new_tokens.or(Some(256)),
        ..generation.clone()
    };
    write_file(folder, "generation_config.json", generation.to_hf_json().as_bytes())?;
    write_tokenizer(folder, config, tokenizer)
}

/// Writes the files of a tokenizer.
///
/// # Errors
/// What the system says.
pub fn write_tokenizer(folder: &Path, config: &ModelConfig, tokenizer: &Tokenizer) -> Result<()> {
    for (name, content) in tokenizer.files(config.context_len) {
        write_file(folder, &name, content.as_bytes())?;
    }
    Ok(())
}

/// Writes the weights.
///
/// # Errors
/// What the system says.
pub fn write_weights(folder: &Path, config: &ModelConfig, weights: &HostWeights) -> Result<()> {
    for (name, bytes) in config.weight_files(weights)? {
        write_file(folder, &name, &bytes)?;
    }
    Ok(())
}

/// Writes a file so that whoever reads finds the old one or the new one, never a part.
///
/// # Errors
/// What the system says.
pub fn write_file(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let (partial, path) = (folder.join(format!("{name}.tmp")), folder.join(name));
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&partial, &path)
    };
    write().map_err(|error| {
        // What failed is the write; a failure to clean up after it would only hide that.
        let _ = std::fs::remove_file(&partial);
        anyhow!("{}: {error}", path.display())
    })
}

/// The text of a small file, or `None` where there is none.
///
/// # Errors
/// No such folder; a file that is too large, not text, or cannot be read.
pub fn read_json(folder: &Path, name: &str) -> Result<Option<String>> {
    if !folder.is_dir() {
        bail!("{}: there is no such folder", folder.display());
    }
    let path = folder.join(name);
    let failed = |error: std::io::Error| anyhow!("{}: {error}", path.display());
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if metadata.len() > MAX_JSON_BYTES => {
            bail!("{}: {} bytes, at most {MAX_JSON_BYTES} are read", path.display(), metadata.len())
        }
        Ok(_) => {}
    }
    std::fs::read_to_string(&path).map(Some).map_err(failed)
}

fn missing(folder: &Path, name: &str) -> anyhow::Error {
    anyhow!("{}: {name} is not there", folder.display())
}
