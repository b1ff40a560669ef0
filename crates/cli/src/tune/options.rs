//! The options that stages share, and what they come to: a plan, which a folder remembers.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use clap::Args;
use cloche_models::LoraConfig;
use cloche_train::checkpoint::Saved;
use cloche_train::learner::Optimization;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{StageSettings, require_ahead};
use crate::curation::Curation;
use crate::device::Choice;
use crate::lora;
use crate::report::Report;
use crate::save;
use crate::settings::{require_same, tenth};
use crate::source::{Source, Wanted};

/// Options of every stage after pre-training. What is left out is the stage's default; when a run is resumed, the run's.
#[derive(Args)]
#[command(args_override_self = true)]
pub struct TuneArgs {
    /// The model folder to begin with.
    #[arg(long, value_name = "DIR", conflicts_with = "init")]
    model: Option<PathBuf>,
    /// Begin with the model as this adapter changes it; what is left is then a model of its own.
    #[arg(long, value_name = "DIR", requires = "model", conflicts_with = "lora")]
    adapter: Option<PathBuf>,
    /// Begin with nothing: a new model of a preset (tiny, nano, …) whose tokens are the printable characters of ASCII and
    /// the marks of a chat. Enough for the built-in tasks.
    #[arg(long, value_name = "PRESET")]
    init: Option<String>,
    /// Tokens that a new model sees at once [default: as many as the data needs].
    #[arg(long, value_name = "N", requires = "init")]
    context_len: Option<usize>,
    /// A .jsonl file, or what is built in: lessons, manners, preferences, stories, task:NAME or task:NAME:DIFFICULTY.
    #[arg(long, value_name = "PATH|KIND")]
    data: Option<String>,
    /// A .jsonl file to examine with [default: every 20th record, up to --exam; of what is built in, draws set apart].
    #[arg(long, value_name = "PATH")]
    held_out: Option<PathBuf>,
    /// Built-in records to learn from, which do not end [default: 10000].
    #[arg(long, value_name = "N")]
    pub examples: Option<usize>,
    /// Records that are held out at most [default: 100].
    #[arg(long, value_name = "N")]
    exam: Option<usize>,
    /// The most tokens of an answer [default: half as many again as the longest one to the exam, at most half the context].
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Take prompts and answers that are plain strings for turns of a conversation; otherwise the one goes on where the
    /// other ends.
    #[arg(long)]
    turns: bool,
    /// Train an adapter beside the frozen model: rank=8,alpha=16,dropout=0,targets=all-linear, or a part of it; several
    /// targets are joined by +.
    #[arg(long, value_name = "LIST", num_args = 0..=1, default_missing_value = "", conflicts_with = "init")]
    lora: Option<String>,
    #[command(flatten)]
    optimization: OptimizationArgs,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    pub device: Choice,
    /// The folder for the model, or the adapter, and its checkpoints.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Go on with the run in the folder; the options left out are the run's.
    #[arg(long)]
    pub resume: bool,
    /// Replace the run in the folder.
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Print JSON lines.
    #[arg(long)]
    json: bool,
    /// Add the JSON lines to the end of a file, whatever is printed.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// How to optimize.
#[derive(Args)]
#[command(next_help_heading = "Optimization")]
struct OptimizationArgs {
    /// Steps in all.
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Examples of a step.
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Learning rate after the warm-up.
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    lr: Option<f32>,
    /// Learning rate at the end of the cosine [default: a tenth of --lr].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    min_lr: Option<f32>,
    /// Steps of the linear warm-up [default: 20, at most a tenth of all steps].
    #[arg(long, value_name = "N")]
    warmup_steps: Option<u64>,
    /// AdamW's decay of matrices.
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    weight_decay: Option<f32>,
    /// Gradients are shortened to this norm.
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    max_grad_norm: Option<f32>,
    /// Steps between evaluations, 0 for none but the first and the last.
    #[arg(long, value_name = "N")]
    eval_every: Option<u64>,
    /// Steps between checkpoints, 0 for none but the last.
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<u64>,
    /// New weights, built-in records, their order, dropout and samples follow from it [default: 1337].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// What a run is: all that it was begun with, so that going on needs nothing but the folder, the data and the base.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record<S> {
    /// The stage.
    pub stage: String,
    /// The folder of the model to begin with.
    pub model: Option<PathBuf>,
    /// The folder of an adapter that is merged into it.
    pub adapter: Option<PathBuf>,
    /// The preset of a new model.
    pub init: Option<String>,
    /// Its context.
    pub context_len: Option<usize>,
    /// SHA-256 of the model to begin with.
    pub base_sha256: String,
    /// A kind, or the path of a file.
    pub data: String,
    /// The path of a file to examine with.
    pub held_out: Option<PathBuf>,
    /// Built-in records to learn from.
    pub examples: usize,
    /// Records held out, at most.
    pub exam: usize,
    /// Tokens of an answer, at most.
    pub max_tokens: Option<usize>,
    /// Whether strings are turns.
    pub turns: bool,
    /// The folder of a reward model.
    #[serde(default)]
    pub judge: Option<PathBuf>,
    /// What is done with the data.
    #[serde(default)]
    pub curation: Curation,
    /// The adapter to train.
    pub lora: Option<LoraConfig>,
    /// The stage's settings at the beginning.
    pub settings: S,
}

/// A run that can begin, or go on.
pub struct Plan<S> {
    /// What it is.
    pub record: Record<S>,
    /// Where it was.
    pub saved: Option<Saved<S>>,
}

impl<S: StageSettings> Record<S> {
    /// Where the records come from.
    ///
    /// # Errors
    /// A task or a file that does not exist.
    pub fn source(&self) -> Result<Source> {
        Source::open(&self.data)
    }

    /// How much of it is wanted.
    pub fn wanted(&self) -> Wanted {
        let seed = self.settings.clone().optimization().seed;
        Wanted { examples: self.examples, exam: self.exam, seed, held_out: self.held_out.clone() }
    }
}

impl TuneArgs {
    /// Who tells how the run is doing.
    ///
    /// # Errors
    /// A log that cannot be written.
    pub fn report(&self) -> Result<Report> {
        Report::with_log(self.json, self.log.as_deref())
    }

    /// What is to be done: a new run with these settings where nothing else is said, or the one in the folder. `stage`
    /// puts the options of the stage itself in place.
    ///
    /// # Errors
    /// Options that contradict each other or the run; a folder that is taken.
    pub fn plan<S: StageSettings>(
        &self,
        settings: S,
        stage: impl FnOnce(&mut Record<S>),
        report: &Report,
    ) -> Result<Plan<S>> {
        let (before, saved) = match self.resume {
            true => {
                let record: Option<Record<S>> = save::read_record(&self.out, S::STAGE)?;
                let record =
                    record.ok_or_else(|| anyhow!("{} holds no run to resume", self.out.display()))?;
                (Some(record), save::latest::<S>(&self.out, report)?)
            }
            false => (None, None),
        };
        let mut record = match &before {
            Some(record) => record.clone(),
            None => self.new_record(settings)?,
        };
        // Whoever has gone on with it before may have changed its length and rhythm.
        if let Some(saved) = &saved {
            record.settings.optimization().clone_from(saved.state.settings.clone().optimization());
        }
        self.apply(&mut record)?;
        stage(&mut record);
        if record.exam == 0 {
            bail!("exam: found 0, expected at least 1 record that is held out");
        }
        if before.is_none() {
            require_apart(&self.out, &record)?;
        }
        let optimization = record.settings.optimization();
        self.optimization.apply(optimization);
        if before.is_none() && self.optimization.warmup_steps.is_none() {
            optimization.warmup_steps = optimization.warmup_steps.min(optimization.steps / 10);
        }
        optimization.validate().map_err(anyhow::Error::from)?;
        require_ahead(&saved, optimization.steps)?;
        if let Some(before) = &before {
            require_same(before, &record)?;
        }
        Ok(Plan { record, saved })
    }

    /// A run from its beginning.
    fn new_record<S: StageSettings>(&self, settings: S) -> Result<Record<S>> {
        if self.model.is_none() && self.init.is_none() {
            bail!("model: found nothing, expected --model with a folder, or --init with a preset");
        }
        let Some(data) = &self.data else {
            bail!(
                "data: found nothing, expected --data with a .jsonl file, lessons, manners, preferences, stories or \
                 task:NAME"
            );
        };
        if !self.overwrite {
            save::require_free(&self.out)?;
        }
        Ok(Record {
            stage: S::STAGE.to_string(),
            model: None,
            adapter: None,
            init: None,
            context_len: None,
            base_sha256: String::new(),
            data: data.clone(),
            held_out: None,
            examples: 10_000,
            exam: 100,
            max_tokens: None,
            turns: false,
            judge: None,
            curation: Curation::default(),
            lora: None,
            settings,
        })
    }

    /// Puts what was given in place of what was there.
    fn apply<S>(&self, record: &mut Record<S>) -> Result<()> {
        fn set<T: Clone>(place: &mut T, given: &Option<T>) {
            if let Some(value) = given {
                place.clone_from(value);
            }
        }
        // A run may be resumed from elsewhere, where a relative path leads nowhere.
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        for (place, given) in [
            (&mut record.model, &self.model),
            (&mut record.adapter, &self.adapter),
            (&mut record.held_out, &self.held_out),
        ] {
            if let Some(path) = given {
                *place = Some(absolute(path));
            }
        }
        if let Some(data) = &self.data {
            let path = Path::new(data);
            record.data =
                if path.is_file() { absolute(&path.into()).display().to_string() } else { data.clone() };
        }
        if self.init.is_some() {
            record.init.clone_from(&self.init);
        }
        if self.context_len.is_some() {
            record.context_len = self.context_len;
        }
        if self.max_tokens.is_some() {
            record.max_tokens = self.max_tokens;
        }
        set(&mut record.examples, &self.examples);
        set(&mut record.exam, &self.exam);
        record.turns |= self.turns;
        if let Some(text) = &self.lora {
            record.lora = Some(lora::parse(text)?);
        }
        Ok(())
    }
}

impl OptimizationArgs {
    fn apply(&self, settings: &mut Optimization) {
        fn set<T: Copy>(place: &mut T, given: Option<T>) {
            if let Some(value) = given {
                *place = value;
            }
        }
        set(&mut settings.steps, self.steps);
        set(&mut settings.batch_size, self.batch_size);
        if let Some(lr) = self.lr.filter(|lr| *lr != settings.lr) {
            (settings.lr, settings.min_lr) = (lr, tenth(lr));
        }
        set(&mut settings.min_lr, self.min_lr);
        set(&mut settings.warmup_steps, self.warmup_steps);
        set(&mut settings.weight_decay, self.weight_decay);
        set(&mut settings.max_grad_norm, self.max_grad_norm);
        set(&mut settings.eval_every, self.eval_every);
        set(&mut settings.checkpoint_every, self.checkpoint_every);
        set(&mut settings.seed, self.seed);
    }
}

/// Requires that nothing lies in the folder of a new run that the run needs: it would be cleared away.
fn require_apart<S: Serialize>(out: &Path, record: &Record<S>) -> Result<()> {
    let Ok(out) = out.canonicalize() else { return Ok(()) };
    let mut values = vec![serde_json::to_value(record)?];
    while let Some(value) = values.pop() {
        match value {
            Value::Object(map) => values.extend(map.into_iter().map(|(_, value)| value)),
            Value::Array(list) => values.extend(list),
            // Paths are absolute there; what is built in has a name.
            Value::String(text) if Path::new(&text).is_absolute() => {
                let inside = Path::new(&text).canonicalize().is_ok_and(|path| save::is_ours(&out, &path));
                if inside {
                    bail!(
                        "out: found {}, which holds what the run needs ({text}), expected another",
                        out.display()
                    );
                }
            }
            _ => {}
        }
    }
    Ok(())
}
