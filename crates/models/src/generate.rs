//! Generation: prompts are read at once, then each sequence grows by one token a run.
//!
//! Two kinds of programs share the weights and the cache. A *prefill* program reads prompts, padded on the right to a power
//! of two, and chooses each sequence's first token. The *decode* program reads the tokens chosen last from a state, which
//! it overwrites by the next ones: several runs follow each other on the device before anything is read back.

use std::pin::Pin;

use cloche_nn::embedding::rows;
use cloche_tensor::{DType, Data, Device, Error, Graph, LOG_RUNS, Program, State, Tensor};

use crate::kv_cache::{KvCache, KvStates};
use crate::network::Network;
use crate::sample::Sampling;
use crate::{Model, Pass, hidden, logits};
use speculate::{Draft, Guesses};

pub(crate) mod batcher;
mod speculate;

/// Tokens of each sequence between two readings, on a GPU, where each reading waits for the device.
const GPU_READ_EVERY: usize = 8;

/// Outputs of more elements than this are not in a program's log, and are read after each run.
const LOGGED: usize = 64;

/// What is generated, and until when.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateSettings {
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// The most tokens of each sequence, beyond its prompt.
    pub max_tokens: usize,
    /// Each of these ends its sequence; it is yielded as the last token.
    pub stop_ids: Vec<u32>,
    /// Whether to go on when the context is full, from the later half of it. Otherwise the sequence ends there.
    pub slide: bool,
}

impl Default for GenerateSettings {
    fn default() -> Self {
        GenerateSettings { sampling: Sampling::default(), max_tokens: 256, stop_ids: Vec::new(), slide: true }
    }
}

/// One token of one sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token {
    /// Which of the sequences, by their order in [`Generator::start`], or the number from
    /// [`Batcher::push`](batcher::Batcher::push).
    pub sequence: usize,
    /// The token.
    pub id: u32,
    /// The natural logarithm of the probability that the model gave it.
    pub log_prob: f32,
}

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It came to a stop id.
    Stop,
    /// It has as many tokens as were asked for, or as the context holds.
    Length,
}

/// Why nothing can be generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// Prompts that do not fit the generator.
    #[error("{0} prompts, the generator was made for {1}")]
    Batch(usize, usize),
    /// A prompt without a token: there is nothing to continue.
    #[error("prompt {0} is empty")]
    Empty(usize),
    /// A token that the model does not have.
    #[error("prompt {prompt} has token {id}, the model has {vocab_size}")]
    Vocabulary {
        /// Which prompt.
        prompt: usize,
        /// The token.
        id: u32,
        /// Tokens that the model has.
        vocab_size: usize,
    },
    /// A draft that cannot guess for this model.
    #[error("draft: found {found} {what}, expected {expected}")]
    Draft {
        /// What does not fit.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: String,
    },
    /// The device.
    #[error(transparent)]
    Device(#[from] Error),
}

/// Continues up to `batch` sequences at once.
pub struct Generator {
    device: Device,
    network: Network,
    batch: usize,
    /// What is generated; may be changed before each [`start`](Self::start).
    pub settings: GenerateSettings,
    cache: KvStates,
    /// The token chosen last, of each sequence.
    chosen: State,
    /// Which tokens have occurred in each sequence, `(B, V)`.
    seen: State,
    /// By the number of positions that they read.
    prefill: Vec<(usize, Program)>,
    decode: Program,
    sequences: Vec<Sequence>,
    /// Tokens chosen in each sequence since the start.
    step: u32,
    draft: Option<Box<dyn Guesses>>,
}

struct Sequence {
    tokens: Vec<u32>,
    n_prompt: usize,
    /// How many of its latest tokens are in the cache.
    cached: usize,
    finish: Option<Finish>,
}

impl Generator {
    /// Prepares to continue `batch` sequences at once.
    ///
    /// # Errors
    /// When the device cannot hold the cache.
    pub fn new(
        device: &Device,
        network: &Network,
        batch: usize,
        settings: GenerateSettings,
    ) -> Result<Self, Error> {
        let config = &network.config;
        let cache = KvStates::new(device, config, batch)?;
        let chosen = device.state("chosen", batch, DType::U32)?;
        let seen = device.state("seen", batch * config.vocab_size, DType::U32)?;
        let decode = compile_decode(device, network, &cache, [&chosen, &seen])?;
        Ok(Generator {
            device: device.clone(),
            network: network.clone(),
            batch,
            settings,
            cache,
            chosen,
            seen,
            prefill: Vec::new(),
            decode,
            sequences: Vec::new(),
            step: 0,
            draft: None,
        })
    }

    /// Lets a smaller model guess `ahead` tokens, which are then read at once: where guesses come true, a reading of this
    /// model's weights yields several tokens. The text is that which it would generate alone; see `generate/speculate.rs`.
    ///
    /// Under a repetition penalty, and at the end of either context, nothing is guessed.
    ///
    /// # Errors
    /// More than one sequence, another vocabulary, a number of tokens that does not fit into both contexts; a device that
    /// cannot hold the smaller model's cache.
    pub fn with_draft(mut self, network: &Network, ahead: usize) -> Result<Self, GenerateError> {
        self.draft = Some(Box::new(Draft::new(&self, network, ahead)?));
        Ok(self)
    }

    /// How many tokens have been guessed since the start, and how many of these were right.
    pub fn guessed(&self) -> [u64; 2] {
        self.draft.as_ref().map_or([0; 2], |draft| draft.guessed())
    }

    /// Begins new sequences. A single prompt begins all `batch` of them, which then differ by chance only.
    ///
    /// A prompt longer than the context is read from where its rest fits. What is to read them is compiled now, so that a
    /// browser can do that beside what [`new`](Self::new) has compiled.
    ///
    /// # Errors
    /// An empty prompt, an unknown token, another number of prompts; a device that cannot hold what reads them.
    pub fn start(&mut self, prompts: &[Vec<u32>]) -> Result<(), GenerateError> {
        if prompts.len() != 1 && prompts.len() != self.batch {
            return Err(GenerateError::Batch(prompts.len(), self.batch));
        }
        let vocab_size = self.network.config.vocab_size;
        for (prompt, ids) in prompts.iter().enumerate() {
            expect_known(prompt, ids, vocab_size)?;
        }
        let mut seen = vec![0u32; self.batch * vocab_size];
        self.sequences.clear();
        for (prompt, seen) in prompts.iter().cycle().take(self.batch).zip(seen.chunks_mut(vocab_size)) {
            prompt.iter().for_each(|&id| seen[id as usize] = 1);
            let finish = (self.settings.max_tokens == 0).then_some(Finish::Length);
            self.sequences.push(Sequence {
                tokens: prompt.clone(),
                n_prompt: prompt.len(),
                cached: 0,
                finish,
            });
        }
        self.seen.write(&Data::U32(seen));
        self.step = 0;
        self.draft.iter_mut().for_each(|draft| draft.start());
        self.reader(prompts.iter().map(Vec::len).max().unwrap_or(1))?;
        Ok(())
    }

    /// The next tokens, in order of time; `None` when all sequences have ended.
    ///
    /// On the CPU that is one token of each sequence; on a GPU a few of them, so that the device is not kept waiting.
    ///
    /// # Errors
    /// A lost device, or an error of earlier work on it.
    pub async fn next(&mut self) -> Result<Option<Vec<Token>>, GenerateError> {
        // In a box, so that the code for it is there once and not in each crate that asks.
        let boxed: Pin<Box<dyn Future<Output = _> + '_>> = Box::pin(self.next_tokens());
        boxed.await
    }

    async fn next_tokens(&mut self) -> Result<Option<Vec<Token>>, GenerateError> {
        if self.sequences.iter().all(|s| s.finish.is_some()) {
            return Ok(None);
        }
        let room = self.active().map(|s| self.network.config.context_len - s.cached).min().unwrap_or(0);
        let unread = self.active().any(|s| s.cached == 0);
        let chosen = match &self.draft {
            _ if unread || room == 0 => self.read_prompts().await?,
            Some(draft) if draft.can_guess(room, &self.settings.sampling) => self.speculate().await?,
            _ => self.grow(room).await?,
        };
        let mut tokens = Vec::new();
        for (ids, log_probs) in chosen {
            for (sequence, (&id, &log_prob)) in ids.u32().iter().zip(log_probs.f32()).enumerate() {
                if self.sequences[sequence].finish.is_none() {
                    self.sequences[sequence].push(id, &self.settings);
                    tokens.push(Token { sequence, id, log_prob });
                }
            }
        }
        // A full cache ends a sequence unless it may forget its beginning.
        let full = self.network.config.context_len;
        for s in self
            .sequences
            .iter_mut()
            .filter(|s| s.finish.is_none() && s.cached == full && !self.settings.slide)
        {
            s.finish = Some(Finish::Length);
        }
        Ok(Some(tokens))
    }

    /// Why a sequence has ended, or `None` while it goes on.
    pub fn finish(&self, sequence: usize) -> Option<Finish> {
        self.sequences[sequence].finish
    }

    /// Prompt and continuation of a sequence.
    pub fn tokens(&self, sequence: usize) -> &[u32] {
        &self.sequences[sequence].tokens
    }

    /// The program that makes one token of each sequence, for its cost and its profile. To run it is to disturb what is being
    /// generated.
    pub fn decode_program(&mut self) -> &mut Program {
        &mut self.decode
    }

    fn active(&self) -> impl Iterator<Item = &Sequence> {
        self.sequences.iter().filter(|s| s.finish.is_none())
    }

    /// Reads each sequence into the cache, as much of it as it may still look at, and chooses one token of each.
    async fn read_prompts(&mut self) -> Result<Vec<(Data, Data)>, Error> {
        // 1. A prompt is read from where its rest fits; a sequence that has filled the context keeps the later half. One
        //    that has not is read again as it is, and its newest token with it.
        let context_len = self.network.config.context_len;
        for s in &mut self.sequences {
            s.cached = match s.cached {
                _ if s.finish.is_some() => 1,
                0 => s.tokens.len().min(context_len),
                n if n == context_len => (context_len / 2).max(1),
                n => n + 1,
            };
        }
        // 2. Rows of equal length: what is right of a prompt is hidden by causality.
        let longest = self.sequences.iter().map(|s| s.cached).max().expect("at least one sequence");
        let place = self.reader(longest)?;
        let (t, program) = &mut self.prefill[place];
        let t = *t;
        let (mut ids, mut last) = (vec![0; self.batch * t], vec![0; self.batch]);
        for (b, s) in self.sequences.iter().enumerate() {
            ids[b * t..][..s.cached].copy_from_slice(&s.tokens[s.tokens.len() - s.cached..]);
            last[b] = (b * t + s.cached - 1) as u32;
        }
        // 3. One run.
        program.write("ids", &ids);
        program.write("last", &last);
        self.settings.sampling.set(program, &numbers(self.batch, self.step));
        self.step += 1;
        program.run();
        collect(program, 1, self.batch).await
    }

    /// Runs the decode program as often as may be before somebody has to look.
    async fn grow(&mut self, room: usize) -> Result<Vec<(Data, Data)>, Error> {
        if self.draft.is_some() {
            self.chosen.write(&Data::U32(self.sequences[0].tokens.last().copied().into_iter().collect()));
        }
        let at_once = if self.device.gpu().is_some() && self.batch <= LOGGED { GPU_READ_EVERY } else { 1 };
        let left = |s: &Sequence| self.settings.max_tokens - (s.tokens.len() - s.n_prompt);
        let n = self.active().map(left).max().unwrap_or(1).min(at_once).min(room);
        for _ in 0..n {
            // Sequences that have ended compute too, but nobody looks at it.
            let last = self.network.config.context_len - 1;
            let positions: Vec<u32> = self.sequences.iter().map(|s| s.cached.min(last) as u32).collect();
            self.decode.write("position", &positions);
            self.settings.sampling.set(&mut self.decode, &numbers(self.batch, self.step));
            self.decode.run();
            self.step += 1;
            self.sequences.iter_mut().filter(|s| s.finish.is_none()).for_each(|s| s.cached += 1);
            self.decode.throttle().await;
        }
        collect(&mut self.decode, n, self.batch).await
    }

    /// The tokens on which the draft and the model agree, and the one behind them, which is the model's.
    async fn speculate(&mut self) -> Result<Vec<(Data, Data)>, Error> {
        let draft = self.draft.as_mut().expect("a draft");
        let s = &mut self.sequences[0];
        let tokens = draft.next(&s.tokens, s.cached, &self.settings.sampling, self.step).await?;
        s.cached += tokens.len();
        self.step += tokens.len() as u32;
        Ok(tokens
            .into_iter()
            .map(|(id, log_prob)| (Data::U32(vec![id]), Data::F32(vec![log_prob])))
            .collect())
    }

    /// The place among `prefill` of the program that reads so many tokens of each sequence, or up to twice as many: few
    /// programs read prompts of all lengths.
    fn reader(&mut self, longest: usize) -> Result<usize, Error> {
        let t = longest.next_power_of_two().min(self.network.config.context_len);
        if let Some(place) = self.prefill.iter().position(|(width, _)| *width == t) {
            return Ok(place);
        }
        let program = self.compile_prefill(t)?;
        self.prefill.push((t, program));
        Ok(self.prefill.len() - 1)
    }

    fn compile_prefill(&self, t: usize) -> Result<Program, Error> {
        let graph = Graph::new();
        let ids = graph.input("ids", (self.batch, t), DType::U32);
        let last = graph.input("last", (self.batch,), DType::U32);
        let kv = KvCache::prefill(&graph, &self.network.config, self.batch);
        let outputs = record(&self.network, &ids, kv, |hidden| rows(&hidden, &last));
        compile(&self.device, &outputs, &self.network, &self.cache, [&self.chosen, &self.seen])
    }
}

impl Sequence {
    fn push(&mut self, id: u32, settings: &GenerateSettings) {
        self.tokens.push(id);
        if settings.stop_ids.contains(&id) {
            self.finish = Some(Finish::Stop);
        } else if self.tokens.len() - self.n_prompt == settings.max_tokens {
            self.finish = Some(Finish::Length);
        }
    }
}

/// Requires that a prompt can be read.
fn expect_known(prompt: usize, ids: &[u32], vocab_size: usize) -> Result<(), GenerateError> {
    if ids.is_empty() {
        return Err(GenerateError::Empty(prompt));
    }
    match ids.iter().find(|&&id| id as usize >= vocab_size) {
        Some(&id) => Err(GenerateError::Vocabulary { prompt, id, vocab_size }),
        None => Ok(()),
    }
}

/// The numbers of all sequences' tokens of a step.
fn numbers(batch: usize, step: u32) -> Vec<[u32; 2]> {
    (0..batch as u32).map(|sequence| [sequence, step]).collect()
}

/// Records a model on ids `(B, T)`, and the choice of the next token after the rows that `pick` takes from the hidden
/// states `(B·T, C)`. The state `"chosen"` keeps it for the next run.
fn record(network: &Network, ids: &Tensor, kv: KvCache, pick: impl Fn(Tensor) -> Tensor) -> (Tensor, Tensor) {
    let (graph, config) = (ids.graph(), &network.config);
    let p = network.params(graph);
    let x = hidden(config, &p, ids, &Pass::cached(kv)); // (B, T, C)
    let x = pick(x.reshape((ids.shape().numel(), config.d_model))); // (B, C)
    Sampling::record(&(Model::of(config).head)(config, &p, &x))
}

/// The program that makes one token of each sequence.
fn compile_decode(
    device: &Device,
    network: &Network,
    cache: &KvStates,
    own: [&State; 2],
) -> Result<Program, Error> {
    let (graph, batch) = (Graph::new(), own[0].numel());
    let position = graph.input("position", (batch,), DType::U32);
    let ids = graph.state("chosen", (batch,), DType::U32).reshape((batch, 1));
    let kv = KvCache::decode(&graph, &network.config, &position);
    compile(device, &record(network, &ids, kv, |hidden| hidden), network, cache, own)
}

/// Compiles what [`record`] has recorded, with the states `"chosen"` and `"seen"`.
fn compile(
    device: &Device,
    (chosen, log_probs): &(Tensor, Tensor),
    network: &Network,
    cache: &KvStates,
    own: [&State; 2],
) -> Result<Program, Error> {
    let mut states: Vec<(&str, &State)> = network.states();
    states.extend(cache.bind());
    states.extend(["chosen", "seen"].into_iter().zip(own));
    device.compile(chosen.graph(), &[("chosen", chosen), ("log_probs", log_probs)], &states)
}

/// What the latest `n` runs have chosen: ids and log-probabilities of each run.
async fn collect(program: &mut Program, n: usize, batch: usize) -> Result<Vec<(Data, Data)>, Error> {
    if batch > LOGGED {
        return Ok(vec![(program.read("chosen").await?, program.read("log_probs").await?)]);
    }
    let runs = program.drain().await?;
    debug_assert_eq!(runs.len(), n);
    let pair = |run: Vec<Data>| <[Data; 2]>::try_from(run).ok().map(|[ids, log_probs]| (ids, log_probs));
    Ok(runs.into_iter().map(|run| pair(run).expect("two logged outputs")).collect())
}

/// The logits after each of `ids`, without a cache: `(T, V)` in row-major order.
///
/// # Errors
/// When the device cannot hold the model, or was lost.
///
/// # Panics
/// Where there are no ids, more than the context holds, or unknown ones.
pub async fn forward_logits(device: &Device, network: &Network, ids: &[u32]) -> Result<Vec<f32>, Error> {
    let config = &network.config;
    assert!(
        ids.iter().all(|&id| (id as usize) < config.vocab_size),
        "forward_logits: an id beyond the vocabulary"
    );
    let graph = Graph::new();
    let input = graph.input("ids", (1, ids.len()), DType::U32);
    let y = logits(config, &network.params(&graph), &input, &Pass::eval());
    let mut program = device.compile(&graph, &[("logits", &y)], &network.states())?;
    program.write("ids", ids);
    program.run();
    Ok(program.read("logits").await?.f32().to_vec())
}
