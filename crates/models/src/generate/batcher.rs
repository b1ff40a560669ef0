//! Continuous batching: a sequence that ends leaves its slot to the next prompt, and the others go on.
//!
//! Sequences that began together end at different times, and whoever waits for the longest computes rows that nobody looks at.
//! Yu et al. (2022, "Orca", <https://www.usenix.org/conference/osdi22/presentation/yu>) choose anew before every token who is
//! computed. Unlike theirs, a prompt is not read in one run with the others' next token, but by a program of its own between
//! two of them: a slot is a part of the cache, and its position is an input, so to join is to write there.

use std::collections::VecDeque;

use cloche_tensor::LOG_RUNS;

use super::*;

/// Continues any number of sequences, up to `slots` of them at once.
///
/// A sequence's tokens depend on its prompt, its number and the seed alone: not on who is computed beside it, in which slot or
/// since when, as far as several rows are rounded as one is. Sequence 0 is that of a [`Generator`] with one prompt.
///
/// # Example
/// ```no_run
/// # use cloche_models::{Batcher, Network, GenerateSettings};
/// # async fn example(device: &cloche_tensor::Device, network: &Network) -> Result<(), cloche_models::GenerateError> {
/// let mut batcher = Batcher::new(device, network, 16, GenerateSettings::default())?;
/// for prompt in [vec![1, 5], vec![7], vec![2, 9, 4]] {
///     batcher.push(prompt)?;
/// }
/// while let Some(tokens) = batcher.next().await? {
///     tokens.iter().for_each(|token| println!("{}: {}", token.sequence, token.id));
///     batcher.take_ended().iter().for_each(|ended| println!("{} ended", ended.sequence));
/// }
/// # Ok(())
/// # }
/// ```
pub struct Batcher {
    device: Device,
    network: Network,
    /// What is generated. How tokens are chosen, and which of them end a sequence, may be changed while there is none;
    /// `max_tokens` is that of the sequences pushed from then on. Nothing slides: a sequence ends where the context does.
    pub settings: GenerateSettings,
    cache: KvStates,
    /// The token chosen last in each slot, `(B,)`, and which have occurred there, `(B, V)`.
    all: [State; 2],
    /// The same for a prompt that is read alone.
    one: [State; 2],
    /// By the number of rows and of positions that they read.
    prefill: Vec<([usize; 2], Program)>,
    decode: Program,
    slots: Vec<Option<Member>>,
    waiting: VecDeque<Member>,
    ended: Vec<Ended>,
    /// How many sequences have been pushed.
    n_pushed: usize,
    /// Whether a prompt has been read since the latest run of the decode program, which does not know it.
    joined: bool,
}

/// A sequence that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its number, as [`Batcher::push`] returned it.
    pub sequence: usize,
    /// Prompt and continuation.
    pub tokens: Vec<u32>,
    /// How many of the tokens are the prompt's.
    pub n_prompt: usize,
    /// Why it ended.
    pub finish: Finish,
}

/// A slot, the token drawn for it, and its log-probability.
type Drawn = (usize, u32, f32);

/// A sequence that waits for a slot, or has one.
struct Member {
    number: usize,
    tokens: Vec<u32>,
    n_prompt: usize,
    max_tokens: usize,
    /// How many of its latest tokens are in the cache, or will be when its prompt has been read.
    cached: usize,
}

impl Batcher {
    /// Prepares to continue `slots` sequences at once.
    ///
    /// # Errors
    /// When the device cannot hold the cache.
    ///
    /// # Panics
    /// Without a slot.
    pub fn new(
        device: &Device,
        network: &Network,
        slots: usize,
        settings: GenerateSettings,
    ) -> Result<Self, Error> {
        assert!(slots > 0, "batcher: no slot");
        let cache = KvStates::new(device, &network.config, slots)?;
        let states = |rows: usize| -> Result<[State; 2], Error> {
            let chosen = device.state("chosen", rows, DType::U32)?;
            Ok([chosen, device.state("seen", rows * network.config.vocab_size, DType::U32)?])
        };
        let (all, one) = (states(slots)?, states(1)?);
        let decode = compile_decode(device, network, &cache, [&all[0], &all[1]])?;
        Ok(Batcher {
            device: device.clone(),
            network: network.clone(),
            settings,
            cache,
            all,
            one,
            prefill: Vec::new(),
            decode,
            slots: (0..slots).map(|_| None).collect(),
            waiting: VecDeque::new(),
            ended: Vec::new(),
            n_pushed: 0,
            joined: false,
        })
    }

    /// Adds a sequence, which begins as soon as a slot is free, and returns its number: 0 for the first one.
    ///
    /// A prompt longer than the context is read from where its rest fits.
    ///
    /// # Errors
    /// An empty prompt, an unknown token; the error names the number that the sequence would have had.
    pub fn push(&mut self, prompt: Vec<u32>) -> Result<usize, GenerateError> {
        let (number, config) = (self.n_pushed, &self.network.config);
        expect_known(number, &prompt, config.vocab_size)?;
        let (n_prompt, cached) = (prompt.len(), prompt.len().min(config.context_len));
        let member =
            Member { number, tokens: prompt, n_prompt, max_tokens: self.settings.max_tokens, cached };
        match member.max_tokens {
            0 => self.ended.push(member.ended(Finish::Length)),
            _ => self.waiting.push_back(member),
        }
        self.n_pushed += 1;
        Ok(number)
    }

    /// The next tokens, in order of time; `None` when no sequence is left.
    ///
    /// Those are the first tokens of sequences that have just got a slot, or else one token of each sequence that has one; on a
    /// GPU a few of each, so that the device is not kept waiting.
    ///
    /// # Errors
    /// A lost device, or an error of earlier work on it.
    pub async fn next(&mut self) -> Result<Option<Vec<Token>>, GenerateError> {
        // In a box, as in `Generator::next`.
        let boxed: Pin<Box<dyn Future<Output = _> + '_>> = Box::pin(self.next_tokens());
        boxed.await
    }

    async fn next_tokens(&mut self) -> Result<Option<Vec<Token>>, GenerateError> {
        let mut joining = Vec::new();
        for (slot, member) in self.slots.iter_mut().enumerate().filter(|(_, member)| member.is_none()) {
            *member = self.waiting.pop_front();
            joining.extend(member.is_some().then_some(slot));
        }
        let drawn = match joining.is_empty() {
            false => match self.read_prompts(&joining).await {
                Ok(drawn) => drawn,
                // Nothing of them is in the cache: they wait again, in their order.
                Err(error) => {
                    let back = joining.iter().rev().filter_map(|&slot| self.slots[slot].take());
                    back.for_each(|member| self.waiting.push_front(member));
                    return Err(error.into());
                }
            },
            true if self.running().next().is_some() => self.grow().await?,
            true => return Ok(None),
        };
        Ok(Some(self.take(drawn)))
    }

    /// The sequences that have ended since the last call, in this order. Whoever never asks keeps all of them.
    pub fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// Ends a sequence now, as if its latest token were a stop id. One that has ended already stays as it is.
    pub fn end(&mut self, sequence: usize) {
        let here = |member: &Member| member.number == sequence;
        let slot = self.slots.iter().position(|member| member.as_ref().is_some_and(here));
        let member = match slot {
            Some(slot) => self.slots[slot].take(),
            None => self.waiting.iter().position(here).and_then(|place| self.waiting.remove(place)),
        };
        self.ended.extend(member.map(|member| member.ended(Finish::Stop)));
    }

    /// Forgets all sequences; the next one has the number 0.
    pub fn clear(&mut self) {
        self.slots.fill_with(|| None);
        self.waiting.clear();
        self.ended.clear();
        self.n_pushed = 0;
    }

    fn running(&self) -> impl Iterator<Item = &Member> {
        self.slots.iter().flatten()
    }

    /// Adds tokens, by slot, to their sequences, and frees the slots of those that have ended.
    fn take(&mut self, drawn: Vec<Drawn>) -> Vec<Token> {
        let (mut tokens, context_len) = (Vec::new(), self.network.config.context_len);
        let mut end = |place: &mut Option<Member>, finish| {
            self.ended.extend(place.take().map(|member| member.ended(finish)));
        };
        for (slot, id, log_prob) in drawn {
            let place = &mut self.slots[slot];
            // What was drawn behind an end does not count.
            let Some(member) = place else { continue };
            member.tokens.push(id);
            tokens.push(Token { sequence: member.number, id, log_prob });
            if self.settings.stop_ids.contains(&id) {
                end(place, Finish::Stop);
            } else if member.left() == 0 {
                end(place, Finish::Length);
            }
        }
        for place in &mut self.slots {
            if place.as_ref().is_some_and(|member| member.cached == context_len) {
                end(place, Finish::Length);
            }
        }
        tokens
    }

    /// Reads the prompts of these slots into the cache, and chooses the first token of each.
    async fn read_prompts(&mut self, joining: &[usize]) -> Result<Vec<Drawn>, Error> {
        self.joined = true;
        // 1. Many at once, each as the row of its slot, padded to the longest.
        let rows = self.slots.len();
        if 2 * joining.len() > rows || joining.len() > LOG_RUNS {
            let longest = joining.iter().map(|&slot| self.width(slot)).max().unwrap_or(1);
            let program = self.read([rows, longest], joining)?;
            let (ids, log_probs) = collect(program, 1, rows).await?.pop().expect("one run");
            return Ok(joining.iter().map(|&slot| (slot, ids.u32()[slot], log_probs.f32()[slot])).collect());
        }
        // 2. Else a run for each, those of one length after another, before anything is read back.
        let (mut drawn, mut rest) = (Vec::new(), joining.to_vec());
        while let Some(&slot) = rest.first() {
            let t = self.width(slot);
            let (now, later): (Vec<usize>, _) = rest.into_iter().partition(|&slot| self.width(slot) == t);
            for &slot in &now {
                self.read([1, t], &[slot])?.throttle().await;
            }
            let place = self.prefill.iter().position(|(shape, _)| *shape == [1, t]).expect("it has run");
            let runs = collect(&mut self.prefill[place].1, now.len(), 1).await?;
            let one = |(slot, (ids, log_probs)): (_, (Data, Data))| (slot, ids.u32()[0], log_probs.f32()[0]);
            drawn.extend(now.into_iter().zip(runs).map(one));
            rest = later;
        }
        Ok(drawn)
    }

    /// The positions of a program that reads the prompt of a slot: few programs read prompts of all lengths.
    fn width(&self, slot: usize) -> usize {
        let cached = self.slots[slot].as_ref().map_or(1, |member| member.cached);
        cached.next_power_of_two().min(self.network.config.context_len)
    }

    /// Runs the program that reads prompts as `rows` rows of `t` positions: one row goes to any slot, as many rows as there are
    /// slots each to its own.
    fn read(&mut self, [rows, t]: [usize; 2], joining: &[usize]) -> Result<&mut Program, Error> {
        let place = match self.prefill.iter().position(|(shape, _)| *shape == [rows, t]) {
            Some(place) => place,
            None => {
                let program = self.compile_prefill(rows, t)?;
                self.prefill.push(([rows, t], program));
                self.prefill.len() - 1
            }
        };
        let (each, context_len) = (self.slots.len() / rows, self.network.config.context_len);
        // A row without a prompt starts at the end of its part of the cache, so that it is written nowhere.
        let mut start = vec![(each * context_len) as u32; rows];
        let (mut ids, mut number) = (vec![0; rows * t], vec![[0; 2]; rows]);
        let mut last: Vec<u32> = (0..rows).map(|row| (row * t) as u32).collect();
        for &slot in joining {
            let (row, member) = (slot / each, self.slots[slot].as_ref().expect("a prompt for each slot"));
            ids[row * t..][..member.cached]
                .copy_from_slice(&member.tokens[member.n_prompt - member.cached..]);
            last[row] += member.cached as u32 - 1;
            start[row] = (slot % each * context_len) as u32;
            number[row] = member.next();
        }
        if self.settings.sampling.repetition_penalty != 1.0 {
            let own = if rows == 1 { &self.one } else { &self.all };
            own[1].write(&Data::U32(self.seen(rows, joining)));
        }
        let program = &mut self.prefill[place].1;
        program.write("ids", &ids);
        program.write("last", &last);
        program.write("start", &start);
        self.settings.sampling.set(program, &number);
        program.run();
        Ok(program)
    }

    /// The tokens that have occurred in the sequences of some slots, `(rows, V)`.
    fn seen(&self, rows: usize, slots: &[usize]) -> Vec<u32> {
        let (each, vocab_size) = (self.slots.len() / rows, self.network.config.vocab_size);
        let mut seen = vec![0; rows * vocab_size];
        for &slot in slots {
            let row = &mut seen[slot / each * vocab_size..][..vocab_size];
            self.slots[slot].iter().flat_map(|member| &member.tokens).for_each(|&id| row[id as usize] = 1);
        }
        seen
    }

    fn compile_prefill(&self, rows: usize, t: usize) -> Result<Program, Error> {
        let graph = Graph::new();
        let ids = graph.input("ids", (rows, t), DType::U32);
        let last = graph.input("last", (rows,), DType::U32);
        let start = graph.input("start", (rows,), DType::U32);
        let kv = KvCache::join(&graph, &self.network.config, self.slots.len(), &start);
        let outputs = record(&self.network, &ids, kv, |hidden| cloche_nn::embedding::rows(&hidden, &last));
        let own = if rows == 1 { &self.one } else { &self.all };
        compile(&self.device, &outputs, &self.network, &self.cache, [&own[0], &own[1]])
    }

    /// One token of each sequence that has a slot; on a GPU a few, but not so many that a slot stays free for long while
    /// somebody waits for it.
    async fn grow(&mut self) -> Result<Vec<Drawn>, Error> {
        let (rows, context_len) = (self.slots.len(), self.network.config.context_len);
        // 1. The host knows all tokens, so it says which came last, and which there are.
        if std::mem::take(&mut self.joined) {
            let newest =
                |member: &Option<Member>| member.as_ref().and_then(|member| member.tokens.last().copied());
            let newest: Vec<u32> = self.slots.iter().map(|member| newest(member).unwrap_or(0)).collect();
            self.all[0].write(&Data::U32(newest));
            if self.settings.sampling.repetition_penalty != 1.0 {
                self.all[1].write(&Data::U32(self.seen(rows, &(0..rows).collect::<Vec<_>>())));
            }
        }
        // 2. As many runs as may be before somebody has to look.
        let at_once = if self.device.gpu().is_some() && rows <= LOGGED { GPU_READ_EVERY } else { 1 };
        let room = self.running().map(|member| context_len - member.cached).min().unwrap_or(1);
        let left = self.running().map(Member::left);
        let left = if self.waiting.is_empty() { left.max() } else { left.min() };
        let n = at_once.min(room).min(left.unwrap_or(1));
        for i in 0..n {
            // Free slots compute too, but nobody looks at it.
            let (mut position, mut number) = (vec![0; rows], vec![[0; 2]; rows]);
            for (slot, member) in self.slots.iter_mut().enumerate() {
                let Some(member) = member else { continue };
                position[slot] = member.cached as u32;
                let [sequence, token] = member.next();
                number[slot] = [sequence, token + i as u32];
                member.cached += 1;
            }
            self.decode.write("position", &position);
            self.settings.sampling.set(&mut self.decode, &number);
            self.decode.run();
            self.decode.throttle().await;
        }
        let runs = collect(&mut self.decode, n, rows).await?;
        let mut drawn = Vec::with_capacity(n * rows);
        for (ids, log_probs) in &runs {
            let pairs = ids.u32().iter().zip(log_probs.f32()).enumerate();
            drawn.extend(pairs.map(|(slot, (&id, &log_prob))| (slot, id, log_prob)));
        }
        Ok(drawn)
    }
}

impl Member {
    /// The number of its next token, among all tokens of all sequences.
    fn next(&self) -> [u32; 2] {
        [self.number as u32, (self.tokens.len() - self.n_prompt) as u32]
    }

    /// How many tokens it may still get.
    fn left(&self) -> usize {
        self.max_tokens - (self.tokens.len() - self.n_prompt)
    }

    fn ended(self, finish: Finish) -> Ended {
        Ended { sequence: self.number, tokens: self.tokens, n_prompt: self.n_prompt, finish }
    }
}
