//! Supervised fine-tuning: learn to answer from demonstrations.
//!
//! The first step of Ouyang et al. 2022 (InstructGPT), <https://arxiv.org/abs/2203.02155>: the loss of pre-training, on
//! conversations, counting only the tokens that the assistant says. Departures: all that the tokens of a step weigh is
//! equal, whatever the length of their answer; order and dropout are functions of the seed and the step, so that a
//! resumed run equals an uninterrupted one bit for bit. Examples may share rows (`packing`), and other sources may have
//! a share of every step (`Data::mix`).

use cloche_models::config::ModelConfig;
use cloche_models::{Network, Pass};
use cloche_nn::{Params, loss};
use cloche_tensor::{Device, Graph, Program, Tensor};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Keeper, MODEL, Saved};
use crate::error::Error;
use crate::events::{Metrics, TuneEvent};
use crate::examples::{Example, Rows, check_examples, fingerprint};
use crate::learner::{Learner, Optimization, Outcome, Recorded, Update};
use crate::mixture::Mixture;
use crate::packing::{Batch, Filling, Table, filling};
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
    /// Whether examples share rows as long as the model's context, as many as fit, instead of being padded to the longest.
    /// The examples of a batch are then its rows.
    pub packing: bool,
}

impl Settings {
    /// What a run takes where nothing else is said: a rate for models as small as those grown here.
    pub fn usual() -> Settings {
        Settings { optimization: Optimization::at_rate(1e-3, 1e-4), ..Settings::default() }
    }
}

/// What to learn from.
#[derive(Default)]
pub struct Data {
    /// Demonstrations.
    pub train: Vec<Example>,
    /// What else has a share of every step: some of the old data, for instance, that is not to be forgotten.
    pub mix: Vec<Mixed>,
    /// Demonstrations that are held out, for the loss.
    pub held_out: Vec<Example>,
    /// Questions that are held out, to be answered.
    pub exam: Option<Exam>,
}

/// A source beside the demonstrations.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixed {
    /// Its share of the examples of every step, above 0 and below 1; what all sources leave is the demonstrations' share.
    pub share: f32,
    /// Examples.
    pub examples: Vec<Example>,
}

/// A run before its first event.
pub struct Run {
    device: Device,
    session: Session<Settings>,
    keeper: Keeper,
    learner: Learner,
    update: Update,
    evaluation: Program,
    /// What is dealt from: the demonstrations, and the sources beside them.
    tables: Vec<Table>,
    mixture: Mixture,
    held_out: Table,
    batch: Batch,
    exam: Option<(Exam, Rollouts)>,
    filling: Filling,
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
        let mixed = data.mix.iter().map(|mixed| &mixed.examples);
        for examples in [&data.train, &data.held_out].into_iter().chain(mixed) {
            check_examples(examples, config.vocab_size, config.context_len)?;
        }
        let mixed = || data.mix.iter().flat_map(|mixed| &mixed.examples);
        let all = || data.train.iter().chain(mixed()).chain(&data.held_out);
        let session = Session::open(settings.clone(), fingerprint(all()), saved.as_ref())?;
        // 1. Rows: as wide as the longest example, or as the context, to hold several.
        let (packing, padded_width) = (settings.packing, Rows::width_of(all(), config.context_len));
        let width = if packing { config.context_len } else { padded_width };
        let shares: Vec<f32> = data.mix.iter().map(|mixed| mixed.share).collect();
        let sources = std::iter::once(data.train).chain(data.mix.into_iter().map(|mixed| mixed.examples));
        let table = |examples| Table::new(examples, packing.then_some(width));
        let (tables, held_out): (Vec<Table>, Table) = (sources.map(table).collect(), table(data.held_out));
        let cards: Vec<usize> = tables.iter().map(Table::rows).collect();
        let mixture = Mixture::new(&cards, &shares, o.seed)?;
        // 2. Programs.
        let learner = Learner::new(device, network, saved.as_mut().map(|saved| (&mut saved.parts, MODEL)))?;
        let shape = (o.batch_size, width);
        let training =
            |graph: &Graph| Batch::record(graph, shape, packing, Pass::train(graph, config.dropout));
        let update = learner.update(device, &o, |graph, p| record(&config, graph, p, training(graph)))?;
        let evaluation = {
            let graph = Graph::new();
            let inputs = Batch::record(&graph, shape, packing, Pass::eval());
            let recorded = record(&config, &graph, &learner.network.params(&graph), inputs);
            let mut outputs = vec![("loss", &recorded.loss)];
            outputs.extend(recorded.metrics.iter().map(|(name, y)| (*name, y)));
            device.compile(&graph, &outputs, &learner.network.states())?
        };
        let prepare = |exam: Exam| {
            let rollouts = exam.rollouts(device, &learner.network, &settings.stop_ids)?;
            Ok::<_, Error>((exam, rollouts))
        };
        let exam = data.exam.map(prepare).transpose()?;
        Ok(Run {
            device: device.clone(),
            keeper: session.keeper(&learner),
            session,
            filling: filling(tables.iter(), [width, padded_width]),
            batch: Batch::new(shape, packing),
            learner,
            update,
            evaluation,
            tables,
            mixture,
            held_out,
            exam,
        })
    }

    /// How full the rows are from which the run learns.
    pub fn filling(&self) -> Filling {
        self.filling
    }

    /// The network as it is on the device: it can be sampled from and saved between two events.
    pub fn network(&self) -> Network {
        self.learner.network.clone()
    }

    /// Whoever can make a checkpoint of the run between two events, and behind the last one.
    pub fn keeper(&self) -> Keeper {
        self.keeper.clone()
    }

    /// The run as a stage that yields [`TuneEvent`]s.
    pub fn stage(self) -> Stage<TuneEvent, Error> {
        stage(async |events| sft(self, events).await)
    }
}

/// Records the loss on `(B, T)` tokens and their targets, each as likely as the other; `count` of them are targets.
fn record(config: &ModelConfig, graph: &Graph, p: &Params, (x, y, pass): (Tensor, Tensor, Pass)) -> Recorded {
    let count = graph.scalar("count");
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
    let o = run.session.state().settings.optimization.clone();
    let mut control = events.send(run.session.start("sft", &run.device, &run.learner.network, o.steps)).await;
    while control == Control::Continue {
        let done = run.session.state().step;
        // 1. Look at where we are: the loss on what is held out, and answers to questions never asked before.
        if run.session.due(o.eval_every) || done == 0 || done == o.steps {
            control = run.examine(&events).await?;
        }
        if done == o.steps || control == Control::Stop {
            break;
        }
        // 2. The next demonstrations, and their share of what else there is.
        run.session.begin();
        let hand = run.mixture.hand(done, o.batch_size);
        let count = run.batch.fill(hand.iter().map(|&(source, row)| run.tables[source].row(row)));
        run.batch.write(&mut run.update.program);
        run.update.program.set("count", count as f32);
        // 3. Forward, backward, clip, step.
        run.update.run(&o, done + 1, done + 1).await;
        let outcome = Outcome::mean(&run.update.outcomes().await?);
        let tokens = run.batch.rows.x.len();
        control = events.send(run.session.record(&o, outcome, tokens)).await;
        // 4. Ten bad steps in a row: the weights have not changed since the last good one.
        if run.session.diverged() {
            break;
        }
        // 5. Save. On the way out it happens below.
        if run.session.due(o.checkpoint_every) && done + 1 < o.steps && control == Control::Continue {
            control = events.send(run.keeper.tune_event().await?).await;
        }
    }
    events.send(run.keeper.tune_event().await?).await;
    events.send(run.session.done(o.steps)).await;
    Ok(())
}

impl Run {
    /// Loss and token metrics over all held-out examples, and the exam.
    async fn examine(&mut self, events: &Events<TuneEvent>) -> Result<Control, Error> {
        let step = self.session.state().step;
        let mut sums: Vec<f64> = Vec::new();
        let mut targets = 0;
        let at_once = self.session.state().settings.optimization.batch_size;
        let n_rows = self.held_out.rows();
        for first in (0..n_rows).step_by(at_once) {
            let rows = first..n_rows.min(first + at_once);
            targets += self.batch.fill(rows.map(|row| self.held_out.row(row)));
            self.batch.write(&mut self.evaluation);
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
        if let Some((exam, rollouts)) = &mut self.exam {
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
}
