//! Speculative decoding: a small model guesses a few tokens, and the large one reads all of them at once.
//!
//! A decoded token costs one reading of all weights, and a few tokens at once cost hardly more. Leviathan, Kalman and Matias
//! (2023, <https://arxiv.org/abs/2211.17192>) accept a guess by chance, so that the text has the large model's distribution.
//! Here both models draw with the same noise, which depends on the token's number only: mostly they draw the same token, and
//! what the large model draws does not depend on what was guessed (Daliri, Musco and Suresh 2024,
//! <https://arxiv.org/abs/2408.07978>). So a seed gives the same text with any draft and without one, as far as several rows
//! are rounded as one is.

use std::future::Future;
use std::pin::Pin;

use super::*;

/// Tokens and their log-probabilities.
type Drawn = Vec<(u32, f32)>;

/// What guesses for a model. It is a trait so that a module in which nothing does, such as `engine`, does not contain how.
pub(super) trait Guesses {
    /// Another sequence begins.
    fn start(&mut self);
    /// See [`Generator::guessed`].
    fn guessed(&self) -> [u64; 2];
    /// Whether the context has `room` for a guess, and drawing depends on nothing but the logits.
    fn can_guess(&self, room: usize, sampling: &Sampling) -> bool;
    /// The next tokens of a sequence, of which the last `cached` but one are in the large model's cache, and their
    /// log-probabilities: guesses that came true, and what the large model draws behind them. The first has the number `step`.
    fn next<'a>(
        &'a mut self,
        tokens: &'a [u32],
        cached: usize,
        sampling: &'a Sampling,
        step: u32,
    ) -> Pin<Box<dyn Future<Output = Result<Drawn, Error>> + 'a>>;
}

/// A smaller model that guesses for one sequence.
pub(super) struct Draft {
    /// What guesses. Its sequence is a copy of the one that it guesses for.
    small: Box<Generator>,
    /// Tokens of a guess.
    ahead: usize,
    /// Reads the newest token and a guess behind it, and draws the next token after each.
    verify: Program,
    /// How many tokens of the sequence the small model has forgotten, and how many behind them it knows.
    forgotten: usize,
    known: usize,
    /// How many tokens have been guessed, and how many of these were right.
    guessed: [u64; 2],
}

impl Draft {
    /// See [`Generator::with_draft`].
    pub fn new(large: &Generator, network: &Network, ahead: usize) -> Result<Self, GenerateError> {
        let (config, small) = (&large.network.config, &network.config);
        // The log has to hold a guess, and the run behind it.
        let most = config.context_len.min(small.context_len).saturating_sub(2).min(LOG_RUNS - 1);
        let refuse = |what, found, expected: String| Err(GenerateError::Draft { what, found, expected });
        if large.batch != 1 {
            return refuse("sequences at once", large.batch, "1".into());
        }
        if small.vocab_size != config.vocab_size {
            return refuse("tokens in its vocabulary", small.vocab_size, config.vocab_size.to_string());
        }
        if ahead == 0 || ahead > most {
            return refuse("guesses at once", ahead, format!("1 to {most}"));
        }
        Ok(Draft {
            small: Box::new(Generator::new(&large.device, network, 1, GenerateSettings::default())?),
            ahead,
            verify: compile_verify(large, ahead + 1)?,
            forgotten: 0,
            known: 0,
            guessed: [0; 2],
        })
    }

    /// See [`Guesses::next`].
    async fn read(
        &mut self,
        tokens: &[u32],
        cached: usize,
        sampling: &Sampling,
        step: u32,
    ) -> Result<Drawn, Error> {
        let guess = self.guess(tokens, sampling, step).await?;
        // 1. All of the guess in one run.
        let ids: Vec<u32> = tokens[tokens.len() - 1..].iter().chain(&guess).copied().collect();
        let positions: Vec<u32> = (cached as u32..).take(ids.len()).collect();
        self.verify.write("ids", &ids);
        self.verify.write("start", &positions[..1]);
        self.verify.write("position", &positions);
        let number: Vec<[u32; 2]> = (step..).take(ids.len()).map(|step| [0, step]).collect();
        sampling.set(&mut self.verify, &number);
        self.verify.run();
        let (drawn, log_probs) = collect(&mut self.verify, 1, ids.len()).await?.pop().expect("one run");
        // 2. What was drawn after a wrong guess does not count.
        let mut next: Drawn = drawn.u32().iter().copied().zip(log_probs.f32().iter().copied()).collect();
        let right = guess.iter().zip(&next).take_while(|(guess, (id, _))| *guess == id).count();
        next.truncate(right + 1);
        self.known += right + 1;
        self.guessed[0] += guess.len() as u64;
        self.guessed[1] += right as u64;
        Ok(next)
    }

    /// What the small model would write next.
    async fn guess(&mut self, tokens: &[u32], sampling: &Sampling, step: u32) -> Result<Vec<u32>, Error> {
        let (full, small) = (self.small.network.config.context_len, &mut self.small);
        let (last, before) = tokens.split_last().expect("a prompt");
        // 1. It has to have read all tokens but the last, and needs room for a guess.
        if self.forgotten + self.known != before.len() || self.known + self.ahead >= full {
            self.known = match before.len() {
                n if n + self.ahead < full => n,
                n => n.min(full / 2).min(full - 1 - self.ahead),
            };
            self.forgotten = before.len() - self.known;
            let tokens = before[self.forgotten..].to_vec();
            small.sequences = vec![Sequence { n_prompt: tokens.len(), tokens, cached: 0, finish: None }];
            if self.known > 0 {
                small.read_prompts().await?;
            }
        }
        // 2. One token after the other. The last one is drawn for nothing: only so is the guess before it read.
        small.chosen.write(&Data::U32(vec![*last]));
        for i in 0..=self.ahead {
            small.decode.write("position", &vec![(self.known + i) as u32]);
            sampling.set(&mut small.decode, &[[0, step + i as u32]]);
            small.decode.run();
            small.decode.throttle().await;
        }
        let runs = collect(&mut small.decode, self.ahead + 1, 1).await?;
        Ok(runs[..self.ahead].iter().map(|(ids, _)| ids.u32()[0]).collect())
    }
}

impl Guesses for Draft {
    fn start(&mut self) {
        (self.forgotten, self.known, self.guessed) = (0, 0, [0; 2]);
    }

    fn guessed(&self) -> [u64; 2] {
        self.guessed
    }

    fn can_guess(&self, room: usize, sampling: &Sampling) -> bool {
        room > self.ahead && sampling.repetition_penalty == 1.0
    }

    fn next<'a>(
        &'a mut self,
        tokens: &'a [u32],
        cached: usize,
        sampling: &'a Sampling,
        step: u32,
    ) -> Pin<Box<dyn Future<Output = Result<Drawn, Error>> + 'a>> {
        Box::pin(self.read(tokens, cached, sampling, step))
    }
}

/// A program that reads `t` tokens behind those in the cache, and draws the next one after each.
fn compile_verify(large: &Generator, t: usize) -> Result<Program, Error> {
    let (graph, network) = (Graph::new(), &large.network);
    let ids = graph.input("ids", (1, t), DType::U32);
    let start = graph.input("start", (1,), DType::U32);
    let position = graph.input("position", (1, t), DType::U32);
    let kv = KvCache::extend(&graph, &network.config, &start, &position);
    let x = logits(&network.config, &network.params(&graph), &ids, &Pass::cached(kv)); // (1, T, V)
    let (ids, log_probs) = Sampling::draw(&x.reshape((t, network.config.vocab_size)), [None; 2]);
    let mut states: Vec<(&str, &State)> = network.states();
    states.extend(large.cache.bind());
    large.device.compile(&graph, &[("chosen", &ids), ("log_probs", &log_probs)], &states)
}
