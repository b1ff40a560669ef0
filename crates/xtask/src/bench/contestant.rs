//! A program that computes what it is told to and says how long it took. The orders are written at
//! `crates/models/examples/contestant`.

use crate::shell::root;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// How long a program may take to end once it gets no more orders: a browser has to be closed.
const GRACE: Duration = Duration::from_secs(10);

/// A running program, waiting for orders.
pub(crate) struct Contestant {
    /// What it is called when it fails.
    pub(crate) name: String,
    /// The adapter it runs on, if any.
    pub(crate) adapter: Option<String>,
    /// The cases it knows.
    pub(crate) cases: Vec<String>,
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// One way to compute the case that is open.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct System {
    /// What rows call it.
    pub(crate) name: String,
    /// Where it runs; ceilings are per device.
    pub(crate) device: String,
    /// Whether it is Cloche.
    pub(crate) ours: bool,
    /// Whether memory limits it rather than arithmetic.
    pub(crate) by_memory: bool,
    /// Operations of one run, if it knows.
    pub(crate) flops: Option<f64>,
    /// Bytes of one run, if it knows.
    pub(crate) bytes: Option<f64>,
    /// Kernels of one run, if it knows.
    pub(crate) dispatches: Option<u64>,
    /// The losses of the first steps, where a case has them.
    pub(crate) losses: Vec<f64>,
}

impl Contestant {
    /// Starts a program; nothing, and a line that says why, where it cannot take part.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Option<Contestant>> {
        let piped = command.current_dir(root()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().with_context(|| format!("cannot start {name}"))?;
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("a pipe")?);
        let (adapter, cases) = (None, Vec::new());
        let mut started = Contestant { name: name.into(), adapter, cases, child, orders, answers };
        let ready = match started.answer() {
            Ok(answer) => answer["ready"].clone(),
            Err(error) => {
                println!("SKIPPED {name}: {error:#}");
                return Ok(None);
            }
        };
        started.adapter = ready["adapter"].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
        let cases = ready["cases"].as_array().context("a contestant names its cases")?;
        started.cases = cases.iter().filter_map(|case| case.as_str().map(str::to_owned)).collect();
        Ok(Some(started))
    }

    /// Opens a case, which compares its results.
    pub(crate) fn open(&mut self, case: &str) -> Result<Vec<System>> {
        let answer = self.order(&super::open(case))?;
        let systems = answer["systems"].as_array().context("a case has systems")?;
        systems.iter().map(System::read).collect()
    }

    /// Seconds of one run of a system, by samples.
    pub(crate) fn time(&mut self, system: usize, seconds: f64) -> Result<Vec<f64>> {
        let answer = self.order(&json!({ "time": system, "seconds": seconds }))?;
        let samples = answer["seconds"].as_array().context("samples")?;
        Ok(samples.iter().filter_map(Value::as_f64).collect())
    }

    fn order(&mut self, order: &Value) -> Result<Value> {
        let orders = self.orders.as_mut().context("a contestant that has orders")?;
        writeln!(orders, "{order}").with_context(|| format!("{} has ended", self.name))?;
        self.answer().with_context(|| self.name.clone())
    }

    /// The next line that is an answer; others are shown.
    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        while self.answers.read_line(&mut line)? > 0 {
            if line.starts_with('{') {
                let answer: Value = serde_json::from_str(&line)?;
                if let Some(failed) = answer["failed"].as_str() {
                    bail!("{failed}");
                }
                return Ok(answer);
            }
            print!("{line}");
            line.clear();
        }
        bail!("it ended without an answer")
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        drop(self.orders.take());
        let pause = Duration::from_millis(50);
        for _ in 0..GRACE.as_millis() / pause.as_millis() {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            sleep(pause);
        }
        // It hangs; where it has ended meanwhile, so much the better.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl System {
    fn read(value: &Value) -> Result<System> {
        let text =
            |key: &str| value[key].as_str().with_context(|| format!("a system without {key}: {value}"));
        let positive = |key: &str| value[key].as_f64().filter(|&x| x > 0.0);
        Ok(System {
            name: text("name")?.into(),
            device: text("device")?.into(),
            ours: value["ours"] == true,
            by_memory: value["limit"] == "memory",
            flops: positive("flops"),
            bytes: positive("bytes"),
            dispatches: value["dispatches"].as_u64().filter(|&n| n > 0),
            losses: value["losses"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect(),
        })
    }
}
