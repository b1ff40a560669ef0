//! The model that a stage begins with, and the folder that it is left in.

use std::path::Path;
use std::rc::Rc;

use anyhow::{Result, bail};
use cloche_models::config::{GenerationConfig, Head, ModelConfig, TokenIds, TunedFacts, preset, tuned_card};
use cloche_models::{Adapter, Base, Network, specs};
use cloche_nn::Weights;
use cloche_tensor::Device;
use cloche_text::Tokenizer;

use super::options::{Plan, Record};
use super::{Outcome, StageSettings};
use crate::curation::Learn;
use crate::device::{self, Choice};
use crate::folder;
use crate::reader::{Reader, plain_tokenizer};
use crate::report::Report;
use crate::save;
use crate::source::Material;

/// A model that is about to learn, and who reads for it.
pub struct Student {
    /// Where it computes.
    pub device: Device,
    /// The model; with the adapter that learns, where one was asked for.
    pub network: Network,
    /// Who reads and writes for it.
    pub reader: Rc<Reader>,
    head: Head,
    base: Base,
    generation: GenerationConfig,
}

/// What a new model has in common with its teacher.
pub struct Kin {
    /// The teacher's shape: its vocabulary, and at most its context.
    pub config: ModelConfig,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
}

impl Student {
    /// Opens or makes the model of a plan, and notes in the plan what it was.
    ///
    /// # Errors
    /// A model that cannot be opened, or is not the one that the run was begun with; an adapter that it cannot have.
    pub fn open<S: StageSettings>(
        plan: &mut Plan<S>,
        choice: Choice,
        material: &Material,
        report: &Report,
    ) -> Result<Student> {
        Student::open_on(device::open(choice)?, plan, material, None, report)
    }

    /// The same on a device that is open; a new model has the vocabulary of its teacher, where it has one.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on<S: StageSettings>(
        device: Device,
        plan: &mut Plan<S>,
        material: &Material,
        teacher: Option<Kin>,
        report: &Report,
    ) -> Result<Student> {
        let record = &mut plan.record;
        let seed = record.settings.optimization().seed;
        let (network, reader, mut generation, name) = match (&record.model, &record.init) {
            (Some(path), _) => {
                let (network, reader, generation) = opened(&device, record)?;
                (network, reader, generation, path.display().to_string())
            }
            (None, name) => {
                let name = name.as_deref().unwrap_or("nano");
                let (tokenizer, like) = match teacher {
                    Some(teacher) => (teacher.tokenizer, Some(teacher.config)),
                    None => (plain_tokenizer(), None),
                };
                let reader = Reader::new(tokenizer, record.turns)?;
                let config = new_config(name, &reader, record.context_len, material, like)?;
                device::require_memory(&device, "the model", config.n_params().saturating_mul(2 * 4))?;
                let weights = Weights::init(&device, &specs(&config), seed)?;
                let tokens = TokenIds { bos: reader.tokenizer.eot_id(), ..Default::default() };
                let generation = GenerationConfig { tokens, ..Default::default() };
                (Network::new(config, weights), reader, generation, name.to_string())
            }
        };
        if reader.stop_ids.is_empty() {
            report.warn(
                "the vocabulary has no token that ends an answer: answers go on until there is no room",
            );
        }
        generation.tokens.eos = reader.stop_ids.clone();
        let base = Base::new(name, &pollster::block_on(network.weights.read())?);
        if plan.saved.is_some() && base.fingerprint != record.base_sha256 {
            bail!(
                "{}: found a model with SHA-256 {:.12}…, the run was begun with {:.12}…",
                base.name,
                base.fingerprint,
                record.base_sha256
            );
        }
        record.base_sha256.clone_from(&base.fingerprint);
        if record.init.is_some() {
            record.context_len = Some(network.config.context_len);
        }
        let network = match &record.lora {
            None => network,
            Some(lora) => {
                let adapter = Adapter::new(&device, &network.config, lora.clone(), seed)?;
                network.with_adapter(adapter)
            }
        };
        let reader = match record.curation.learn {
            Learn::Answers => reader,
            Learn::All => reader.learning_everything(),
        };
        reader.tell_missing(&material.train, report);
        Ok(Student { device, network, reader: Rc::new(reader), head: Head::Logits, base, generation })
    }

    /// The same with a head that scores texts, which is new where the model has none.
    ///
    /// # Errors
    /// A device that cannot hold it.
    pub fn with_head<S: StageSettings>(mut self, head: Head, plan: &Plan<S>) -> Result<Student> {
        self.head = head;
        if head == Head::Score && self.network.adapter.is_none() {
            let seed = plan.record.settings.clone().optimization().seed;
            self.network = pollster::block_on(self.network.scoring(&self.device, seed))?;
        }
        Ok(self)
    }

    /// The model as it is at the beginning: the base of the adapter that learns, else a copy.
    ///
    /// # Errors
    /// A device that cannot hold it.
    pub fn reference(&self) -> Result<Network> {
        Ok(match self.network.adapter {
            Some(_) => self.network.without_adapter(),
            None => pollster::block_on(self.network.merged(&self.device))?,
        })
    }

    /// The tokens that the model sees at once.
    pub fn context_len(&self) -> usize {
        self.network.config.context_len
    }

    /// The most tokens of an answer to the questions of an exam.
    pub fn max_tokens<S>(&self, record: &Record<S>, material: &Material) -> usize {
        let enough = || self.reader.answer_tokens(&material.exam).min(self.context_len() / 2);
        record.max_tokens.unwrap_or_else(enough).max(1)
    }

    /// Makes the folder of a new run. The record comes last: a folder without it holds no run.
    ///
    /// # Errors
    /// What the system says.
    pub fn begin<S: StageSettings>(&self, out: &Path, record: &Record<S>) -> Result<()> {
        save::clear(out)?;
        folder::create(out)?;
        match self.network.adapter {
            Some(_) => folder::write_tokenizer(out, &self.network.config, &self.reader.tokenizer)?,
            None => folder::write_setup(out, &self.network.config, &self.reader.tokenizer, &self.generation)?,
        }
        if self.network.adapter.is_none() && self.head == Head::Score {
            let json = self.network.config.to_hf_score_json(&self.generation.tokens);
            folder::write_file(out, "config.json", json.as_bytes())?;
        }
        save::write_record(out, record)
    }

    /// Leaves the model in the folder, or the adapter alone where it is what has learnt.
    ///
    /// # Errors
    /// What the system says, a lost device.
    pub fn leave<S: StageSettings>(
        &self,
        out: &Path,
        record: &Record<S>,
        network: &Network,
        outcome: &Outcome,
    ) -> Result<()> {
        let numbers = |name: &'static str, x: f32| (name.replace('_', " "), x);
        let facts = TunedFacts {
            name: out.file_name().map_or("model".into(), |name| name.to_string_lossy().into_owned()),
            stage: S::STAGE.to_string(),
            base: Path::new(&self.base.name)
                .file_name()
                .map_or(self.base.name.clone(), |name| name.to_string_lossy().into_owned()),
            is_new: record.init.is_some(),
            is_adapter: network.adapter.is_some(),
            data: record.source()?.describe() + &record.curation.describe(),
            seed: record.settings.clone().optimization().seed,
            steps: outcome.done.step,
            trained: network.trained().specs().iter().map(|spec| spec.numel() as u64).sum(),
            measured: outcome.measured.0.iter().map(|&(name, x)| numbers(name, x)).collect(),
        };
        match &network.adapter {
            Some(adapter) => {
                for (name, bytes) in pollster::block_on(adapter.to_peft(&network.config, &self.base))? {
                    folder::write_file(out, &name, &bytes)?;
                }
            }
            None => {
                let host = pollster::block_on(network.weights.read())?;
                folder::write_weights(out, &network.config, &host)?;
            }
        }
        folder::write_file(out, "README.md", tuned_card(&network.config, &facts).as_bytes())
    }
}

/// The model in a folder, with an adapter merged where there is one to begin with.
fn opened<S>(device: &Device, record: &Record<S>) -> Result<(Network, Reader, GenerationConfig)> {
    let path = record.model.as_deref().unwrap_or(Path::new("."));
    let model = folder::open_with(path, record.adapter.as_deref(), device)?;
    folder::expect_whole(path, &model.network)?;
    let reader = Reader::new(folder::tokenizer_of(path, record.adapter.as_deref(), &model)?, record.turns)?;
    let network = match model.network.adapter {
        Some(_) => pollster::block_on(model.network.merged(device))?,
        None => model.network,
    };
    Ok((network, reader, model.generation))
}

/// The shape of a new model: wide enough for the data, where nothing else is said, and not wider than its teacher.
fn new_config(
    name: &str,
    reader: &Reader,
    context_len: Option<usize>,
    material: &Material,
    teacher: Option<ModelConfig>,
) -> Result<ModelConfig> {
    let fitting = || {
        let longest = reader.longest(&material.train)?.max(reader.longest(&material.held_out)?);
        let fitting = (longest + reader.answer_tokens(&material.exam) / 3).next_multiple_of(32);
        Ok::<_, anyhow::Error>(teacher.map_or(fitting, |teacher| fitting.min(teacher.context_len)))
    };
    let context_len = context_len.map_or_else(fitting, Ok)?;
    if !(2..=1 << 16).contains(&context_len) {
        bail!("context_len: found {context_len}, expected 2 to 65536");
    }
    let vocab_size = teacher.map_or(reader.tokenizer.vocab_size(), |teacher| teacher.vocab_size);
    Ok(ModelConfig { context_len, vocab_size, ..preset(name)?.model })
}
