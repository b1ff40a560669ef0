//! `cloche course`: the whole way on built-in data, from an empty model to an aligned one, with a report.
//!
//! A course is a list of commands that one could type one after the other. It keeps the log of each, asks every model the
//! same questions, and writes the report anew after each chapter, so that there is something to read early.

mod chapters;
mod interview;
mod journal;
mod plot;
mod report;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Result, bail};
use clap::{Args, Parser};
use serde::{Deserialize, Serialize};

use crate::device::{self, Choice};
use crate::report::Report;
use crate::save::listen_for_interrupt;
use crate::{Cli, execute, folder};
use chapters::{CHAPTERS, Chapter};
use interview::interview;
use journal::Journal;
use report::Done;

/// The file that says what a course is.
const RECORD: &str = "course.json";

/// The options of `cloche course`.
#[derive(Args)]
pub struct CourseArgs {
    /// The folder for the report, and for a folder of each chapter.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    device: Choice,
    /// Everything that is drawn follows from it [default: 1337].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The steps of each chapter, times this: 0.1 for a quick look [default: 1].
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    scale: Option<f64>,
    /// Go on with the course in the folder.
    #[arg(long)]
    resume: bool,
    /// Begin the course in the folder again.
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Print JSON lines.
    #[arg(long)]
    json: bool,
}

/// What a course is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    seed: u64,
    scale: f64,
}

/// Runs the command.
///
/// # Errors
/// A folder that is taken, or holds another course; whatever a chapter says.
pub fn run(args: &CourseArgs) -> Result<()> {
    let report = Report::new(args.json);
    let out = args.out.as_path();
    let record = args.record()?;
    let interrupted = listen_for_interrupt();
    let mut done: Vec<Done<'_>> = Vec::new();
    for (number, chapter) in CHAPTERS.iter().enumerate() {
        // 1. The command, unless it has been run to its end before.
        report.say(format_args!("\n{} of {}  {}", number + 1, CHAPTERS.len(), chapter.title));
        let words = chapter.words(out, &record, args.device);
        if !Journal::read(&chapter.log(out))?.is_finished() {
            execute(Cli::try_parse_from(chapter.typed(out, words.clone(), args))?.command)?;
        }
        let journal = Journal::read(&chapter.log(out))?;
        if !journal.is_finished() || interrupted.load(Ordering::Relaxed) {
            report.say(format_args!("to go on: cloche course --out {} --resume", out.display()));
            return Ok(());
        }
        // 2. What its model says now.
        let interview = if chapter.speaks { Some(args.interview(chapter, &report)?) } else { None };
        done.push(Done { chapter, command: format!("cloche {}", words.join(" ")), journal, interview });
        // 3. What there is to read so far.
        report::write(out, &about(&record, &done), &done)?;
    }
    report.say(format_args!("\nthe report is in {}", out.join("report.html").display()));
    Ok(())
}

impl CourseArgs {
    /// The course of the folder, or a new one, whose folder is made.
    fn record(&self) -> Result<Record> {
        let (out, at) = (&self.out, self.out.join(RECORD));
        let known = match at.is_file() {
            true => {
                folder::read_json(out, RECORD)?.map(|text| serde_json::from_str::<Record>(&text)).transpose()
            }
            false => Ok(None),
        };
        let known = known.map_err(|error| anyhow::anyhow!("{}: {error}", at.display()))?;
        match known {
            Some(known) if self.resume => {
                let asked = Record {
                    seed: self.seed.unwrap_or(known.seed),
                    scale: self.scale.unwrap_or(known.scale),
                };
                if asked != known {
                    bail!(
                        "{}: found {known:?}, not {asked:?}; a course goes on as it was begun",
                        at.display()
                    );
                }
                Ok(known)
            }
            None if self.resume => bail!("{} holds no course to resume", out.display()),
            Some(_) if !self.overwrite => bail!(
                "{} holds a course already: --resume goes on with it, --overwrite begins again",
                out.display()
            ),
            _ => {
                let record = Record { seed: self.seed.unwrap_or(1337), scale: self.scale.unwrap_or(1.0) };
                if !(record.scale > 0.0 && record.scale <= 100.0) {
                    bail!("scale: found {}, expected a number above 0, at most 100", record.scale);
                }
                folder::create(out)?;
                for file in CHAPTERS.iter().flat_map(|chapter| [chapter.log(out), chapter.interview(out)]) {
                    if file.is_file() {
                        std::fs::remove_file(file)?;
                    }
                }
                folder::write_file(out, RECORD, serde_json::to_string(&record)?.as_bytes())?;
                Ok(record)
            }
        }
    }

    /// What the model of a chapter says, which is asked once.
    fn interview(&self, chapter: &Chapter, report: &Report) -> Result<interview::Interview> {
        let path = chapter.interview(&self.out);
        if let Some(known) = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
            return Ok(known);
        }
        let device = device::open(self.device)?;
        let found = interview(&chapter.folder(&self.out), &device, report)?;
        report.say(format_args!(
            "of questions never asked before {:.0} % are answered to the letter; those of comparisons are worth {:.2} points",
            100.0 * found.exact,
            found.judgement
        ));
        std::fs::write(&path, serde_json::to_string_pretty(&found)?)?;
        Ok(found)
    }
}

impl Chapter {
    fn folder(&self, out: &Path) -> PathBuf {
        out.join(self.name)
    }

    fn log(&self, out: &Path) -> PathBuf {
        out.join(format!("{}.jsonl", self.name))
    }

    fn interview(&self, out: &Path) -> PathBuf {
        out.join(format!("{}.json", self.name))
    }

    /// The command as one would type it.
    fn words(&self, out: &Path, record: &Record, choice: Choice) -> Vec<String> {
        let place = |word: &str| match word.strip_prefix('{').and_then(|word| word.strip_suffix('}')) {
            Some(name) => out.join(name).display().to_string(),
            None => word.to_string(),
        };
        let steps = ((self.steps as f64 * record.scale).round() as u64).max(2);
        let more = [
            ("--steps", steps.to_string()),
            ("--eval-every", (steps / 6).max(1).to_string()),
            ("--seed", record.seed.to_string()),
            ("--device", choice.name().to_string()),
            ("--out", self.folder(out).display().to_string()),
        ];
        let more = more.into_iter().flat_map(|(name, value)| [name.to_string(), value]);
        self.command.split_whitespace().map(place).chain(more).collect()
    }

    /// The same with what only a course needs: the log, and to go on where it was cut off.
    fn typed(&self, out: &Path, words: Vec<String>, args: &CourseArgs) -> Vec<String> {
        let begun = args.resume && self.folder(out).join("run.json").is_file();
        let how = if begun { "--resume" } else { "--overwrite" };
        let log = ["--log".to_string(), self.log(out).display().to_string()];
        let json = args.json.then(|| "--json".to_string());
        let typed = std::iter::once("cloche".to_string()).chain(words).chain(log);
        typed.chain([how.to_string()]).chain(json).collect()
    }
}

/// The report's first words.
fn about(record: &Record, done: &[Done<'_>]) -> String {
    let seconds: f64 = done.iter().map(|done| done.journal.seconds()).sum();
    let scale = match record.scale {
        1.0 => String::new(),
        scale => format!(", every chapter with {scale} times its steps"),
    };
    format!(
        "A course of {} chapters, of which {} are done, in {:.1} minutes of training on the data that Cloche makes \
         itself. Seed {}{scale}. The same command gives the same report.",
        CHAPTERS.len(),
        done.len(),
        seconds / 60.0,
        record.seed
    )
}
