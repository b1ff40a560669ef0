//! Distillation: a small model learns from a larger one.
//!
//! Hinton et al. 2015, <https://arxiv.org/abs/1503.02531>: the student is shown the teacher's whole distribution at each
//! token, which says more than the one token that a text has there. The teacher runs in the student's own program, so its
//! logits are never read back. Where only samples of a teacher can be had, or the teacher is the model itself on a good
//! day, [`best_of`] picks the best of n answers, and supervised fine-tuning learns from them.

use cloche_models::config::ModelConfig;
use cloche_models::{Network, Pass};
use cloche_nn::loss::distill::{Divergence, distillation};
use cloche_nn::{Params, loss};
use cloche_tensor::{DType, Device, Graph, Program, Tensor};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Keeper, MODEL, Saved};
use crate::error::Error;
use crate::events::{Metrics, TuneEvent};
use crate::examples::{Deck, Example, Rows, check_examples, fingerprint};
use crate::learner::{Learner, Optimization, Outcome, Recorded, Update, expect_alike};
use crate::rollout::{Answer, Exam, Rollouts};
use crate::session::Session;
use crate::settings::{SettingsError, require};
use crate::stage::{Control, Events, Stage, stage};

/// What a run depends on, besides the models and the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Steps, rates and rhythm.
    #[serde(flatten)]
    pub optimization: Optimization,
    /// Both models' logits are divided by it, τ: what is above 1 brings out what the teacher thinks of unlikely tokens.
    pub temperature: f32,
    /// Which way the divergence is measured.
    pub divergence: Divergence,
    /// The share of the loss that asks for the tokens of the text, and not for the teacher's distribution.
    pub targets: f32,
    /// What ends an answer.
    pub stop_ids: Vec<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            optimization: Optimization::default(),
            temperature: 1.0,
            divergence: Divergence::Forward,
            targets: 0.0,
            stop_ids: Vec::new(),
        }
    }
}

impl Settings {
    /// What a run takes where nothing else is said: a rate for models as small as those grown here.
    pub fn usual() -> Settings {
        Settings { optimization: Optimization::at_rate(1e-3, 1e-4), ..Settings::default() }
    }

    /// Requires that every number can be meant.
    ///
    /// # Errors
    /// The first setting that is out of range, with what it may be.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let warm = self.temperature > 0.0 && self.temperature.is_finite();
        self.optimization.validate()?;
        require("temperature", self.temperature, warm, "a finite number above 0")?;
        require("targets", self.targets, (0.0..=1.0).contains(&self.targets), "a share, 0 to 1")
    }
}

/// What to learn from: texts whose marked tokens both models predict.
pub struct Data {
    /// Texts; who wrote them does not matter.
    pub train: Vec<Example>,
    /// Some that are held out.
    pub held_out: Vec<Example>,
    /// Questions that are held out, to be answered.
    pub exam: Option<Exam>,
}

/// A run before its first event.
pub struct Run {
    device: Device,
    session: Session<Settings>,
    keeper: Keeper,
    data: Data,
    learner: Learner,
    update: Update,
    evaluation: Program,
    rollouts: Option<Rollouts>,
    rows: Rows,
    deck: Deck,
}

impl Run {
    /// Prepares a run; the student's weights are what learns, its adapter's where it has one.
    ///
    /// # Errors
    /// Settings out of range, examples that the models cannot read, a teacher of another vocabulary or with an adapter that
    /// is not merged, a device that cannot hold the run, a checkpoint of another run.
    pub fn new(
        device: &Device,
        student: Network,
        teacher: Network,
        settings: Settings,
        data: Data,
        mut saved: Option<Saved<Settings>>,
    ) -> Result<Run, Error> {
        let (config, o) = (student.config, settings.optimization.clone());
        settings.validate()?;
        expect_alike("teacher", &teacher, &config)?;
        require("teacher", "an adapter", teacher.adapter.is_none(), "a model that it is merged into")?;
        check_examples(&data.train, config.vocab_size, config.context_len)?;
        check_examples(&data.held_out, config.vocab_size, config.context_len)?;
        let all = || data.train.iter().chain(&data.held_out);
        let rows = Rows::new(o.batch_size, Rows::width_of(all(), config.context_len));
        let session = Session::open(settings.clone(), fingerprint(all()), saved.as_ref())?;
        let learner = Learner::new(device, student, saved.as_mut().map(|saved| (&mut saved.parts, MODEL)))?;
        let shape = (o.batch_size, rows.width);
        let extra = [(TEACHER, teacher.weights.state())];
        let update = learner.update_beside(device, &o, &extra, |graph, p| {
            let pass = Pass::train(graph, config.dropout);
            let means = record(&settings, graph, (&config, p, &pass), &teacher, shape);
            let [loss, divergence, token_loss, agreement] = means;
            let metrics = [("divergence", divergence), ("token_loss", token_loss), ("agreement", agreement)];
            Recorded { loss, metrics: metrics.into() }
        })?;
        let evaluation = {
            let graph = Graph::new();
            let p = learner.network.params(&graph);
            let means = record(&settings, &graph, (&config, &p, &Pass::eval()), &teacher, shape);
            let outputs: Vec<_> = HELD_OUT.into_iter().zip(&means).collect();
            let states: Vec<_> = learner.network.states().into_iter().chain(extra).collect();
            device.compile(&graph, &outputs, &states)?
        };
        let prepare = |exam: &Exam| exam.rollouts(device, &learner.network, &settings.stop_ids);
        let rollouts = data.exam.as_ref().map(prepare).transpose()?;
        let deck = Deck::new(data.train.len(), o.seed);
        let keeper = session.keeper(&learner);
        Ok(Run {
            device: device.clone(),
            session,
            keeper,
            data,
            learner,
            update,
            evaluation,
            rollouts,
            rows,
            deck,
        })
    }

    /// The student as it is on the device: it can be sampled from and saved between two events.
    pub fn network(&self) -> Network {
        self.learner.network.clone()
    }

    /// Whoever can make a checkpoint of the run between two events, and behind the last one.
    pub fn keeper(&self) -> Keeper {
        self.keeper.clone()
    }

    /// The run as a stage that yields [`TuneEvent`]s.
    pub fn stage(self) -> Stage<TuneEvent, Error> {
        stage(async |events| distill(self, events).await)
    }
}

/// The state that holds the teacher.
const TEACHER: &str = "teacher";

/// What [`record`] measures, of what is held out.
const HELD_OUT: [&str; 4] =
    ["held_out_loss", "held_out_divergence", "held_out_token_loss", "held_out_agreement"];

/// Records, on `(B, T)` tokens of which `count` are targets: the loss, the divergence in nats, the loss on the text's own
/// tokens, and how often both models find the same token likeliest.
fn record(
    settings: &Settings,
    graph: &Graph,
    (config, p, pass): (&ModelConfig, &Params, &Pass),
    teacher: &Network,
    shape: (usize, usize),
) -> [Tensor; 4] {
    let x = graph.input("x", shape, DType::U32); // (B, T)
    let y = graph.input("y", shape, DType::U32); // (B, T)
    let count = graph.scalar("count");
    let frozen = Params::from_specs_in(graph, TEACHER, teacher.weights.specs());
    let student = cloche_models::logits(config, p, &x, pass); // (B, T, V)
    let teacher = cloche_models::logits(&teacher.config, &frozen, &x, &Pass::eval()); // (B, T, V)
    let marks = loss::marks(&y); // (B, T)
    let mean = |tokens| loss::mean_over(&tokens, &count); // () of (B, T)
    let divergence =
        mean(distillation(&student, &teacher, &marks, settings.temperature as f64, settings.divergence));
    let token_loss = mean(loss::token_losses(&student, &y));
    let agreement = mean(student.argmax(2).eq(&teacher.argmax(2)) * &marks);
    let share = settings.targets as f64;
    let loss = &divergence * (1.0 - share) + &token_loss * share;
    [loss, divergence, token_loss, agreement]
}

/// The stage itself.
async fn distill(mut run: Run, events: Events<TuneEvent>) -> Result<(), Error> {
    let o = run.session.state().settings.optimization.clone();
    let mut control =
        events.send(run.session.start("distill", &run.device, &run.learner.network, o.steps)).await;
    while control == Control::Continue {
        let done = run.session.state().step;
        // 1. Look at where we are: how far the student is from the teacher, and answers to questions never asked before.
        if run.session.due(o.eval_every) || done == 0 || done == o.steps {
            control = run.examine(&events).await?;
        }
        if done == o.steps || control == Control::Stop {
            break;
        }
        // 2. The next texts of the deck.
        run.session.begin();
        let hand = run.deck.hand(done, o.batch_size);
        let count = run.rows.fill(hand.iter().map(|&card| &run.data.train[card]));
        run.update.program.write("x", &run.rows.x);
        run.update.program.write("y", &run.rows.y);
        run.update.program.set("count", count as f32);
        // 3. Forward through both, backward through the student, clip, step.
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
            control = events.send(run.keeper.tune_event().await?).await;
        }
    }
    events.send(run.keeper.tune_event().await?).await;
    events.send(run.session.done(o.steps)).await;
    Ok(())
}

impl Run {
    /// Means over all held-out tokens, and the exam.
    async fn examine(&mut self, events: &Events<TuneEvent>) -> Result<Control, Error> {
        let step = self.session.state().step;
        let mut sums = [0.0f64; HELD_OUT.len()];
        let mut targets = 0;
        let batch = self.session.state().settings.optimization.batch_size;
        for chunk in self.data.held_out.chunks(batch) {
            targets += self.rows.fill(chunk.iter());
            self.evaluation.write("x", &self.rows.x);
            self.evaluation.write("y", &self.rows.y);
            // Sums, to be divided by the number of all targets below.
            self.evaluation.set("count", 1.0);
            self.evaluation.run();
            let row = self.evaluation.drain().await?.remove(0);
            sums.iter_mut().zip(&row).for_each(|(sum, y)| *sum += y.f32()[0] as f64);
        }
        let means = HELD_OUT.into_iter().zip(sums).map(|(name, sum)| (name, (sum / targets as f64) as f32));
        let mut metrics = Metrics(means.collect());
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
}

/// Rejection sampling: the best of each `n` answers to one prompt, where it is worth `least` at least. They are what to
/// learn from: [`Answer::example`].
///
/// Answers stand prompt after prompt, and each has a reward, from a verifier or a [`Judge`](crate::judge::Judge). Of equal
/// ones the first counts. Touvron et al. 2023 (Llama 2), section 3.2.3, <https://arxiv.org/abs/2307.09288>.
///
/// # Panics
/// When there are not as many rewards as answers, or `n` is 0.
pub fn best_of<'a>(n: usize, answers: &'a [Answer], rewards: &[f32], least: f32) -> Vec<&'a Answer> {
    assert_eq!(answers.len(), rewards.len(), "best_of: as many rewards as answers");
    let groups = answers.chunks(n).zip(rewards.chunks(n));
    let best = groups.filter_map(|(answers, rewards)| {
        let best = (1..rewards.len()).fold(0, |best, i| if rewards[i] > rewards[best] { i } else { best });
        (rewards[best] >= least).then(|| &answers[best])
    });
    best.collect()
}
