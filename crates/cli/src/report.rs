//! What a command tells: lines and a progress bar for people, JSON lines for programs.

use std::cell::RefCell;
use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow};
use cloche_train::bytes_in_words;
use cloche_train::events::{Done, KernelTime, Metrics, Reason, Start, Step, TuneDone, TuneStart, TuneStep};
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use serde::Serialize;

/// A line for programs; its kind comes first.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line<'a> {
    Start(&'a Start),
    Step(&'a Step),
    Eval {
        step: u64,
        train_loss: f32,
        val_loss: f32,
    },
    Sample {
        step: u64,
        text: &'a str,
    },
    Nonfinite {
        step: u64,
        in_a_row: u32,
    },
    Profile {
        step: u64,
        kernels: &'a [KernelTime],
    },
    Checkpoint {
        step: u64,
    },
    Warning {
        message: String,
    },
    Note {
        message: String,
    },
    Done {
        #[serde(flatten)]
        done: &'a Done,
        out: &'a str,
    },
    #[serde(rename = "start")]
    TuneStart(&'a TuneStart),
    #[serde(rename = "step")]
    TuneStep(&'a TuneStep),
    #[serde(rename = "eval")]
    Measured {
        step: u64,
        #[serde(flatten)]
        metrics: &'a Metrics,
    },
    #[serde(rename = "sample")]
    Answered(&'a Sample<'a>),
    Remark {
        step: u64,
        message: &'a str,
    },
    #[serde(rename = "done")]
    TuneDone {
        #[serde(flatten)]
        done: &'a TuneDone,
        out: &'a str,
    },
}

/// An answer, as the stage tells it, and the texts.
#[derive(Serialize)]
pub struct Sample<'a> {
    /// Steps done.
    pub step: u64,
    /// Which prompt of the exam.
    pub prompt: usize,
    /// The answer's tokens.
    pub ids: &'a [u32],
    /// What the verifier gives for it.
    pub reward: f32,
    /// What was asked.
    pub question: &'a str,
    /// The answer.
    pub text: &'a str,
}

/// Tells how a command is doing, on standard output; the bar is on standard error.
pub struct Report {
    json: bool,
    bar: ProgressBar,
    /// Where the lines for programs are kept as well.
    log: RefCell<Option<File>>,
}

impl Report {
    /// A report in JSON lines, or for people. The bar is shown on a terminal only.
    pub fn new(json: bool) -> Report {
        Report { json, bar: ProgressBar::hidden(), log: RefCell::new(None) }
    }

    /// The same, which also adds its lines for programs to the end of a file.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn with_log(json: bool, log: Option<&Path>) -> Result<Report> {
        let open = |path: &Path| File::options().create(true).append(true).open(path);
        let named = |path: &Path| open(path).map_err(|error| anyhow!("{}: {error}", path.display()));
        Ok(Report { log: RefCell::new(log.map(named).transpose()?), ..Report::new(json) })
    }

    /// A line for people.
    pub fn say(&self, line: impl Display) {
        if !self.json {
            self.bar.suspend(|| print_line(line));
        }
    }

    fn event(&self, line: Line<'_>) {
        if self.json {
            print_json(&line);
        }
        let written = match &mut *self.log.borrow_mut() {
            Some(log) => log.write_all(in_json(&line).as_bytes()),
            None => Ok(()),
        };
        // A full disk ends the log, not the run.
        if let Err(error) = written {
            self.log.take();
            self.warn(format_args!("the log ends here: {error}"));
        }
    }

    /// Something that the user should know, but that stops nothing.
    pub fn warn(&self, message: impl Display) {
        self.event(Line::Warning { message: message.to_string() });
        if !self.json {
            self.bar.suspend(|| eprintln!("warning: {message}"));
        }
    }

    /// Something that was asked for, with its numbers.
    pub fn note(&self, message: impl Display) {
        self.event(Line::Note { message: message.to_string() });
        self.say(message);
    }

    /// Shows a spinner for work whose end is not known.
    pub fn begin(&mut self, what: &str) {
        self.bar.finish_and_clear();
        if !self.json {
            self.bar = ProgressBar::new_spinner().with_message(what.to_string());
            self.bar.enable_steady_tick(Duration::from_millis(200));
        }
    }

    /// Says how far the work has come.
    pub fn at(&self, message: impl Display) {
        if !self.json {
            self.bar.set_message(message.to_string());
        }
    }

    /// Takes the bar away.
    pub fn end(&mut self) {
        self.bar.finish_and_clear();
        self.bar = ProgressBar::hidden();
    }

    /// The facts of a run, and a bar over its steps.
    pub fn start(&mut self, start: &Start) {
        self.end();
        self.event(Line::Start(start));
        self.say(format_args!(
            "{} parameters, vocabulary of {}, {} tokens a step, on {}",
            HumanCount(start.n_params),
            start.vocab_size,
            start.tokens_per_step,
            start.device
        ));
        self.say(format_args!(
            "{} of memory, {:.2} GFLOP and {} kernels a step",
            bytes_in_words(start.peak_bytes),
            start.flops_per_step as f64 * 1e-9,
            start.dispatches_per_step
        ));
        if start.recomputed_layers > 0 {
            self.say(format_args!(
                "to fit in it, the backward pass computes {} blocks again",
                start.recomputed_layers
            ));
        }
        if let Some(floor) = start.floor {
            self.say(format_args!("no model can get below {floor:.4} nats per token on this text"));
        }
        self.count(start.step, start.steps);
    }

    /// Shows a bar over steps.
    fn count(&mut self, step: u64, steps: u64) {
        if !self.json {
            let style = "{bar:30} step {pos} of {len}  {msg}";
            self.bar = ProgressBar::new(steps).with_position(step);
            self.bar.set_style(ProgressStyle::with_template(style).expect("the template is valid"));
        }
    }

    /// One step.
    pub fn step(&self, step: &Step) {
        self.event(Line::Step(step));
        self.bar.set_position(step.step);
        self.at(format_args!(
            "loss {:.4}  {} tokens/s  {} left",
            step.loss,
            HumanCount(step.tokens_per_s as u64),
            HumanDuration(Duration::from_secs_f32(step.seconds_left.clamp(0.0, 1e9)))
        ));
    }

    /// Losses on both splits.
    pub fn eval(&self, step: u64, train_loss: f32, val_loss: f32) {
        self.event(Line::Eval { step, train_loss, val_loss });
        self.say(format_args!("step {step}: train loss {train_loss:.4}, val loss {val_loss:.4}"));
    }

    /// What the model says now.
    pub fn sample(&self, step: u64, text: &str) {
        self.event(Line::Sample { step, text });
        self.say(format_args!("--- step {step} says ---\n{text}\n---"));
    }

    /// A step without a finite gradient.
    pub fn nonfinite(&self, step: u64, in_a_row: u32) {
        self.event(Line::Nonfinite { step, in_a_row });
        self.say(format_args!(
            "step {step}: the gradient is not finite, the step is skipped ({in_a_row} in a row)"
        ));
    }

    /// Where the time of a step went.
    pub fn profile(&self, step: u64, kernels: &[KernelTime]) {
        self.event(Line::Profile { step, kernels });
        let total: f64 = kernels.iter().map(|kernel| kernel.seconds).sum();
        self.say(format_args!("step {step}: {:.2} ms in kernels", 1e3 * total));
        for KernelTime { name, count, seconds } in kernels {
            let (share, ms) = (100.0 * seconds / total, 1e3 * seconds);
            self.say(format_args!("{share:6.1} % {ms:9.3} ms {count:5} × {name}"));
        }
    }

    /// A checkpoint that is stored.
    pub fn checkpoint(&self, step: u64) {
        self.event(Line::Checkpoint { step });
    }

    /// The end; `out` is where the model lies.
    pub fn done(&mut self, done: &Done, out: &str) {
        self.end();
        self.event(Line::Done { done, out });
        let how = in_words(done.reason);
        let loss = done.val_loss.map_or(String::new(), |loss| format!(", val loss {loss:.4}"));
        self.say(format_args!(
            "{how} after {} steps{loss}, {:.1} s in steps: {out}",
            done.step, done.seconds
        ));
    }

    /// The facts of a stage after pre-training, and a bar over its steps.
    pub fn tune_start(&mut self, start: &TuneStart) {
        self.end();
        self.event(Line::TuneStart(start));
        let learn = match start.n_trained == start.n_params {
            true => "all of which learn".to_string(),
            false => format!("frozen; {} beside them learn", HumanCount(start.n_trained)),
        };
        self.say(format_args!("{} parameters, {learn}, on {}", HumanCount(start.n_params), start.device));
        self.count(start.step, start.steps);
    }

    /// One step of such a stage.
    pub fn tune_step(&self, step: &TuneStep) {
        self.event(Line::TuneStep(step));
        self.bar.set_position(step.step);
        let reward =
            step.metrics.get("reward").map_or(String::new(), |reward| format!("reward {reward:.3}  "));
        self.at(format_args!(
            "{reward}loss {:.4}  {} tokens/s  {} left",
            step.loss,
            HumanCount(step.tokens_per_s as u64),
            HumanDuration(Duration::from_secs_f32(step.seconds_left.clamp(0.0, 1e9)))
        ));
    }

    /// What the numbers of a step mean.
    pub fn remark(&self, step: u64, message: &str) {
        self.event(Line::Remark { step, message });
        self.say(format_args!("step {step}: {message}"));
    }

    /// How the model does on what is held out.
    pub fn measured(&self, step: u64, metrics: &Metrics) {
        self.event(Line::Measured { step, metrics });
        let numbers: Vec<String> =
            metrics.0.iter().map(|(name, x)| format!("{} {x:.4}", name.replace('_', " "))).collect();
        self.say(format_args!("step {step}: {}", numbers.join(", ")));
    }

    /// What the model answers now, and what it is worth.
    pub fn answered(&self, sample: &Sample<'_>) {
        self.event(Line::Answered(sample));
        let Sample { step, reward, question, text, .. } = sample;
        self.say(format_args!("--- step {step}, reward {reward} ---\n{question}\n→ {text}"));
    }

    /// The end of such a stage; `out` is where the model lies.
    pub fn tune_done(&mut self, done: &TuneDone, out: &str) {
        self.end();
        self.event(Line::TuneDone { done, out });
        let how = in_words(done.reason);
        self.say(format_args!("{how} after {} steps, {:.1} s in steps: {out}", done.step, done.seconds));
    }
}

fn in_words(reason: Reason) -> &'static str {
    match reason {
        Reason::Finished => "done",
        Reason::Stopped => "stopped",
        Reason::Diverged => "given up",
    }
}

/// Prints an object as one line. Whoever reads may have gone away, which is no error of ours.
pub fn print_json(value: &impl Serialize) {
    print_line(in_json(value).trim_end());
}

/// An object as one line.
fn in_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("numbers and strings only") + "\n"
}

/// Prints a line to standard output.
pub fn print_line(line: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
