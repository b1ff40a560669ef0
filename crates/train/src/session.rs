//! The bookkeeping of a stage after pre-training: what a step came to, the time, and when to stop.

use std::cell::{Ref, RefCell};
use std::rc::Rc;

use cloche_models::Network;
use cloche_tensor::Device;
use serde::Serialize;
use web_time::Instant;

use crate::checkpoint::{History, Keeper, MODEL, ResumeError, Saved, State};
use crate::events::{Reason, TuneDone, TuneEvent, TuneStart, TuneStep};
use crate::learner::{Learner, Optimization, Outcome};
use crate::pace::Pace;
use crate::pretrain::MAX_NONFINITE;

/// Where a run is, and how fast it goes.
pub(crate) struct Session<S> {
    /// Shared with whoever keeps the run.
    state: Rc<RefCell<State<S>>>,
    began: Instant,
    pace: Pace,
}

impl<S> Session<S> {
    /// At the first step, on data of this fingerprint.
    pub fn new(settings: S, data: String) -> Session<S> {
        Self::resume(State { step: 0, nonfinite_in_a_row: 0, settings, data, history: History::default() })
    }

    /// Where a checkpoint left off.
    pub fn resume(state: State<S>) -> Session<S> {
        Session { state: Rc::new(RefCell::new(state)), began: Instant::now(), pace: Pace::default() }
    }

    /// Where a checkpoint left off, or at the first step where there is none. The settings are those of now.
    ///
    /// # Errors
    /// A checkpoint of a run on other data.
    pub fn open(settings: S, data: String, saved: Option<&Saved<S>>) -> Result<Session<S>, ResumeError>
    where
        S: Clone,
    {
        let Some(saved) = saved else { return Ok(Session::new(settings, data)) };
        saved.expect_data(&data)?;
        Ok(Session::resume(State { settings, ..saved.state.clone() }))
    }

    /// Where the run is.
    pub fn state(&self) -> Ref<'_, State<S>> {
        self.state.borrow()
    }

    /// What keeps a run in which one model learns.
    pub fn keeper(&self, learner: &Learner) -> Keeper
    where
        S: Serialize + 'static,
    {
        self.keeper_of(&[(MODEL, learner)])
    }

    /// What keeps a run in which these models learn.
    pub fn keeper_of(&self, learners: &[(&'static str, &Learner)]) -> Keeper
    where
        S: Serialize + 'static,
    {
        let part =
            |&(name, learner): &(_, &Learner)| (name, learner.weights().clone(), learner.moments.clone());
        Keeper::new(&self.state, learners.iter().map(part).collect())
    }

    pub fn start(&self, stage: &'static str, device: &Device, network: &Network, steps: u64) -> TuneEvent {
        let numel = |specs: &[cloche_nn::ParamSpec]| specs.iter().map(|spec| spec.numel() as u64).sum();
        TuneEvent::Start(TuneStart {
            stage,
            step: self.state().step,
            steps,
            n_params: numel(network.weights.specs()),
            n_trained: numel(network.trained().specs()),
            device: device.describe().to_string(),
        })
    }

    /// From here on time counts: evaluations and pauses are over.
    pub fn begin(&mut self) {
        self.began = Instant::now();
    }

    /// Notes what a step of so many tokens came to, and makes an event of it.
    pub fn record(&mut self, settings: &Optimization, outcome: Outcome, tokens: usize) -> TuneEvent {
        self.pace.add(self.began.elapsed().as_secs_f64(), 1, tokens);
        let mut state = self.state.borrow_mut();
        state.step += 1;
        let step = state.step;
        if !outcome.finite {
            state.nonfinite_in_a_row += 1;
            return TuneEvent::Nonfinite { step, in_a_row: state.nonfinite_in_a_row };
        }
        state.nonfinite_in_a_row = 0;
        state.history.push(step, outcome.loss);
        TuneEvent::Step(TuneStep {
            step,
            loss: outcome.loss,
            lr: settings.lr_at(step),
            grad_norm: outcome.grad_norm,
            tokens_per_s: self.pace.tokens_per_s(),
            seconds_left: self.pace.seconds_for(settings.steps - step),
            metrics: outcome.metrics,
        })
    }

    /// Whether `every` steps have passed once more; never where it is 0.
    pub fn due(&self, every: u64) -> bool {
        every > 0 && self.state().step.is_multiple_of(every)
    }

    /// Whether nothing finite has come for so long that there is no use in going on.
    pub fn diverged(&self) -> bool {
        self.state().nonfinite_in_a_row >= MAX_NONFINITE
    }

    pub fn done(&self, steps: u64) -> TuneEvent {
        let step = self.state().step;
        let reason = match step {
            _ if self.diverged() => Reason::Diverged,
            step if step < steps => Reason::Stopped,
            _ => Reason::Finished,
        };
        TuneEvent::Done(TuneDone { step, reason, seconds: self.pace.total as f32 })
    }
}
