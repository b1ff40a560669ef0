//! Direct preference optimisation: learn from comparisons, without a reward model and without sampling.
//!
//! Rafailov et al. 2023, <https://arxiv.org/abs/2305.18290>: by how much the policy finds an answer likelier than the
//! reference does is the reward that the policy implies; so the loss of a reward model, put on that, trains the policy
//! itself. The reference is a frozen copy, or the policy's own base with the adapter switched off.

use cloche_models::config::ModelConfig;
use cloche_models::{Network, Pass};
use cloche_nn::Params;
use cloche_nn::loss::preference::{Dpo, Objective, PairLogProbs, dpo as objective};
use cloche_tensor::{DType, Device, Graph, LOG_NUMEL, Program, Tensor};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Keeper, MODEL, Saved};
use crate::error::Error;
use crate::events::{Metrics, TuneEvent};
use crate::examples::{Deck, Example, Pair, Rows, check_pairs, fingerprint};
use crate::learner::{Learner, Optimization, Outcome, Recorded, Update, expect_alike};
use crate::likelihood::{Likelihood, Total};
use crate::policy;
use crate::rollout::{Exam, Rollouts};
use crate::session::Session;
use crate::settings::{SettingsError, require};
use crate::stage::{Control, Events, Stage, stage};

/// What a run depends on, besides the models and the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Steps, rates and rhythm; `batch_size` counts pairs.
    #[serde(flatten)]
    pub optimization: Optimization,
    /// How dearly the policy pays for leaving the reference, β.
    pub beta: f32,
    /// What is asked of the rewards' margin.
    pub loss: Loss,
    /// The share of comparisons that are taken to be the wrong way round; with [`Loss::Sigmoid`] only.
    pub label_smoothing: f32,
    /// How much the tokens of the chosen answers count besides, as in fine-tuning. Comparisons alone may make both answers
    /// less likely, the chosen one only less so; this keeps it likely (Pang et al. 2024, equation 1,
    /// <https://arxiv.org/abs/2404.19733>). 0 for DPO itself.
    pub sft_weight: f32,
    /// Whether the reference reads all pairs before the first step, and not each when its turn comes: saves time where
    /// there is more than one epoch, and costs two numbers a pair.
    pub precompute: bool,
    /// What ends an answer.
    pub stop_ids: Vec<u32>,
}

/// What is asked of the margin by which the chosen answer's reward exceeds the other's; see [`Objective`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Loss {
    /// As of a reward model: DPO itself.
    #[default]
    Sigmoid,
    /// A margin that is reached and not exceeded, of mean log-probabilities.
    Ipo,
    /// A margin of at least 1.
    Hinge,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            optimization: Optimization::default(),
            beta: 0.1,
            loss: Loss::Sigmoid,
            label_smoothing: 0.0,
            sft_weight: 0.0,
            precompute: false,
            stop_ids: Vec::new(),
        }
    }
}

impl Settings {
    /// What a run takes where nothing else is said: a rate for models as small as those grown here.
    pub fn usual() -> Settings {
        Settings { optimization: Optimization::at_rate(1e-4, 1e-5), ..Settings::default() }
    }

    /// Requires that every number can be meant.
    ///
    /// # Errors
    /// The first setting that is out of range, with what it may be.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let smooth = self.label_smoothing;
        self.optimization.validate()?;
        require("beta", self.beta, self.beta > 0.0 && self.beta.is_finite(), "a finite number above 0")?;
        require("label_smoothing", smooth, (0.0..0.5).contains(&smooth), "at least 0 and below 0.5")?;
        policy::check_size("sft_weight", self.sft_weight)?;
        let meant = self.loss == Loss::Sigmoid || smooth == 0.0;
        require("label_smoothing", smooth, meant, "0, as the loss is not sigmoid")
    }

    fn objective(&self) -> Objective {
        match self.loss {
            Loss::Sigmoid => Objective::Sigmoid { label_smoothing: self.label_smoothing as f64 },
            Loss::Ipo => Objective::Ipo,
            Loss::Hinge => Objective::Hinge,
        }
    }

    fn total(&self) -> Total {
        if self.loss == Loss::Ipo { Total::Mean } else { Total::Sum }
    }
}

/// What to learn from.
pub struct Data {
    /// Comparisons.
    pub train: Vec<Pair>,
    /// Some that are held out.
    pub held_out: Vec<Pair>,
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
    reference: Likelihood,
    update: Update,
    /// What is held out, at most as many pairs at once as a program logs.
    evaluation: (Program, Rows),
    rollouts: Option<Rollouts>,
    rows: Rows,
    deck: Deck,
}

impl Run {
    /// Prepares a run; the network's weights are what learns, its adapter's where it has one. The reference is a model
    /// with weights of its own (a copy is [`Network::merged`]); none is needed where the network has an adapter, since
    /// its base is one.
    ///
    /// # Errors
    /// Settings out of range, pairs that the model cannot learn from, no reference, a device that cannot hold the run, a
    /// checkpoint of another run.
    pub fn new(
        device: &Device,
        network: Network,
        reference: Option<Network>,
        settings: Settings,
        data: Data,
        mut saved: Option<Saved<Settings>>,
    ) -> Result<Run, Error> {
        let (config, o) = (network.config, settings.optimization.clone());
        settings.validate()?;
        check_pairs(&data.train, config.vocab_size, config.context_len)?;
        check_pairs(&data.held_out, config.vocab_size, config.context_len)?;
        let all = answers(data.train.iter().chain(&data.held_out));
        let shape = (2 * o.batch_size, Rows::width_of(all.iter().copied(), config.context_len));
        let reference = reference.or_else(|| network.adapter.as_ref().map(|_| network.without_adapter()));
        let expected = "a copy of the model, which has no adapter to switch off";
        let missing = || SettingsError::Value { name: "reference", found: "none".into(), expected };
        let reference = reference.ok_or_else(missing)?;
        expect_alike("reference", &reference, &config)?;
        let session = Session::open(settings.clone(), fingerprint(all.into_iter()), saved.as_ref())?;
        let learner = Learner::new(device, network, saved.as_mut().map(|saved| (&mut saved.parts, MODEL)))?;
        let update = learner.update(device, &o, |graph, p| {
            let measured = record(&settings, &config, graph, p, shape, &Pass::train(graph, config.dropout));
            let mut means = METRICS.iter().zip(&measured).map(|((name, _), x)| (*name, x.mean_all()));
            let (_, loss) = means.next().expect("the loss is the first one");
            Recorded { loss, metrics: means.collect() }
        })?;
        let evaluation = {
            let shape = (2 * o.batch_size.min(LOG_NUMEL), shape.1);
            let graph = Graph::new();
            let p = learner.network.params(&graph);
            let measured = record(&settings, &config, &graph, &p, shape, &Pass::eval());
            let outputs: Vec<_> = METRICS.iter().zip(&measured).map(|((_, name), x)| (*name, x)).collect();
            let program = device.compile(&graph, &outputs, &learner.network.states())?;
            (program, Rows::new(shape.0, shape.1))
        };
        let prepare = |exam: &Exam| exam.rollouts(device, &learner.network, &settings.stop_ids);
        let rollouts = data.exam.as_ref().map(prepare).transpose()?;
        let reference = Likelihood::new(device, &reference, shape, settings.total())?;
        let (rows, deck) = (Rows::new(shape.0, shape.1), Deck::new(data.train.len(), o.seed));
        Ok(Run {
            device: device.clone(),
            keeper: session.keeper(&learner),
            session,
            data,
            learner,
            reference,
            update,
            evaluation,
            rollouts,
            rows,
            deck,
        })
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
        stage(async |events| dpo(self, events).await)
    }
}

/// What is measured of each pair, in a step and of what is held out.
const METRICS: [(&str, &str); 7] = [
    ("loss", "held_out_loss"),
    ("accuracy", "held_out_accuracy"),
    ("margin", "held_out_margin"),
    ("chosen_reward", "held_out_chosen_reward"),
    ("rejected_reward", "held_out_rejected_reward"),
    ("chosen_log_prob", "held_out_chosen_log_prob"),
    ("rejected_log_prob", "held_out_rejected_log_prob"),
];

/// Records what [`METRICS`] names, each `(B,)`, of B pairs whose answers lie in rows side by side: `(2·B, T)`.
fn record(
    settings: &Settings,
    config: &ModelConfig,
    graph: &Graph,
    p: &Params,
    shape: (usize, usize),
    pass: &Pass,
) -> [Tensor; 7] {
    let x = graph.input("x", shape, DType::U32); // (2·B, T)
    let y = graph.input("y", shape, DType::U32); // (2·B, T)
    let reference = graph.input("reference", (shape.0,), DType::F32); // (2·B,)
    let logits = cloche_models::logits(config, p, &x, pass); // (2·B, T, V)
    let policy = settings.total().record(&logits, &y); // (2·B,)
    let pairs = shape.0 / 2;
    let side = |x: &Tensor, i| x.reshape((pairs, 2)).slice(1, i, i + 1).reshape((pairs,)); // (B,)
    let (chosen, rejected) = (side(&policy, 0), side(&policy, 1));
    let log_probs = PairLogProbs {
        chosen: &chosen,
        rejected: &rejected,
        reference_chosen: &side(&reference, 0),
        reference_rejected: &side(&reference, 1),
    };
    let Dpo { mut losses, chosen_rewards, rejected_rewards, margins, hits } =
        objective(log_probs, settings.beta as f64, settings.objective());
    if settings.sft_weight > 0.0 {
        let chosen = side(&Total::Mean.record(&logits, &y), 0); // (B,)
        losses = losses - chosen * settings.sft_weight as f64;
    }
    [losses, hits, margins, chosen_rewards, rejected_rewards, chosen, rejected]
}

/// The stage itself.
async fn dpo(mut run: Run, events: Events<TuneEvent>) -> Result<(), Error> {
    let settings = run.session.state().settings.clone();
    let o = settings.optimization;
    let mut control = events.send(run.session.start("dpo", &run.device, &run.learner.network, o.steps)).await;
    // 1. What the reference finds likely never changes: once for what is held out, and by option for all.
    let held_out = run.reference.log_probs(&answers(&run.data.held_out)).await?;
    let known = match settings.precompute {
        true => run.reference.log_probs(&answers(&run.data.train)).await?,
        false => Vec::new(),
    };
    while control == Control::Continue {
        let done = run.session.state().step;
        // 2. Look at where we are: comparisons that are held out, and answers to questions never asked before.
        if run.session.due(o.eval_every) || done == 0 || done == o.steps {
            control = run.examine(&held_out, &events).await?;
        }
        if done == o.steps || control == Control::Stop {
            break;
        }
        // 3. The next pairs of the deck, and what the reference finds likely.
        run.session.begin();
        let hand = run.deck.hand(done, o.batch_size);
        let pairs: Vec<&Pair> = hand.iter().map(|&card| &run.data.train[card]).collect();
        let reference = match settings.precompute {
            true => hand.iter().flat_map(|&card| [known[2 * card], known[2 * card + 1]]).collect(),
            false => run.reference.log_probs(&answers(pairs.iter().copied())).await?,
        };
        write(&mut run.update.program, &mut run.rows, &pairs, reference);
        // 4. Forward, backward, clip, step.
        run.update.run(&o, done + 1, done + 1).await;
        let outcome = Outcome::mean(&run.update.outcomes().await?);
        let tokens = run.rows.x.len();
        control = events.send(run.session.record(&o, outcome, tokens)).await;
        // 5. Ten bad steps in a row: the weights have not changed since the last good one.
        if run.session.diverged() {
            break;
        }
        // 6. Save. On the way out it happens below.
        if run.session.due(o.checkpoint_every) && done + 1 < o.steps && control == Control::Continue {
            control = events.send(run.keeper.tune_event().await?).await;
        }
    }
    events.send(run.keeper.tune_event().await?).await;
    events.send(run.session.done(o.steps)).await;
    Ok(())
}

/// The answers of pairs, the chosen and the rejected one in turn.
fn answers<'a>(pairs: impl IntoIterator<Item = &'a Pair>) -> Vec<&'a Example> {
    pairs.into_iter().flat_map(|pair| [&pair.chosen, &pair.rejected]).collect()
}

/// Writes at most B pairs, and what the reference finds of both answers of each.
fn write(program: &mut Program, rows: &mut Rows, pairs: &[&Pair], mut reference: Vec<f32>) {
    rows.fill(answers(pairs.iter().copied()).into_iter());
    reference.resize(rows.x.len() / rows.width, 0.0);
    program.write("x", &rows.x);
    program.write("y", &rows.y);
    program.write("reference", &reference);
}

impl Run {
    /// Means over all held-out pairs, and the exam.
    async fn examine(&mut self, reference: &[f32], events: &Events<TuneEvent>) -> Result<Control, Error> {
        let step = self.session.state().step;
        let (program, rows) = &mut self.evaluation;
        let answers = rows.x.len() / rows.width;
        let mut sums = [0.0f64; METRICS.len()];
        let pairs: Vec<&Pair> = self.data.held_out.iter().collect();
        for (pairs, reference) in pairs.chunks(answers / 2).zip(reference.chunks(answers)) {
            write(program, rows, pairs, reference.to_vec());
            program.run();
            let row = program.drain().await?.remove(0);
            let sum = |x: &[f32]| x[..pairs.len()].iter().map(|&x| x as f64).sum::<f64>();
            sums.iter_mut().zip(&row).for_each(|(total, x)| *total += sum(x.f32()));
        }
        let means =
            METRICS.iter().zip(sums).map(|((_, name), sum)| (*name, (sum / pairs.len() as f64) as f32));
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
