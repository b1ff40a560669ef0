//! Supervised fine-tuning: learn to answer from demonstrations.
//!
//! The first step of Ouyang et al. 2022 (InstructGPT), <https://arxiv.org/abs/2203.02155>: the loss of pre-training, on
//! conversations, counting only the tokens that the assistant says. Departures: all that the tokens of a step weigh is
//! equal, whatever the length of their answer; order and dropout are functions of the seed and the step, so that a
//! resumed run equals an uninterrupted one bit for bit.

use cloche_models::{Network, Pass};
use cloche_nn::loss;
use cloche_tensor::{DType, Device, Program};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, MODEL, Saved};
use crate::error::Error;
use crate::events::{Metrics, TuneEvent};
use crate::examples::{Deck, Example, Rows, check_examples, fingerprint};
use crate::learner::{Learner, Optimization, Outcome, Recorded, Update};
use crate::rollout::{Exam, Rollouts};
use crate::session::Session;
use crate::stage::{Control, Events, Stage, stage};

/// What a run depends on, besides the model and its data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Steps, rates and rhythm.
    #[serde(flatten)]
    pub optimization: Optimization,
    /// What ends an answer.
    pub stop_ids: Vec<u32>,
}

/// What to learn from.
pub struct Data {
    /// Demonstrations.
    pub train: Vec<Example>,
    /// Demonstrations that are held out, for the loss.
    pub held_out: Vec<Example>,
    /// Questions that are held out, to be answered.
    pub exam: Option<Exam>,
}

/// A run before its first event.
pub struct Run {
    device: Device,
    session: Session<Settings>,
    data: Data,
    learner: Learner,
    update: Update,
    evaluation: Program,
    rollouts: Option<Rollouts>,
    rows: Rows,
    deck: Deck,
}

impl Run {
    /// Prepares a run; the network's weights are what learns, its adapter's where it has one.
    ///
    /// # Errors
    /// Settings out of range, examples that the model cannot learn from, a device that cannot hold the run, a checkpoint of
    /// another run.
    pub fn new(
        device: &Device,
        network: Network,
        settings: Settings,
        data: Data,
        mut saved: Option<Saved<Settings>>,
    ) -> Result<Run, Error> {
        let (config, o) = (network.config, settings.optimization.clone());
        o.validate()?;
        check_examples(&data.train, config.vocab_size, config.context_len)?;
        check_examples(&data.held_out, config.vocab_size, config.context_len)?;
        let all = || data.train.iter().chain(&data.held_out);
        let rows = Rows::new(o.batch_size, Rows::width_of(all(), config.context_len));
        let session = Session::open(settings.clone(), fingerprint(all()), saved.as_ref())?;
        let learner = Learner::new(device, network, saved.as_mut().map(|saved| (saved, MODEL)))?;
        let shape = (o.batch_size, rows.width);
        let update = learner.update(device, &o, |graph, p| record(&config, graph, p, shape, true))?;
        let evaluation = {
            let graph = cloche_tensor::Graph::new();
            let recorded = record(&config, &graph, &learner.network.params(&graph), shape, false);
            let mut outputs = vec![("loss", &recorded.loss)];
            outputs.extend(recorded.metrics.iter().map(|(name, y)| (*name, y)));
            device.compile(&graph, &outputs, &learner.network.states())?
        };
        let prepare = |exam: &Exam| exam.rollouts(device, &learner.network, &settings.stop_ids);
        let rollouts = data.exam.as_ref().map(prepare).transpose()?;
        let deck = Deck::new(data.train.len(), o.seed);
        Ok(Run { device: device.clone(), session, data, learner, update, evaluation, rollouts, rows, deck })
    }

    /// The network as it is on the device: it can be sampled from and saved between two events.
    pub fn network(&self) -> Network {
        self.learner.network.clone()
    }

    /// The run as a stage that yields [`TuneEvent`]s.
    pub fn stage(self) -> Stage<TuneEvent, Error> {
        stage(async |events| sft(self, events).await)
    }
}

/// Records the loss on `(B, T)` tokens, each as likely as the other; `count` of them are targets.
fn record(
    config: &cloche_models::config::ModelConfig,
    graph: &cloche_tensor::Graph,
    p: &cloche_nn::Params,
    shape: (usize, usize),
    training: bool,
) -> Recorded {
    let x = graph.input("x", shape, DType::U32); // (B, T)
    let y = graph.input("y", shape, DType::U32); // (B, T)
    let count = graph.scalar("count");
    let pass = if training { Pass::train(graph, config.dropout) } else { Pass::eval() };
    let logits = cloche_models::logits(config, p, &x, &pass); // (B, T, V)
    let mean = |tokens| loss::mean_over(&tokens, &count); // () of (B, T)
    Recorded {
        loss: mean(loss::token_losses(&logits, &y)),
        metrics: vec![
            ("token_accuracy", mean(loss::token_hits(&logits, &y))),
            ("entropy", mean(loss::token_entropy(&logits, &loss::marks(&y)))),
        ],
    }
}

/// The stage itself.
async fn sft(mut run: Run, events: Events<TuneEvent>) -> Result<(), Error> {
    let o = run.session.state.settings.optimization.clone();
    let mut control = events.send(run.session.start("sft", &run.device, &run.learner.network, o.steps)).await;
    while control == Control::Continue {
        let done = run.session.state.step;
        // 1. Look at where we are: the loss on what is held out, and answers to questions never asked before.
        if run.session.due(o.eval_every) || done == 0 || done == o.steps {
            control = run.examine(&events).await?;
        }
        if done == o.steps || control == Control::Stop {
            break;
        }
        // 2. The next demonstrations of the deck.
        run.session.begin();
        let hand = run.deck.hand(done, o.batch_size);
        let count = run.rows.fill(hand.iter().map(|&card| &run.data.train[card]));
        run.update.program.write("x", &run.rows.x);
        run.update.program.write("y", &run.rows.y);
        run.update.program.set("count", count as f32);
        // 3. Forward, backward, clip, step.
        run.update.run(&o, done + 1, done + 1).await;
        let outcome = Outcome::mean(&run.update.outcomes().await?);
        let tokens = run.rows.x.len();
        control = events.send(run.session.record(&o, outcome, tokens)).await;
        // 4. Ten bad steps in a row: the weights have not changed since the last good one.
        if run.session.diverged() {
            break;
        }
        // 5. Save. On the way out it happens below.
        if run.session.due(o.checkpoint_every) && done + 1 < o.steps && control == Control::Continue {
            control = events.send(run.checkpoint().await?).await;
        }
    }
    events.send(run.checkpoint().await?).await;
    events.send(run.session.done(o.steps)).await;
    Ok(())
}

impl Run {
    /// Loss and token metrics over all held-out examples, and the exam.
    async fn examine(&mut self, events: &Events<TuneEvent>) -> Result<Control, Error> {
        let step = self.session.state.step;
        let mut sums: Vec<f64> = Vec::new();
        let mut targets = 0;
        let batch = self.session.state.settings.optimization.batch_size;
        for chunk in self.data.held_out.chunks(batch) {
            targets += self.rows.fill(chunk.iter());
            self.evaluation.write("x", &self.rows.x);
            self.evaluation.write("y", &self.rows.y);
            // Sums, to be divided by the number of all targets below.
            self.evaluation.set("count", 1.0);
            self.evaluation.run();
            let row = self.evaluation.drain().await?.remove(0);
            sums.resize(row.len(), 0.0);
            sums.iter_mut().zip(&row).for_each(|(sum, y)| *sum += y.f32()[0] as f64);
        }
        let names = ["held_out_loss", "held_out_accuracy", "held_out_entropy"];
        let mean = |sum: f64| (sum / targets as f64) as f32;
        let mut metrics = Metrics(names.into_iter().zip(sums).map(|(name, sum)| (name, mean(sum))).collect());
        let mut samples = Vec::new();
        if let (Some(exam), Some(rollouts)) = (&mut self.data.exam, &mut self.rollouts) {
            let (found, answers) = exam.hold(rollouts, step).await?;
            metrics.0.extend(found.0);
            samples = answers;
        }
        let mut control = events.send(TuneEvent::Eval { step, metrics }).await;
        for sample in samples {
            control = events.send(sample).await;
        }
        Ok(control)
    }

    async fn checkpoint(&self) -> Result<TuneEvent, Error> {
        let parts = [(MODEL, self.learner.weights(), &self.learner.moments)];
        let files = checkpoint::files(&self.session.state, &parts).await?;
        Ok(TuneEvent::Checkpoint { step: self.session.state.step, files })
    }
}
