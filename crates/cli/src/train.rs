//! `cloche train`: from a text to a model folder.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use cloche_models::config::{CardFacts, GenerationConfig, TokenIds, model_card, preset};
use cloche_tensor::Device;
use cloche_text::{Tokenizer, TokenizerKind};
use cloche_train::checkpoint::Saved;
use cloche_train::data::{Batches, Corpus};
use cloche_train::events::{Done, Event, Reason};
use cloche_train::pretrain::{MAX_NONFINITE, Run};
use cloche_train::settings::Settings;

use crate::corpus::{IdFile, Texts};
use crate::curation::Dedup;
use crate::device::{self, Choice};
use crate::folder;
use crate::kernels;
use crate::report::Report;
use crate::save::{self, Keeper, Record};
use crate::settings::{HyperParameters, default_samples, require_same};

/// The options of `cloche train`. Of an option that is given twice the last one counts, for the sake of scripts.
#[derive(Args)]
#[command(args_override_self = true)]
pub struct TrainArgs {
    /// A UTF-8 text file, a folder of .txt and .md files, a .jsonl file with a field `text`, or `stories`, which are
    /// built in [default: stories].
    #[arg(long, value_name = "PATH|stories")]
    data: Option<String>,
    /// The model: tiny, nano, mini, gpt2, llama-tiny, llama-nano or llama-mini [default: nano].
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Steps in all [default: the preset's].
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// char, byte or bpe:SIZE [default: char for a single text, bpe:512 for stories and sets of documents].
    #[arg(long, value_name = "KIND")]
    tokenizer: Option<String>,
    /// Let the vocabulary end with the tokens of a chat, for a model that will learn to converse. Without them the marks of
    /// a conversation are text.
    #[arg(long)]
    chat_tokens: bool,
    /// Leave out documents that were there before: those that are equal, or also those that are nearly so [default where
    /// nothing follows: near].
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "near")]
    dedup: Option<Dedup>,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    device: Choice,
    /// Measure first which kernels this graphics device runs fastest, leave out those that it runs wrongly, and remember both
    /// for later commands. With other kernels sums are rounded otherwise.
    #[arg(long)]
    tune_kernels: bool,
    /// Weights, batches, dropout, samples and stories follow from it [default: 1337].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Bytes of stories to train on [default: 8000000].
    #[arg(long, value_name = "N")]
    stories_bytes: Option<u64>,
    /// Steps between evaluations, 0 for none but the last [default: 250].
    #[arg(long, value_name = "N")]
    eval_every: Option<u64>,
    /// Batches of each split that an evaluation takes [default: 20].
    #[arg(long, value_name = "N")]
    eval_batches: Option<usize>,
    /// Steps after which the model speaks [default: 0,250,500,1000,2000 and so on, and the last].
    #[arg(long, value_name = "LIST", value_delimiter = ',', num_args = 0..)]
    sample_at: Option<Vec<u64>>,
    /// Tokens of such a sample [default: 200].
    #[arg(long, value_name = "N")]
    sample_len: Option<usize>,
    /// Steps between checkpoints, 0 for none but the last [default: 500].
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<u64>,
    #[command(flatten)]
    hyper: HyperParameters,
    /// The folder for the model and its checkpoints.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Go on with the run in the folder; the options left out are the run's.
    #[arg(long)]
    resume: bool,
    /// Replace the run in the folder.
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Say where the time of a step goes, kernel by kernel.
    #[arg(long)]
    profile: bool,
    /// Print JSON lines.
    #[arg(long)]
    json: bool,
    /// Add the JSON lines to the end of a file, whatever is printed.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Texts, settings or a folder with which no run can begin; a device that fails; a model that cannot be saved.
pub fn run(args: &TrainArgs) -> Result<()> {
    let mut report = Report::with_log(args.json, args.log.as_deref())?;
    let out = args.out.as_path();
    // 1. Texts, tokenizer, settings: of a new run, or of the one in the folder.
    let Setup { record, texts, tokenizer, settings, saved } = match args.resume {
        true => args.resumed(&mut report)?,
        false => args.new_run(&mut report)?,
    };
    settings.validate()?;
    // 2. A run that fits. So far nothing is written, except ids that are too many for the memory.
    let files = IdFile::of_run(out);
    let corpus = texts.encode(&tokenizer, &files, &mut report)?;
    let device = device::open(args.device)?;
    if args.tune_kernels {
        kernels::tune(&device, &settings, &mut report)?;
    }
    let run = open_run(&device, &settings, saved, corpus)?;
    // 3. From here on the folder is the run's.
    if !args.resume {
        make_folder(out, &record, &tokenizer)?;
    }
    // 4. Train, and leave a model.
    let network = run.network();
    let profiler = args.profile.then(|| run.profiler());
    let outcome = follow(run, &tokenizer, Keeper::new(out), profiler, &mut report)?;
    let host = pollster::block_on(network.weights.read())?;
    folder::write_weights(out, &settings.model, &host)?;
    let card = model_card(&settings.model, &outcome.facts(out, &record, &settings));
    folder::write_file(out, "README.md", card.as_bytes())?;
    report.done(&outcome.done, &out.display().to_string());
    match outcome.done.reason {
        Reason::Finished => Ok(()),
        Reason::Stopped => {
            report.say(format_args!("to go on: cloche train --out {} --resume", out.display()));
            Ok(())
        }
        Reason::Diverged => bail!(
            "{MAX_NONFINITE} steps in a row had a gradient that was not finite; the last good weights are in {}",
            out.display()
        ),
    }
}

/// What is known before a run is prepared.
struct Setup {
    record: Record,
    texts: Texts,
    tokenizer: Tokenizer,
    settings: Settings,
    saved: Option<Saved>,
}

impl TrainArgs {
    /// A run from its beginning.
    fn new_run(&self, report: &mut Report) -> Result<Setup> {
        if !self.overwrite {
            save::require_free(&self.out)?;
        }
        let preset = preset(self.preset.as_deref().unwrap_or("nano"))?;
        let seed = self.seed.unwrap_or(1337);
        let data = self.data.as_deref().unwrap_or("stories");
        let stories_bytes = self.stories_bytes.unwrap_or(8_000_000);
        let mut texts = Texts::open(data, stories_bytes, seed)?;
        if let Some(dedup) = self.dedup {
            texts.without_duplicates(dedup, report)?;
        }
        let kind: TokenizerKind = match &self.tokenizer {
            Some(kind) => kind.parse()?,
            None => texts.default_tokenizer(),
        };
        // What can be wrong without the text is found before the text is read. No vocabulary is smaller than 2.
        self.hyper.of_preset(preset, 2, self.steps).validate()?;
        let tokenizer = texts.learn(kind, self.chat_tokens, report)?;

        let mut settings = self.hyper.of_preset(preset, tokenizer.vocab_size(), self.steps);
        settings.seed = seed;
        settings.eot = tokenizer.eot_id();
        settings.sample_prompt = vec![sample_prompt(&tokenizer)];
        settings.sample_at = default_samples(settings.steps);
        self.apply_rhythm(&mut settings);
        // A run may be resumed from elsewhere, where a relative path leads nowhere.
        let data = match data {
            "stories" => data.to_string(),
            path => std::path::absolute(path).map_or(path.to_string(), |path| path.display().to_string()),
        };
        let (preset, tokenizer_kind) = (preset.name.to_string(), kind.to_string());
        let record = Record {
            preset,
            data,
            stories_bytes,
            tokenizer: tokenizer_kind,
            dedup: self.dedup,
            settings: settings.clone(),
        };
        Ok(Setup { record, texts, tokenizer, settings, saved: None })
    }

    /// The run in the folder, from its latest checkpoint.
    fn resumed(&self, report: &mut Report) -> Result<Setup> {
        let record: Option<Record> = save::read_record(&self.out, "train")?;
        let record = record.ok_or_else(|| anyhow!("{} holds no run to resume", self.out.display()))?;
        for (name, run, asked) in
            [("preset", &record.preset, &self.preset), ("tokenizer", &record.tokenizer, &self.tokenizer)]
        {
            if let Some(asked) = asked.as_ref().filter(|asked| *asked != run) {
                bail!("the run to resume has other settings: {name} is {run}, not {asked}");
            }
        }
        if self.dedup.is_some() && self.dedup != record.dedup {
            bail!("the run to resume has other settings: dedup is {:?}, not {:?}", record.dedup, self.dedup);
        }
        let saved = save::latest(&self.out, report)?;
        let before = saved.as_ref().map_or(&record.settings, |saved| &saved.state.settings);
        let mut settings = before.clone();
        self.hyper.apply(&mut settings);
        settings.seed = self.seed.unwrap_or(settings.seed);
        settings.steps = self.steps.unwrap_or(settings.steps);
        if settings.steps > before.steps {
            settings
                .sample_at
                .extend(default_samples(settings.steps).into_iter().filter(|&at| at > before.steps));
        }
        self.apply_rhythm(&mut settings);
        require_same(before, &settings)?;

        let data = self.data.as_ref().unwrap_or(&record.data);
        let stories_bytes = self.stories_bytes.unwrap_or(record.stories_bytes);
        let mut texts = Texts::open(data, stories_bytes, settings.seed)?;
        if let Some(dedup) = record.dedup {
            texts.without_duplicates(dedup, report)?;
        }
        let tokenizer = folder::tokenizer(&self.out)?;
        Ok(Setup { record, texts, tokenizer, settings, saved })
    }

    /// How often the run looks, speaks and saves.
    fn apply_rhythm(&self, settings: &mut Settings) {
        settings.eval_every = self.eval_every.unwrap_or(settings.eval_every);
        settings.eval_batches = self.eval_batches.unwrap_or(settings.eval_batches);
        settings.sample_len = self.sample_len.unwrap_or(settings.sample_len);
        settings.checkpoint_every = self.checkpoint_every.unwrap_or(settings.checkpoint_every);
        if let Some(sample_at) = &self.sample_at {
            settings.sample_at = sample_at.clone();
        }
    }
}

/// What a sample begins with: the beginning of a document, else of a line.
fn sample_prompt(tokenizer: &Tokenizer) -> u32 {
    let newline = || tokenizer.encode("\n").first().copied();
    tokenizer.eot_id().or_else(newline).unwrap_or(0)
}

fn open_run(device: &Device, settings: &Settings, saved: Option<Saved>, corpus: Corpus) -> Result<Run> {
    // Of a text that is too short, the held-out end may be shorter still; what matters to the user is the rest.
    Batches::new(&corpus.train, settings.batch_size, settings.model.context_len, settings.seed)?;
    let available = device::available_bytes(device);
    let run = match saved {
        Some(mut saved) => {
            saved.state.settings = settings.clone();
            Run::resume(device, saved, corpus, available)
        }
        None => Run::new(device, settings.clone(), corpus, available),
    };
    run.map_err(device::in_bytes)
}

/// Makes the folder of a new run. The record comes last: a folder without it holds no run.
fn make_folder(out: &Path, record: &Record, tokenizer: &Tokenizer) -> Result<()> {
    save::clear(out)?;
    folder::create(out)?;
    let eot = tokenizer.eot_id();
    let generation = GenerationConfig {
        tokens: TokenIds { bos: eot, eos: eot.into_iter().collect(), pad: None },
        ..Default::default()
    };
    folder::write_setup(out, &record.settings.model, tokenizer, &generation)?;
    save::write_record(out, record)
}

/// What is known of a run that has ended.
struct Outcome {
    done: Done,
    train_loss: Option<f32>,
}

/// Steps before the one that is timed: the first ones still warm the caches, and the clock of the processor.
const WARM_UP: u64 = 10;

/// Runs the stage to its end: tells its events, and keeps its checkpoints.
fn follow(
    run: Run,
    tokenizer: &Tokenizer,
    mut keeper: Keeper,
    mut profiler: Option<Rc<Cell<bool>>>,
    report: &mut Report,
) -> Result<Outcome> {
    let interrupted = save::listen_for_interrupt();
    let (mut train_loss, mut end) = (None, None);
    let mut stage = run.stage();
    while let Some(event) = pollster::block_on(stage.next()) {
        match event? {
            Event::Start(start) => report.start(&start),
            Event::Step(step) => {
                report.step(&step);
                if let Some(profiler) = profiler.take_if(|_| step.step >= WARM_UP) {
                    profiler.set(true);
                }
            }
            Event::Profile { step, kernels } => report.profile(step, &kernels),
            Event::Eval { step, train_loss: train, val_loss } => {
                train_loss = Some(train);
                report.eval(step, train, val_loss);
            }
            Event::Sample { step, ids } => report.sample(step, &spoken(tokenizer, &ids)),
            Event::Nonfinite { step, in_a_row } => report.nonfinite(step, in_a_row),
            Event::Checkpoint { step, files } => keeper.save(step, files, report),
            Event::Done(done) => end = Some(done),
        }
        keeper.retry(report);
        if interrupted.load(Ordering::Relaxed) {
            stage.stop();
        }
    }
    keeper.finish(report)?;
    let done = end.ok_or_else(|| anyhow!("the run ended without a word"))?;
    Ok(Outcome { done, train_loss })
}

/// The text of a sample, without the tokens that begin and end a document.
fn spoken(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let ids: Vec<u32> = ids.iter().copied().filter(|id| Some(*id) != tokenizer.eot_id()).collect();
    tokenizer.decode(&ids)
}

impl Outcome {
    /// What the model card says.
    fn facts(&self, out: &Path, record: &Record, settings: &Settings) -> CardFacts {
        let file_name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let data = match record.data.as_str() {
            "stories" => {
                format!("Cloche's built-in stories, {} bytes, seed {}", record.stories_bytes, settings.seed)
            }
            path => file_name(Path::new(path)).unwrap_or_else(|| path.to_string()),
        };
        CardFacts {
            name: file_name(out).unwrap_or_else(|| record.preset.clone()),
            data,
            tokenizer: record.tokenizer.clone(),
            seed: settings.seed,
            steps: self.done.step,
            tokens: self.done.step * settings.tokens_per_step() as u64,
            train_loss: self.train_loss,
            val_loss: self.done.val_loss,
            licence: None,
        }
    }
}
