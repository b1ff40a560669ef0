//! Pre-training: predict the next token of a text, over and over.
//!
//! Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"; the loop and its defaults are those of
//! Karpathy's nanoGPT (2022, <https://github.com/karpathy/nanoGPT>). Departures: every batch, dropout mask and sample is a
//! function of the seed and the step, so that a resumed run equals an uninterrupted one bit for bit; a step whose
//! gradient is not finite is skipped on the device.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use cloche_models::Network;
use cloche_tensor::Device;
use web_time::Instant;

use crate::checkpoint::{History, Keeper, MODEL, Parts, ResumeError, Saved, State};
use crate::cost::{Planned, RunCost};
use crate::data::{Corpus, Tokens, Windows};
use crate::error::Error;
use crate::evaluate::Evaluator;
use crate::events::{Done, Event, Reason, Start, Step};
use crate::pace::Pace;
use crate::settings::Settings;
use crate::stage::{Control, Events, Stage, stage};
use crate::step::{Outcome, Trainer};

/// Steps without a finite gradient, in a row, after which a run stops.
pub const MAX_NONFINITE: u32 = 10;

/// Steps between two readings of losses on a GPU, where each reading waits for the device.
const GPU_READ_EVERY: u64 = 8;

/// A run before its first event.
pub struct Run {
    device: Device,
    settings: Settings,
    corpus: Corpus,
    cost: RunCost,
    trainer: Trainer,
    evaluator: Evaluator,
    /// Windows of both splits that evaluations take.
    train_windows: Windows<Rc<dyn Tokens>>,
    val_windows: Windows<Rc<dyn Tokens>>,
    /// Steps done, and what they came to; shared with whoever keeps the run.
    state: Rc<RefCell<State>>,
    keeper: Keeper,
    profiler: Rc<Cell<bool>>,
}

impl Run {
    /// Prepares a run: validates, plans, allocates, draws the initial weights.
    ///
    /// # Errors
    /// Settings out of range, a text shorter than the context, a model for which `available_bytes` are not enough.
    pub fn new(
        device: &Device,
        settings: Settings,
        corpus: Corpus,
        available_bytes: Option<u64>,
    ) -> Result<Run, Error> {
        let data = corpus.fingerprint().to_string();
        let state = State { step: 0, nonfinite_in_a_row: 0, settings, data, history: Default::default() };
        Self::prepare(device, state, corpus, available_bytes, None)
    }

    /// Prepares to go on from a checkpoint, whose settings may have been changed: more steps, other samples.
    ///
    /// # Errors
    /// As [`new`](Self::new); a checkpoint that belongs to other data, or settings of another model.
    pub fn resume(
        device: &Device,
        mut saved: Saved,
        corpus: Corpus,
        available_bytes: Option<u64>,
    ) -> Result<Run, Error> {
        saved.expect_data(corpus.fingerprint())?;
        Self::prepare(device, saved.state.clone(), corpus, available_bytes, Some(&mut saved.parts))
    }

    fn prepare(
        device: &Device,
        state: State,
        corpus: Corpus,
        available_bytes: Option<u64>,
        saved: Option<&mut Parts>,
    ) -> Result<Run, Error> {
        let settings = state.settings.clone();
        let Planned { step, evaluation, cost } = Planned::new(device, &settings, available_bytes)?;
        if state.step > settings.steps {
            let (found, expected) = (state.step.to_string(), format!("at most {}", settings.steps));
            return Err(ResumeError::Differs { what: "step", found, expected }.into());
        }
        let rows = (settings.batch_size, settings.model.context_len);
        let windows = |tokens: &Rc<dyn Tokens>| {
            Windows::new(tokens.clone(), rows.0, rows.1, Some(settings.eval_batches.max(1)))
        };
        let (train_windows, val_windows) = (windows(&corpus.train)?, windows(&corpus.val)?);
        let cost = RunCost { cost, recomputed_layers: step.recomputed_layers };
        let trainer = Trainer::new(device, &settings, step, corpus.train.clone(), saved)?;
        let evaluator = Evaluator::load(device, evaluation, &trainer.network.states(), rows.0 * rows.1)?;
        let (device, state) = (device.clone(), Rc::new(RefCell::new(state)));
        let model = (MODEL, trainer.network.weights.clone(), trainer.moments.clone());
        let keeper = Keeper::new(&state, vec![model]);
        Ok(Run {
            device,
            settings,
            corpus,
            cost,
            trainer,
            evaluator,
            train_windows,
            val_windows,
            state,
            keeper,
            profiler: Rc::default(),
        })
    }

    /// The model as it is on the device, its weights shared with the run: it can be sampled from and saved at any time
    /// between two events.
    pub fn network(&self) -> Network {
        self.trainer.network.clone()
    }

    /// All settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Losses so far, where the run goes on from a checkpoint.
    pub fn history(&self) -> History {
        self.state.borrow().history.clone()
    }

    /// Whoever can make a checkpoint of the run between two events, and behind the last one.
    pub fn keeper(&self) -> Keeper {
        self.keeper.clone()
    }

    /// To be set by whoever wants to know where the time goes: the next step is timed, kernel by kernel, and
    /// [`Event::Profile`] follows it. Results stay the same.
    pub fn profiler(&self) -> Rc<Cell<bool>> {
        self.profiler.clone()
    }

    /// The run as a stage that yields [`Event`]s.
    pub fn stage(self) -> Stage<Event, Error> {
        stage(async |events| pretrain(self, events).await)
    }
}

/// The stage itself.
async fn pretrain(mut run: Run, events: Events<Event>) -> Result<(), Error> {
    let settings = run.settings.clone();
    let read_every = if run.device.gpu().is_some() { GPU_READ_EVERY } else { 1 };
    let mut pace = Pace::default();
    let mut reason = Reason::Finished;
    let mut control = events.send(Event::Start(run.start())).await;

    while control == Control::Continue {
        // 1. Look at where we are: losses on both splits, and a sample.
        let done = run.state.borrow().step;
        let due = |every: u64| every > 0 && done.is_multiple_of(every);
        if due(settings.eval_every) || done == settings.steps {
            control = events.send(run.evaluate().await?).await;
        }
        if settings.sample_at.contains(&done) && control == Control::Continue {
            let ids = run.trainer.sample(done, &settings).await?;
            control = events.send(Event::Sample { step: done, ids }).await;
        }
        if done == settings.steps || control == Control::Stop {
            break;
        }
        // 2. Take steps: batch, forward, backward, clip, update. Their losses are read together.
        let until = (done / read_every + 1) * read_every;
        let patience = MAX_NONFINITE.saturating_sub(run.state.borrow().nonfinite_in_a_row).max(1) as u64;
        let until = until.min(settings.next_stop(done)).min(done + patience);
        let began = Instant::now();
        let mut profile = None;
        for step in done + 1..=until {
            let timed = run.profiler.take();
            let kernels = run.trainer.step(step, &settings, timed).await?;
            profile = timed.then_some(Event::Profile { step, kernels }).or(profile);
        }
        let outcomes = run.trainer.outcomes(&settings).await?;
        let steps = until - done;
        pace.add(began.elapsed().as_secs_f64(), steps, steps as usize * settings.tokens_per_step());
        // 3. Note them all, so that a checkpoint has what the weights have learnt, and tell them.
        let told: Vec<Event> =
            (done + 1..).zip(outcomes).map(|(step, outcome)| run.record(step, outcome, &pace)).collect();
        for event in told.into_iter().chain(profile) {
            if events.send(event).await == Control::Stop {
                control = Control::Stop;
            }
        }
        // 4. Ten bad steps in a row: the weights have not changed since the last good one.
        if run.state.borrow().nonfinite_in_a_row >= MAX_NONFINITE {
            reason = Reason::Diverged;
            break;
        }
        // 5. Save. On the way out it happens below.
        let due = settings.checkpoint_every > 0 && until.is_multiple_of(settings.checkpoint_every);
        if due && until < settings.steps && control == Control::Continue {
            control = events.send(run.keeper.event().await?).await;
        }
    }
    if run.state.borrow().step < settings.steps && reason == Reason::Finished {
        reason = Reason::Stopped;
    }
    events.send(run.keeper.event().await?).await;
    let val_loss = run.state.borrow().history.evals.last().map(|&(_, _, val_loss)| val_loss);
    let done = Done { step: run.state.borrow().step, reason, val_loss, seconds: pace.total as f32 };
    events.send(Event::Done(done)).await;
    Ok(())
}

impl Settings {
    /// The next step after `done` at which the loop has something else to do: evaluate, sample, save or end.
    fn next_stop(&self, done: u64) -> u64 {
        let multiple = |every: u64| (done + 1).checked_next_multiple_of(every);
        let sample = self.sample_at.iter().copied().filter(|&s| s > done).min();
        let stops = [multiple(self.eval_every), multiple(self.checkpoint_every), sample, Some(self.steps)];
        stops.into_iter().flatten().filter(|&s| s > done).min().unwrap_or(self.steps)
    }
}

impl Run {
    fn start(&self) -> Start {
        let RunCost { cost, recomputed_layers } = self.cost;
        Start {
            step: self.state.borrow().step,
            steps: self.settings.steps,
            n_params: self.settings.model.n_params(),
            vocab_size: self.settings.model.vocab_size,
            tokens_per_step: self.settings.tokens_per_step(),
            device: self.device.describe().to_string(),
            peak_bytes: cost.peak_bytes,
            recomputed_layers,
            flops_per_step: cost.flops,
            dispatches_per_step: cost.dispatches,
            floor: self.corpus.floor,
        }
    }

    async fn evaluate(&mut self) -> Result<Event, Error> {
        let train_loss = self.evaluator.loss(&self.train_windows).await?;
        let val_loss = self.evaluator.loss(&self.val_windows).await?;
        let mut state = self.state.borrow_mut();
        let step = state.step;
        state.history.push_eval(step, train_loss, val_loss);
        Ok(Event::Eval { step, train_loss, val_loss })
    }

    /// Notes what a step came to, and makes an event of it.
    fn record(&mut self, step: u64, outcome: Outcome, pace: &Pace) -> Event {
        let mut state = self.state.borrow_mut();
        state.step = step;
        if !outcome.finite {
            state.nonfinite_in_a_row += 1;
            return Event::Nonfinite { step, in_a_row: state.nonfinite_in_a_row };
        }
        state.nonfinite_in_a_row = 0;
        state.history.push(step, outcome.loss);
        Event::Step(Step {
            step,
            loss: outcome.loss,
            lr: self.settings.lr_at(step),
            grad_norm: outcome.grad_norm,
            tokens_per_s: pace.tokens_per_s(),
            seconds_left: pace.seconds_for(self.settings.steps - step),
        })
    }
}
