//! PPO: reinforcement learning from rewards, with a critic that says what to expect, near to where the model began.
//!
//! The third step of Ouyang et al. 2022 (InstructGPT), <https://arxiv.org/abs/2203.02155>, by the algorithm of Schulman et
//! al. 2017, <https://arxiv.org/abs/1707.06347>. Each token pays for its divergence from the reference, the last one
//! receives the answer's reward, and the critic, a network of its own, turns both into advantages. Departures: there is no
//! dropout, so that the policy that learns is the one that answered; an answer that was cut off is judged as it stands, so
//! nothing is expected behind its last token. As in `grpo`, the ratio is that of the model's own probabilities, whatever
//! the temperature.

mod settings;
mod experience;
mod losses;

pub use settings::Settings;

use cloche_models::Network;
use cloche_tensor::Device;

use crate::checkpoint::{CRITIC, Keeper, MODEL, Saved};
use crate::error::Error;
use crate::events::TuneEvent;
use crate::examples::{Deck, Example, Prompt, Rows, check_examples, check_prompts};
use crate::judge::{Judge, expect_head};
use crate::learner::{Learner, Outcome, Update, expect_alike};
use crate::policy::{self, Reader};
use crate::rollout::{Answer, Exam, Rollouts, Verifier, expect_finite, verify};
use crate::session::Session;
use crate::stage::{Control, Events, Stage, stage};
use experience::Experience;
use losses::{record_critic, record_policy};

/// Who gives the rewards.
pub enum Scorer {
    /// A function of the answers.
    Verifier(Verifier),
    /// A reward model.
    Judge(Box<Judge>),
}

impl Scorer {
    async fn score(&mut self, answers: &[Answer]) -> Result<Vec<f32>, Error> {
        match self {
            Scorer::Verifier(verifier) => {
                Ok(verify(verifier, answers)?.iter().map(|verdict| verdict.reward).collect())
            }
            Scorer::Judge(judge) => {
                let rewards = judge.rate(answers).await?;
                expect_finite(answers, rewards.iter().copied())?;
                Ok(rewards)
            }
        }
    }
}

/// The models of a run.
pub struct Models {
    /// What learns.
    pub policy: Network,
    /// What it stays near to: a frozen copy, or the base of its adapter.
    pub reference: Network,
    /// What learns what to expect: a model with a score head, such as a copy of the reward model.
    pub critic: Network,
}

/// What to learn from.
pub struct Data {
    /// What is to be answered.
    pub prompts: Vec<Prompt>,
    /// Who gives the rewards.
    pub scorer: Scorer,
    /// Text that is not to be forgotten, where `pretraining_weight` is not 0.
    pub pretraining: Vec<Example>,
    /// Questions that are held out.
    pub exam: Option<Exam>,
}

/// A run before its first event.
pub struct Run {
    device: Device,
    session: Session<Settings>,
    keeper: Keeper,
    data: Data,
    policy: Learner,
    policy_update: Update,
    critic_update: Update,
    /// What the updates of this step have come to so far, those of the policy and those of the critic.
    outcomes: [Vec<Outcome>; 2],
    /// ln π of the reference.
    reference: Reader,
    /// What the critic expects.
    values: Reader,
    rollouts: Rollouts,
    exam_rollouts: Option<Rollouts>,
    rows: Rows,
    text_rows: Rows,
    deck: Deck,
    texts: Deck,
}

impl Run {
    /// Prepares a run; what learns of a network are its weights, its adapter's where it has one.
    ///
    /// # Errors
    /// Settings out of range, prompts that the model cannot answer, a critic without a score head, a device that cannot
    /// hold the run, a checkpoint of another run.
    pub fn new(
        device: &Device,
        models: Models,
        settings: Settings,
        data: Data,
        mut saved: Option<Saved<Settings>>,
    ) -> Result<Run, Error> {
        let (config, s) = (models.policy.config, &settings);
        s.validate()?;
        expect_head(&models.critic)?;
        expect_alike("critic", &models.critic, &config)?;
        expect_alike("reference", &models.reference, &config)?;
        check_prompts(&data.prompts, config.vocab_size, config.context_len)?;
        if s.pretraining_weight > 0.0 {
            check_examples(&data.pretraining, config.vocab_size, config.context_len)?;
        }
        let session = Session::open(
            settings.clone(),
            policy::fingerprint_of(&data.prompts, &data.pretraining),
            saved.as_ref(),
        )?;
        let policy =
            Learner::new(device, models.policy, saved.as_mut().map(|saved| (&mut saved.parts, MODEL)))?;
        let critic =
            Learner::new(device, models.critic, saved.as_mut().map(|saved| (&mut saved.parts, CRITIC)))?;
        let rows = s.optimization.batch_size / s.minibatches;
        let width = policy::width_of(&data.prompts, s.max_tokens, config.context_len);
        let text_rows = Rows::new(rows, Rows::width_of(data.pretraining.iter(), config.context_len));
        let shapes = [(rows, width), (rows, text_rows.width)];
        let policy_update =
            policy.update(device, &s.optimization, |graph, p| record_policy(&config, graph, p, shapes, s))?;
        let expects = critic.network.config;
        let critic_update =
            critic.update(device, &s.critic(), |graph, p| record_critic(&expects, graph, p, shapes[0], s))?;
        let prepare = |exam: &Exam| exam.rollouts(device, &policy.network, &s.stop_ids);
        Ok(Run {
            reference: Reader::log_probs(device, &models.reference, shapes[0])?,
            values: Reader::values(device, &critic.network, shapes[0])?,
            rollouts: Rollouts::new(device, &policy.network, rows, s.max_tokens, &s.stop_ids)?,
            exam_rollouts: data.exam.as_ref().map(prepare).transpose()?,
            rows: Rows::new(rows, width),
            deck: Deck::new(data.prompts.len(), s.optimization.seed),
            texts: Deck::new(data.pretraining.len(), s.optimization.seed),
            device: device.clone(),
            keeper: session.keeper_of(&[(MODEL, &policy), (CRITIC, &critic)]),
            session,
            data,
            policy,
            policy_update,
            critic_update,
            outcomes: Default::default(),
            text_rows,
        })
    }

    /// The policy as it is on the device: it can be sampled from and saved between two events.
    pub fn network(&self) -> Network {
        self.policy.network.clone()
    }

    /// Whoever can make a checkpoint of the run between two events, and behind the last one.
    pub fn keeper(&self) -> Keeper {
        self.keeper.clone()
    }

    /// The run as a stage that yields [`TuneEvent`]s.
    pub fn stage(self) -> Stage<TuneEvent, Error> {
        stage(async |events| ppo(self, events).await)
    }
}

/// The stage itself.
async fn ppo(mut run: Run, events: Events<TuneEvent>) -> Result<(), Error> {
    let s = run.session.state().settings.clone();
    let o = &s.optimization;
    let mut control = events.send(run.session.start("ppo", &run.device, &run.policy.network, o.steps)).await;
    while control == Control::Continue {
        let done = run.session.state().step;
        // 1. Look at where we are: answers to questions never asked before.
        if run.session.due(o.eval_every) || done == 0 || done == o.steps {
            control = run.examine(&events).await?;
        }
        if done == o.steps || control == Control::Stop {
            break;
        }
        // 2. The next prompts of the deck, each answered once.
        run.session.begin();
        let hand = run.deck.hand(done, o.batch_size);
        let asked: Vec<&Prompt> = hand.iter().map(|&card| &run.data.prompts[card]).collect();
        let answers = run.rollouts.answer(&asked, policy::sampling(s.temperature, o.seed, done)).await?;
        // 3. What the answers are worth, what the reference would have said, and what the critic expected.
        let scores = run.data.scorer.score(&answers).await?;
        let reference = run.reference.read(&answers).await?;
        let values = run.values.read(&answers).await?;
        // 4. How much better each token did than expected.
        let experience = Experience::new(&s, answers, &scores, &reference, values);
        // 5. Updates of both, several times over the same answers.
        for epoch in done * s.epochs..(done + 1) * s.epochs {
            run.learn(&experience, epoch).await?;
        }
        let outcome = run.outcome(&experience);
        control = events.send(run.session.record(o, outcome, experience.tokens_read())).await;
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
    /// Updates policy and critic from all answers, minibatch by minibatch. Epochs are counted through the whole run.
    async fn learn(&mut self, experience: &Experience, epoch: u64) -> Result<(), Error> {
        let s = self.session.state().settings.clone();
        let (o, critic, step) = (&s.optimization, s.critic(), self.session.state().step + 1);
        let (rows, at_once) = (&mut self.rows, o.batch_size / s.minibatches);
        for (number, answers) in experience.answers.chunks(at_once).enumerate() {
            let these = number * at_once..number * at_once + answers.len();
            policy::fill(rows, answers);
            let of = |numbers: &[Vec<f32>]| {
                policy::laid_out(rows, answers, numbers[these.clone()].iter().map(Vec::as_slice))
            };
            let old = policy::laid_out(rows, answers, answers.iter().map(|answer| &answer.log_probs[..]));
            for program in [&mut self.policy_update.program, &mut self.critic_update.program] {
                program.write("x", &rows.x);
                program.write("y", &rows.y);
                program.set("count", policy::n_tokens(answers) as f32);
            }
            self.policy_update.program.write("old_log_probs", &old);
            self.policy_update.program.write("advantages", &of(&experience.advantages));
            self.critic_update.program.write("old_values", &of(&experience.values));
            self.critic_update.program.write("returns", &of(&experience.returns));
            let update = epoch * s.minibatches as u64 + number as u64;
            if s.pretraining_weight > 0.0 {
                let hand = self.texts.hand(update, at_once);
                let count = self.text_rows.fill(hand.iter().map(|&card| &self.data.pretraining[card]));
                self.policy_update.program.write("text_x", &self.text_rows.x);
                self.policy_update.program.write("text_y", &self.text_rows.y);
                self.policy_update.program.set("text_count", count as f32);
            }
            self.policy_update.run(o, update + 1, step).await;
            self.critic_update.run(&critic, update + 1, step).await;
        }
        // The log holds a limited number of runs: each epoch's are read before the next.
        self.outcomes[0].extend(self.policy_update.outcomes().await?);
        self.outcomes[1].extend(self.critic_update.outcomes().await?);
        Ok(())
    }

    /// What a step came to: means over its updates. The loss is the policy's.
    fn outcome(&mut self, experience: &Experience) -> Outcome {
        let [mut outcome, critic] = std::mem::take(&mut self.outcomes).map(|all| Outcome::mean(&all));
        outcome.finite &= critic.finite;
        outcome.metrics.0.splice(0..0, experience.metrics.0.iter().copied());
        outcome.metrics.0.extend(critic.metrics.0);
        outcome
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
