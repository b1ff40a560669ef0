//! GRPO: reinforcement learning from rewards that are checked, not learnt, without a critic.
//!
//! Shao et al. 2024 (DeepSeekMath), <https://arxiv.org/abs/2402.03300>, made known by DeepSeek-R1. Each question is
//! answered by a group; how much better an answer did than the others of its group is the advantage of all its tokens.
//! Departures: a token weighs the same in an answer of any length (Yu et al. 2025, DAPO,
//! <https://arxiv.org/abs/2503.14476>); the clip may be wider above than below; there is no dropout, so that the policy
//! that learns is the one that answered, and its probability ratio is 1 until the first update.
//!
//! The ratio is that of the model's own probabilities, also where answers are drawn at a temperature other than 1. That
//! the drawing then prefers or avoids likely tokens is not corrected for: 1 is the temperature that the theory is about.

use cloche_models::{Network, Pass, config::ModelConfig};
use cloche_nn::loss::policy::{Actions, Clip, clipped_surrogate, kl_to_reference};
use cloche_nn::{Params, loss};
use cloche_tensor::{DType, Device, Graph};
use serde::{Deserialize, Serialize};

use crate::advantage::{Scale, group_advantages};
use crate::checkpoint::{Keeper, MODEL, Saved};
use crate::error::Error;
use crate::events::TuneEvent;
use crate::examples::{Deck, Prompt, Rows, check_prompts};
use crate::learner::{Accumulation, Learner, Optimization, Outcome, Recorded};
use crate::policy::{self, Reader};
use crate::rollout::{Answer, Exam, Rollouts, Verdict, Verifier, verify};
use crate::session::Session;
use crate::settings::{SettingsError, require};
use crate::stage::{Control, Events, Stage, stage};

/// What a run depends on, besides the model, the questions and who checks the answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Steps, rates and rhythm; a batch is one of questions.
    #[serde(flatten)]
    pub optimization: Optimization,
    /// What ends an answer.
    pub stop_ids: Vec<u32>,
    /// The most tokens of an answer.
    pub max_tokens: usize,
    /// Answers to each question.
    pub group: usize,
    /// How answers are drawn; see above.
    pub temperature: f32,
    /// Updates from the answers of one step.
    pub epochs: u64,
    /// The most answers that are drawn or learnt from at once. It costs memory, and changes nothing else but rounding and
    /// which answers are drawn.
    pub micro_batch: usize,
    /// How far below 1 the ratio may go.
    pub clip_low: f32,
    /// How far above 1 the ratio may go.
    pub clip_high: f32,
    /// What a nat of divergence from the reference costs; 0 for no reference.
    pub beta: f32,
    /// What advantages are divided by.
    pub scale: Scale,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            optimization: Optimization { lr: 1e-4, min_lr: 1e-5, ..Optimization::default() },
            stop_ids: Vec::new(),
            max_tokens: 64,
            group: 8,
            temperature: 1.0,
            epochs: 1,
            micro_batch: 64,
            clip_low: 0.2,
            clip_high: 0.2,
            beta: 0.0,
            scale: Scale::Deviation,
        }
    }
}

impl Settings {
    /// What a run takes where nothing else is said: a rate for models as small as those grown here.
    pub fn usual() -> Settings {
        Settings { optimization: Optimization::at_rate(3e-4, 3e-5), ..Settings::default() }
    }

    /// Requires that every number can be meant.
    ///
    /// # Errors
    /// The first setting that is out of range, with what it may be.
    pub fn validate(&self) -> Result<(), SettingsError> {
        self.optimization.validate()?;
        policy::check_drawing(self.temperature, self.max_tokens, self.epochs)?;
        require("group", self.group, (2..=1024).contains(&self.group), "2 to 1024")?;
        require("micro_batch", self.micro_batch, (1..=4096).contains(&self.micro_batch), "1 to 4096")?;
        let below = self.clip_low > 0.0 && self.clip_low < 1.0;
        require("clip_low", self.clip_low, below, "a number above 0 and below 1")?;
        let above = self.clip_high > 0.0 && self.clip_high.is_finite();
        require("clip_high", self.clip_high, above, "a finite number above 0")?;
        policy::check_size("beta", self.beta)
    }

    /// Answers of a step.
    fn n_answers(&self) -> usize {
        self.optimization.batch_size * self.group
    }
}

/// What to learn from.
pub struct Data {
    /// Questions.
    pub prompts: Vec<Prompt>,
    /// Who rewards the answers.
    pub verifier: Verifier,
    /// What the policy stays near to, where `beta` is not 0: a frozen copy, or the base of an adapter.
    pub reference: Option<Network>,
    /// Questions that are held out.
    pub exam: Option<Exam>,
}

/// A run before its first event.
pub struct Run {
    device: Device,
    session: Session<Settings>,
    keeper: Keeper,
    data: Data,
    learner: Learner,
    update: Accumulation,
    reference: Option<Reader>,
    rollouts: Rollouts,
    exam_rollouts: Option<Rollouts>,
    rows: Rows,
    deck: Deck,
}

impl Run {
    /// Prepares a run; the network's weights are what learns, its adapter's where it has one.
    ///
    /// # Errors
    /// Settings out of range, prompts that the model cannot answer, a device that cannot hold the run, a checkpoint of
    /// another run.
    pub fn new(
        device: &Device,
        network: Network,
        settings: Settings,
        data: Data,
        mut saved: Option<Saved<Settings>>,
    ) -> Result<Run, Error> {
        let (config, s) = (network.config, &settings);
        s.validate()?;
        check_prompts(&data.prompts, config.vocab_size, config.context_len)?;
        let reference = data.reference.as_ref().filter(|_| s.beta > 0.0);
        require("beta", s.beta, s.beta == 0.0 || reference.is_some(), "0 where there is no reference model")?;
        let session =
            Session::open(settings.clone(), policy::fingerprint_of(&data.prompts, &[]), saved.as_ref())?;
        let learner = Learner::new(device, network, saved.as_mut().map(|saved| (&mut saved.parts, MODEL)))?;
        let rows = s.n_answers().min(s.micro_batch);
        let shape = (rows, policy::width_of(&data.prompts, s.max_tokens, config.context_len));
        let update =
            learner.accumulation(device, &s.optimization, |graph, p| record(&config, graph, p, shape, s))?;
        let reference = reference.map(|network| Reader::log_probs(device, network, shape)).transpose()?;
        let rollouts = Rollouts::new(device, &learner.network, rows, s.max_tokens, &s.stop_ids)?;
        let prepare = |exam: &Exam| exam.rollouts(device, &learner.network, &s.stop_ids);
        let exam_rollouts = data.exam.as_ref().map(prepare).transpose()?;
        let (rows, deck) = (Rows::new(shape.0, shape.1), Deck::new(data.prompts.len(), s.optimization.seed));
        let keeper = session.keeper(&learner);
        Ok(Run {
            device: device.clone(),
            session,
            keeper,
            data,
            learner,
            update,
            reference,
            rollouts,
            exam_rollouts,
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
        stage(async |events| grpo(self, events).await)
    }
}

/// Records the loss on `(B, T)` tokens, which is their share of the step's: `count` is the number of all its targets.
fn record(
    config: &ModelConfig,
    graph: &Graph,
    p: &Params,
    shape: (usize, usize),
    settings: &Settings,
) -> Recorded {
    let x = graph.input("x", shape, DType::U32); // (B, T)
    let y = graph.input("y", shape, DType::U32); // (B, T)
    let old_log_probs = graph.input("old_log_probs", shape, DType::F32); // (B, T)
    let advantages = graph.input("advantages", (shape.0, 1), DType::F32); // (B, 1)
    let count = graph.scalar("count");
    let logits = cloche_models::logits(config, p, &x, &Pass::eval()); // (B, T, V)
    let (log_probs, marks) = (loss::token_log_probs(&logits, &y), loss::marks(&y)); // (B, T) each
    let actions = Actions {
        log_probs: &log_probs,
        old_log_probs: &old_log_probs,
        advantages: &advantages,
        marks: &marks,
    };
    let clip = Clip { low: settings.clip_low as f64, high: settings.clip_high as f64 };
    let surrogate = clipped_surrogate(actions, clip);
    let mean = |tokens| loss::mean_over(&tokens, &count); // () of (B, T)
    let mut recorded = Recorded {
        loss: mean(surrogate.losses),
        metrics: vec![
            ("clip_fraction", mean(surrogate.clipped)),
            ("kl", mean(surrogate.kl)),
            ("entropy", mean(loss::token_entropy(&logits, &marks))),
        ],
    };
    if settings.beta > 0.0 {
        let reference = graph.input("reference", shape, DType::F32); // (B, T)
        let kl = mean(kl_to_reference(&log_probs, &reference, &marks)); // ()
        recorded.loss = recorded.loss + &kl * settings.beta as f64;
        recorded.metrics.push(("kl_reference", kl));
    }
    recorded
}

/// The stage itself.
async fn grpo(mut run: Run, events: Events<TuneEvent>) -> Result<(), Error> {
    let s = run.session.state().settings.clone();
    let o = &s.optimization;
    let mut control =
        events.send(run.session.start("grpo", &run.device, &run.learner.network, o.steps)).await;
    while control == Control::Continue {
        let done = run.session.state().step;
        // 1. Look at where we are: answers to questions never asked before.
        if run.session.due(o.eval_every) || done == 0 || done == o.steps {
            control = run.examine(&events).await?;
        }
        if done == o.steps || control == Control::Stop {
            break;
        }
        // 2. The next questions of the deck, each answered by a group.
        run.session.begin();
        let hand = run.deck.hand(done, o.batch_size);
        let asked = hand.iter().flat_map(|&card| std::iter::repeat_n(&run.data.prompts[card], s.group));
        let sampling = policy::sampling(s.temperature, o.seed, done);
        let answers = run.rollouts.answer(&asked.collect::<Vec<_>>(), sampling).await?;
        // 3. Rewards, and how much better each answer did than its group.
        let verdicts = verify(&mut run.data.verifier, &answers)?;
        let rewards: Vec<f32> = verdicts.iter().map(|verdict| verdict.reward).collect();
        let advantages = group_advantages(&rewards, s.group, s.scale);
        // 4. What the reference would have said.
        let reference = match &mut run.reference {
            Some(reader) => reader.read(&answers).await?,
            None => Vec::new(),
        };
        // 5. A few updates towards the better answers.
        let mut outcomes = Vec::new();
        for epoch in 1..=s.epochs {
            run.add_gradients(&answers, &advantages, &reference).await?;
            outcomes.push(run.update.apply(o, done * s.epochs + epoch, done + 1).await?);
        }
        let mut outcome = Outcome::mean(&outcomes);
        outcome.metrics.0.splice(0..0, described(&answers, &verdicts, s.group));
        let tokens = answers.iter().map(|answer| answer.prompt.len() + answer.ids.len()).sum();
        control = events.send(run.session.record(o, outcome, tokens)).await;
        // 6. Ten bad steps in a row: the weights have not changed since the last good one.
        if run.session.diverged() {
            break;
        }
        // 7. Save. On the way out it happens below.
        if run.session.due(o.checkpoint_every) && done + 1 < o.steps && control == Control::Continue {
            control = events.send(run.keeper.tune_event().await?).await;
        }
    }
    events.send(run.keeper.tune_event().await?).await;
    events.send(run.session.done(o.steps)).await;
    Ok(())
}

impl Run {
    /// Adds up the gradients of a step, micro-batch by micro-batch.
    async fn add_gradients(
        &mut self,
        answers: &[Answer],
        advantages: &[f32],
        reference: &[Vec<f32>],
    ) -> Result<(), Error> {
        let rows = &mut self.rows;
        let at_once = rows.x.len() / rows.width;
        self.update.program.set("count", policy::n_tokens(answers) as f32);
        for (number, chunk) in answers.chunks(at_once).enumerate() {
            let first = number * at_once;
            policy::fill(rows, chunk);
            let old = policy::laid_out(rows, chunk, chunk.iter().map(|answer| &answer.log_probs[..]));
            let mut column = advantages[first..first + chunk.len()].to_vec();
            column.resize(at_once, 0.0);
            let program = &mut self.update.program;
            program.write("x", &rows.x);
            program.write("y", &rows.y);
            program.write("old_log_probs", &old);
            program.write("advantages", &column);
            if !reference.is_empty() {
                let reference = reference[first..].iter().map(|log_probs| &log_probs[..]);
                program.write("reference", &policy::laid_out(rows, chunk, reference));
            }
            self.update.add().await?;
        }
        Ok(())
    }

    /// The exam, where there is one.
    async fn examine(&mut self, events: &Events<TuneEvent>) -> Result<Control, Error> {
        let step = self.session.state().step;
        let (Some(exam), Some(rollouts)) = (&mut self.data.exam, &mut self.exam_rollouts) else {
            return Ok(Control::Continue);
        };
        let (metrics, samples) = exam.hold(rollouts, step).await?;
        let mut control = events.send(TuneEvent::Eval { step, metrics }).await;
        for sample in samples {
            control = events.send(sample).await;
        }
        Ok(control)
    }
}

/// What there is to say about answers before anything is learnt from them.
fn described(answers: &[Answer], verdicts: &[Verdict], group: usize) -> [(&'static str, f32); 6] {
    let n = answers.len() as f32;
    let rewards: Vec<f32> = verdicts.iter().map(|verdict| verdict.reward).collect();
    let (reward, reward_std) = policy::spread(&rewards);
    let alike = rewards.chunks(group).filter(|group| group.iter().all(|x| *x == group[0])).count();
    [
        ("reward", reward),
        ("reward_std", reward_std),
        ("correct", verdicts.iter().filter(|verdict| verdict.correct).count() as f32 / n),
        ("zero_signal", (alike * group) as f32 / n),
        ("answer_tokens", policy::n_tokens(answers) as f32 / n),
        ("truncated", policy::truncated(answers)),
    ]
}
