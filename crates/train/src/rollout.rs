//! Rollouts: many prompts answered, each as soon as there is room, and what a verifier says of the answers.
//!
//! Answers are sampled on the device from a key/value cache; their tokens come with the log-probabilities under the policy
//! that drew them, which PPO and GRPO need later.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cloche_models::{Batcher, Finish, GenerateSettings, Network, Sampling};
use cloche_tensor::Device;

use crate::error::Error;
use crate::events::{Metrics, TuneEvent};
use crate::examples::{Example, Prompt};
pub use crate::tasks::Verdict;

/// A sampled answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Which question it answers: [`Prompt::index`].
    pub index: usize,
    /// The prompt's tokens.
    pub prompt: Vec<u32>,
    /// The answer's tokens; the last one ends it, where it has ended by itself.
    pub ids: Vec<u32>,
    /// ln π of each, under the policy that drew it.
    pub log_probs: Vec<f32>,
    /// Whether it ended by itself, and not because there was no room for more.
    pub ended: bool,
}

/// Judges answers, all of a batch at once. It has the tokenizer, which this crate has not.
pub type Verifier = Box<dyn FnMut(&[Answer]) -> Result<Vec<Verdict>, String>>;

/// Questions that are held out, and who checks the answers.
pub struct Exam {
    /// The questions.
    pub prompts: Vec<Prompt>,
    /// The most tokens of an answer.
    pub max_tokens: usize,
    /// How many answers to show.
    pub shown: usize,
    /// Who checks.
    pub verifier: Verifier,
}

/// Answers prompts with a network, some at once.
pub struct Rollouts {
    batcher: Batcher,
}

impl Answer {
    /// The answer as something to learn from: its own tokens are marked, those of the prompt are not.
    pub fn example(&self) -> Example {
        let learn = |i| i >= self.prompt.len();
        let ids: Vec<u32> = self.prompt.iter().chain(&self.ids).copied().collect();
        Example { learn: (0..ids.len()).map(learn).collect(), ids }
    }
}

impl Rollouts {
    /// Prepares to answer `batch` prompts at once. Each of `stop_ids` ends an answer.
    ///
    /// # Errors
    /// When the device cannot hold the cache.
    pub fn new(
        device: &Device,
        network: &Network,
        batch: usize,
        max_tokens: usize,
        stop_ids: &[u32],
    ) -> Result<Rollouts, Error> {
        let stop_ids = stop_ids.to_vec();
        let settings = GenerateSettings { max_tokens, stop_ids, slide: false, ..Default::default() };
        Ok(Rollouts { batcher: Batcher::new(device, network, batch, settings)? })
    }

    /// Answers all prompts: each once, in their order. The same sampling gives the same answers, however many at once.
    ///
    /// # Errors
    /// Prompts that the model cannot read, a lost device.
    pub async fn answer(&mut self, prompts: &[&Prompt], sampling: Sampling) -> Result<Vec<Answer>, Error> {
        // Nothing is left here but by an error.
        self.batcher.clear();
        self.batcher.settings.sampling = sampling;
        let mut answers = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            self.batcher.push(prompt.ids.clone())?;
            let (index, prompt) = (prompt.index, prompt.ids.clone());
            answers.push(Answer { index, prompt, ids: Vec::new(), log_probs: Vec::new(), ended: false });
        }
        while let Some(tokens) = self.batcher.next().await? {
            for token in tokens {
                answers[token.sequence].ids.push(token.id);
                answers[token.sequence].log_probs.push(token.log_prob);
            }
        }
        for ended in self.batcher.take_ended() {
            answers[ended.sequence].ended = ended.finish == Finish::Stop;
        }
        Ok(answers)
    }
}

impl Exam {
    /// What answers the questions of this exam.
    ///
    /// # Errors
    /// When the device cannot hold the cache.
    pub fn rollouts(&self, device: &Device, network: &Network, stop_ids: &[u32]) -> Result<Rollouts, Error> {
        Rollouts::new(device, network, self.prompts.len().clamp(1, 32), self.max_tokens, stop_ids)
    }

    /// Lets a model answer all questions, always with the likeliest token, and has the answers checked: the mean reward and
    /// the share of correct answers, and a few answers to show.
    ///
    /// # Errors
    /// Of the device, or of the verifier.
    pub async fn hold(
        &mut self,
        rollouts: &mut Rollouts,
        step: u64,
    ) -> Result<(Metrics, Vec<TuneEvent>), Error> {
        let prompts: Vec<&Prompt> = self.prompts.iter().collect();
        let answers = rollouts.answer(&prompts, Sampling::greedy()).await?;
        let verdicts = verify(&mut self.verifier, &answers)?;
        let n = answers.len() as f32;
        let reward = verdicts.iter().map(|v| v.reward).sum::<f32>() / n;
        let correct = verdicts.iter().filter(|v| v.correct).count() as f32 / n;
        let shown = answers.into_iter().zip(&verdicts).enumerate().take(self.shown);
        let samples = shown.map(|(prompt, (answer, verdict))| TuneEvent::Sample {
            step,
            prompt,
            ids: answer.ids,
            reward: verdict.reward,
        });
        Ok((Metrics(vec![("exam_reward", reward), ("exam_correct", correct)]), samples.collect()))
    }
}

/// Has answers judged.
///
/// # Errors
/// What the verifier says, also where it panics; another number of verdicts than of answers; a reward that is not a
/// finite number.
pub fn verify(verifier: &mut Verifier, answers: &[Answer]) -> Result<Vec<Verdict>, Error> {
    let verdicts = match call(verifier, answers) {
        Ok(verdicts) => verdicts.map_err(Error::Verifier)?,
        Err(panicked) => return Err(Error::Verifier(culprit(verifier, answers, panicked))),
    };
    if verdicts.len() != answers.len() {
        return Err(Error::Verifier(format!(
            "found {} verdicts, expected one for each of {} answers",
            verdicts.len(),
            answers.len()
        )));
    }
    expect_finite(answers, verdicts.iter().map(|verdict| verdict.reward))?;
    Ok(verdicts)
}

/// Requires that every reward can be learnt from.
///
/// # Errors
/// The first one that is not a finite number, with the answer and the question.
pub(crate) fn expect_finite(answers: &[Answer], rewards: impl Iterator<Item = f32>) -> Result<(), Error> {
    match rewards.enumerate().find(|(_, reward)| !reward.is_finite()) {
        Some((i, reward)) => Err(Error::Verifier(format!(
            "answer {i} to question {}: found reward {reward}, expected a finite number",
            answers[i].index
        ))),
        None => Ok(()),
    }
}

/// What a verifier says, or its last words where it panics. In a page, where nothing is caught, the module ends.
fn call(verifier: &mut Verifier, answers: &[Answer]) -> Result<Result<Vec<Verdict>, String>, String> {
    // Whatever state the panic leaves, nothing is learnt from what the verifier says after it.
    catch_unwind(AssertUnwindSafe(|| verifier(answers))).map_err(|panicked| {
        let words = panicked.downcast_ref::<String>().map(String::as_str);
        words.or(panicked.downcast_ref::<&str>().copied()).unwrap_or("without a word").to_string()
    })
}

/// Which of the answers a verifier panics at: it is shown each alone.
fn culprit(verifier: &mut Verifier, answers: &[Answer], panicked: String) -> String {
    let mut alone = answers.iter().enumerate();
    match alone.find_map(|(i, answer)| Some((i, call(verifier, std::slice::from_ref(answer)).err()?))) {
        Some((i, panicked)) => {
            format!("it panicked at answer {i} to question {}: {panicked}", answers[i].index)
        }
        None => format!("it panicked at {} answers together: {panicked}", answers.len()),
    }
}
