//! A model that is asked, and who judges what it says: for evaluation, and to draw what others learn from.

use std::path::Path;
use std::rc::Rc;

use anyhow::{Result, anyhow, bail};
use cloche_models::{Network, Sampling};
use cloche_tensor::Device;
use cloche_train::evaluate::{Score as Loss, sum_of_examples};
use cloche_train::judge;
use cloche_train::rollout::{Answer, Rollouts, Verdict, verify};

use crate::folder;
use crate::reader::Reader;
use crate::report::Report;
use crate::source::Question;

/// Questions that are answered at once, and answers that are judged at once.
const BATCH_SIZE: usize = 32;

/// A model that is asked.
pub struct Candidate {
    /// The model, with its adapter where it has one.
    pub network: Network,
    /// Who reads and writes for it.
    pub reader: Rc<Reader>,
}

/// How to ask.
pub struct Asking {
    /// Answers to each question.
    pub tries: usize,
    /// The most tokens of an answer, where it is not half as many again as the longest right one.
    pub max_tokens: Option<usize>,
    /// How answers are drawn.
    pub sampling: Sampling,
}

/// What a model has said: all tries at the first question, then those at the next.
pub struct Said {
    /// The answers as they were drawn; [`Answer::index`] is the place of the question.
    pub answers: Vec<Answer>,
    /// Their texts.
    pub texts: Vec<String>,
    /// What each is worth by those who know the right ones.
    pub verdicts: Vec<Verdict>,
}

impl Candidate {
    /// Opens the model in a folder, with an adapter where one is named.
    ///
    /// # Errors
    /// A folder that holds no model or no tokenizer for it; an adapter of another model.
    pub fn open(device: &Device, path: &Path, adapter: Option<&Path>, turns: bool) -> Result<Candidate> {
        let model = folder::open_with(path, adapter, device)?;
        let tokenizer = folder::tokenizer_of(path, adapter, &model)?;
        Ok(Candidate { network: model.network, reader: Rc::new(Reader::new(tokenizer, turns)?) })
    }

    /// Those of the questions that leave this model room for their answers; how many do not is told.
    ///
    /// # Errors
    /// Questions of which none fits.
    pub fn fitting(
        &self,
        questions: Vec<Question>,
        asking: &Asking,
        report: &Report,
    ) -> Result<Vec<Question>> {
        let max_tokens = self.max_tokens(&questions, asking);
        let asked = self.reader.prompts(questions, self.context_len(), max_tokens, report)?;
        Ok(Rc::try_unwrap(asked.questions).unwrap_or_else(|shared| shared.to_vec()))
    }

    fn context_len(&self) -> usize {
        self.network.config.context_len
    }

    fn max_tokens(&self, questions: &[Question], asking: &Asking) -> usize {
        asking.max_tokens.unwrap_or_else(|| self.reader.answer_tokens(questions)).max(1)
    }

    /// Asks every question, as often as is wanted. All of them fit.
    ///
    /// # Errors
    /// A device that cannot hold the cache, or was lost.
    pub fn ask(
        &self,
        device: &Device,
        questions: &[Question],
        asking: &Asking,
        report: &Report,
    ) -> Result<Said> {
        let (reader, max_tokens) = (&self.reader, self.max_tokens(questions, asking));
        let asked = reader.prompts(questions.to_vec(), self.context_len(), max_tokens, report)?;
        let tries = asking.tries;
        let prompts: Vec<_> =
            asked.prompts.iter().flat_map(|prompt| std::iter::repeat_n(prompt, tries)).collect();
        let batch = prompts.len().min(BATCH_SIZE);
        let mut rollouts = Rollouts::new(device, &self.network, batch, max_tokens, &reader.stop_ids)?;
        let answers = pollster::block_on(rollouts.answer(&prompts, asking.sampling))?;
        let verdicts = verify(&mut reader.verifier(&asked.questions), &answers)?;
        let texts = answers.iter().map(|answer| reader.answer(&answer.ids)).collect();
        Ok(Said { answers, texts, verdicts })
    }

    /// How well the model predicts the right answers; `None` where none of them fits whole.
    ///
    /// # Errors
    /// A template that fails, a lost device.
    pub fn loss_of_right_answers(&self, device: &Device, questions: &[Question]) -> Result<Option<Loss>> {
        let (mut examples, mut bytes) = (Vec::new(), 0);
        for question in questions {
            let example = self.reader.answered(question, &question.answer)?;
            if example.ids.len() <= self.context_len() + 1 && example.n_targets() > 0 {
                examples.push(example);
                bytes += question.answer.len() as u64;
            }
        }
        if examples.is_empty() {
            return Ok(None);
        }
        let (sum, tokens) = pollster::block_on(sum_of_examples(device, &self.network, &examples))?;
        Ok(Some(Loss::new(sum, tokens, bytes)))
    }
}

/// Who says what an answer is worth.
pub enum Judge {
    /// Those who know the right answer.
    Truth,
    /// A reward model, which reads question and answer as texts, whatever the tokens of who answered.
    Model(Box<RewardModel>),
}

/// A reward model, and who reads for it.
pub struct RewardModel {
    judge: judge::Judge,
    reader: Reader,
}

impl Judge {
    /// Opens the reward model in a folder; without one, the truth judges.
    ///
    /// # Errors
    /// A folder that holds no reward model or no tokenizer for it.
    pub fn open(device: &Device, path: Option<&Path>, turns: bool) -> Result<Judge> {
        let Some(path) = path else { return Ok(Judge::Truth) };
        let network = folder::open_judge(path, device)?;
        let reader = Reader::new(folder::tokenizer(path)?, turns)?;
        folder::expect_vocabulary(path, &reader.tokenizer, network.config.vocab_size)?;
        let judge = judge::Judge::new(device, &network, BATCH_SIZE, network.config.context_len)?;
        Ok(Judge::Model(Box::new(RewardModel { judge, reader })))
    }

    /// What each answer is worth.
    ///
    /// # Errors
    /// A question and its answer that are too long for the reward model, or that its template cannot write.
    pub fn rewards(&mut self, questions: &[Question], said: &Said) -> Result<Vec<f32>> {
        let RewardModel { judge, reader } = match self {
            Judge::Truth => return Ok(said.verdicts.iter().map(|verdict| verdict.reward).collect()),
            Judge::Model(model) => &mut **model,
        };
        let tries = said.texts.len() / questions.len().max(1);
        let asked = questions.iter().flat_map(|question| std::iter::repeat_n(question, tries));
        let texts: Vec<Vec<u32>> = asked
            .zip(&said.texts)
            .map(|(question, answer)| Ok(reader.answered(question, answer)?.ids))
            .collect::<Result<_>>()?;
        let heard = texts.iter().zip(&said.answers).map(|(text, answer)| judge.heard(text, answer.ended));
        let texts: Vec<&[u32]> = heard.collect();
        let rewards = pollster::block_on(judge.score(&texts)).map_err(|error| anyhow!("judge: {error}"))?;
        match rewards.iter().position(|reward| !reward.is_finite()) {
            None => Ok(rewards),
            Some(i) => bail!("judge: found reward {} of text {i}, expected a finite number", rewards[i]),
        }
    }
}
