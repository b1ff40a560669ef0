//! The reward model: learn from comparisons which answers people prefer.
//!
//! The second step of Ouyang et al. 2022 (InstructGPT), <https://arxiv.org/abs/2203.02155>: a language model whose head
//! is one number, read at the last token of an answer, and the more one answer's number exceeds another's, the more
//! likely people prefer it. All comparisons of a prompt's answers stand in one batch, so that each answer is read once.
//! Departures: what they normalise after training, the rewards' zero, can be settled while training by `centring`.

use cloche_models::config::ModelConfig;
use cloche_models::{Network, Pass};
use cloche_nn::Params;
use cloche_nn::loss::preference::{RankedPairs, bradley_terry, centring};
use cloche_tensor::{DType, Device, Graph, Tensor};
use serde::{Deserialize, Serialize};

use crate::calibration::{calibration_error, reliability};
use crate::checkpoint::{Keeper, MODEL, Saved};
use crate::error::Error;
use crate::events::{Metrics, TuneEvent};
use crate::examples::{Deck, Ranking, check_rankings, fingerprint};
use crate::judge::{Judge, Texts, expect_head, read};
use crate::learner::{Learner, Optimization, Outcome, Recorded, Update};
use crate::session::Session;
use crate::settings::{SettingsError, require};
use crate::stage::{Control, Events, Stage, stage};

/// What a run depends on, besides the model and its data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Steps, rates and rhythm; `batch_size` counts prompts.
    #[serde(flatten)]
    pub optimization: Optimization,
    /// By how much a better answer's reward shall exceed a worse one's, beyond which the loss falls off.
    pub margin: f32,
    /// How strongly the rewards of a pair are drawn to a mean of 0; 0.01 settles it, 0 leaves it open.
    pub centring: f32,
}

impl Settings {
    /// What a run takes where nothing else is said: a rate for models as small as those grown here.
    pub fn usual() -> Settings {
        Settings { optimization: Optimization::at_rate(1e-3, 1e-4), centring: 0.01, ..Settings::default() }
    }

    /// Requires that every number can be meant.
    ///
    /// # Errors
    /// The first setting that is out of range, with what it may be.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let natural = |x: f32| x >= 0.0 && x.is_finite();
        self.optimization.validate()?;
        require("margin", self.margin, natural(self.margin), "a finite number, 0 for none")?;
        require("centring", self.centring, natural(self.centring), "a finite number, 0 for none")
    }
}

/// What to learn from. A pair is a ranking of two: `Ranking::from(pair)`.
pub struct Data {
    /// Answers that people ranked.
    pub train: Vec<Ranking>,
    /// Some that are held out.
    pub held_out: Vec<Ranking>,
}

/// A run before its first event.
pub struct Run {
    device: Device,
    session: Session<Settings>,
    keeper: Keeper,
    data: Data,
    learner: Learner,
    update: Update,
    judge: Judge,
    texts: Texts,
    /// The most pairs of a step.
    n_pairs: usize,
    deck: Deck,
}

impl Run {
    /// Prepares a run. The network has a score head, as [`Network::scoring`] makes one of any model, or an adapter that
    /// holds `score` whole; its weights are what learns, its adapter's where it has one.
    ///
    /// # Errors
    /// Settings out of range, rankings that the model cannot learn from, a network that has no score, a device that cannot
    /// hold the run, a checkpoint of another run.
    pub fn new(
        device: &Device,
        network: Network,
        settings: Settings,
        data: Data,
        mut saved: Option<Saved<Settings>>,
    ) -> Result<Run, Error> {
        let (config, o) = (network.config, settings.optimization.clone());
        settings.validate()?;
        expect_head(&network)?;
        check_rankings(&data.train, config.vocab_size, config.context_len)?;
        check_rankings(&data.held_out, config.vocab_size, config.context_len)?;
        let rankings = || data.train.iter().chain(&data.held_out);
        let answers = || rankings().flat_map(|ranking| &ranking.answers);
        let longest = answers().map(|answer| answer.ids.len()).max().unwrap_or(1);
        let width = longest.next_multiple_of(8).min(config.context_len);
        let most = rankings().map(|ranking| ranking.answers.len()).max().unwrap_or(2);
        let (rows, n_pairs) = (o.batch_size * most, o.batch_size * most * (most - 1) / 2);
        let session = Session::open(settings.clone(), fingerprint(answers()), saved.as_ref())?;
        let learner = Learner::new(device, network, saved.as_mut().map(|saved| (&mut saved.parts, MODEL)))?;
        let update = learner
            .update(device, &o, |graph, p| record(&settings, &config, graph, p, (rows, width), n_pairs))?;
        let judge = Judge::new(device, &learner.network, rows, width)?;
        let texts = Texts::new(rows, width);
        let deck = Deck::new(data.train.len(), o.seed);
        let keeper = session.keeper(&learner);
        Ok(Run {
            device: device.clone(),
            session,
            keeper,
            data,
            learner,
            update,
            judge,
            texts,
            n_pairs,
            deck,
        })
    }

    /// The network as it is on the device: it can judge and be saved between two events.
    pub fn network(&self) -> Network {
        self.learner.network.clone()
    }

    /// Whoever can make a checkpoint of the run between two events, and behind the last one.
    pub fn keeper(&self) -> Keeper {
        self.keeper.clone()
    }

    /// The run as a stage that yields [`TuneEvent`]s.
    pub fn stage(self) -> Stage<TuneEvent, Error> {
        stage(async |events| reward(self, events).await)
    }
}

/// Records the loss on the comparisons of `(R, T)` texts, where each prompt counts once, however many answers it has.
fn record(
    settings: &Settings,
    config: &ModelConfig,
    graph: &Graph,
    p: &Params,
    shape: (usize, usize),
    n_pairs: usize,
) -> Recorded {
    let pass = Pass::train(graph, config.dropout);
    let rewards = read(graph, shape, |x| cloche_models::score(config, p, x, &pass)); // (R,)
    let side = |name| rewards.gather(&graph.input(name, (n_pairs,), DType::U32));
    let (better, worse) = (side("better"), side("worse")); // (P,)
    let weights = graph.input("weights", (n_pairs,), DType::F32); // (P,)
    let prompts = settings.optimization.batch_size as f64;
    let mean = |x: &Tensor| (x * &weights).sum_all() * (1.0 / prompts); // () of (P,)
    let margins = &better - &worse;
    let mut losses = bradley_terry(&better, &worse, Some(&graph.constant(settings.margin as f64)));
    if settings.centring > 0.0 {
        losses = losses + centring(&better, &worse) * settings.centring as f64;
    }
    Recorded {
        loss: mean(&losses),
        metrics: vec![
            ("accuracy", mean(&margins.gt(&graph.constant(0.0)))),
            ("margin", mean(&margins)),
            ("chosen_reward", mean(&better)),
            ("rejected_reward", mean(&worse)),
        ],
    }
}

/// The stage itself.
async fn reward(mut run: Run, events: Events<TuneEvent>) -> Result<(), Error> {
    let o = run.session.state().settings.optimization.clone();
    let mut control =
        events.send(run.session.start("reward", &run.device, &run.learner.network, o.steps)).await;
    while control == Control::Continue {
        let done = run.session.state().step;
        // 1. Look at where we are: comparisons that are held out.
        if run.session.due(o.eval_every) || done == 0 || done == o.steps {
            let metrics = run.examine().await?;
            control = events.send(TuneEvent::Eval { step: done, metrics }).await;
        }
        if done == o.steps || control == Control::Stop {
            break;
        }
        // 2. The next rankings of the deck: all their answers, and all comparisons of each prompt's.
        run.session.begin();
        let hand: Vec<&Ranking> =
            run.deck.hand(done, o.batch_size).iter().map(|&card| &run.data.train[card]).collect();
        let pairs = comparisons(&hand).padded(run.n_pairs);
        run.texts.fill(texts(&hand));
        run.texts.write(&mut run.update.program);
        run.update.program.write("better", &pairs.better);
        run.update.program.write("worse", &pairs.worse);
        run.update.program.write("weights", &pairs.weights);
        // 3. Forward, backward, clip, step.
        run.update.run(&o, done + 1, done + 1).await;
        let outcome = Outcome::mean(&run.update.outcomes().await?);
        control = events.send(run.session.record(&o, outcome, run.texts.tokens())).await;
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

/// All answers of some rankings.
fn texts<'a>(rankings: &'a [&Ranking]) -> impl Iterator<Item = &'a [u32]> {
    rankings.iter().flat_map(|ranking| &ranking.answers).map(|answer| answer.ids.as_slice())
}

/// All comparisons of their answers.
fn comparisons(rankings: &[&Ranking]) -> RankedPairs {
    RankedPairs::new(&rankings.iter().map(|ranking| ranking.answers.len()).collect::<Vec<_>>())
}

impl Run {
    /// How the model orders held-out answers, where each prompt counts once, and whether it is as sure as it is right.
    async fn examine(&mut self) -> Result<Metrics, Error> {
        const BINS: usize = 10;
        let [better, worse] = self.judge.compare(&self.data.held_out).await?;
        let rankings: Vec<&Ranking> = self.data.held_out.iter().collect();
        let weights = comparisons(&rankings).weights;
        let margins: Vec<f32> = better.iter().zip(&worse).map(|(b, w)| b - w).collect();
        let mean = |values: &[f32], f: &dyn Fn(f32) -> f32| {
            let sum: f64 = values.iter().zip(&weights).map(|(&x, &weight)| (f(x) * weight) as f64).sum();
            (sum / rankings.len() as f64) as f32
        };
        let asked = self.session.state().settings.margin;
        Ok(Metrics(vec![
            ("held_out_loss", mean(&margins, &|m| softplus(asked - m))),
            ("held_out_accuracy", mean(&margins, &|m| f32::from(m > 0.0))),
            ("held_out_margin", mean(&margins, &|m| m)),
            ("held_out_chosen_reward", mean(&better, &|r| r)),
            ("held_out_rejected_reward", mean(&worse, &|r| r)),
            ("held_out_calibration_error", calibration_error(&reliability(&margins, BINS))),
        ]))
    }
}

/// `ln(1 + eˣ) = −ln σ(−x)`, finite for every finite x.
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
