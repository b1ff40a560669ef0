//! Continuous batching: a sequence is the same with any neighbours, slots end and begin, nothing waits for nothing.

use std::collections::BTreeMap;

use cloche_models::{
    Batcher, Ended, Finish, GenerateError, GenerateSettings, Generator, Network, Sampling, Token,
};
use cloche_tensor::Device;
use pollster::block_on;

mod adapter;
mod small;

use small::{V, models, network};

/// Prompts of all lengths up to more than the context, and how many tokens are wanted behind each.
fn prompts() -> Vec<(Vec<u32>, usize)> {
    let lengths = [1, 9, 30, 4, 24, 17, 2, 23, 3, 5, 12];
    let wanted = [12, 3, 5, 20, 9, 4, 1, 7, 15, 2, 11];
    let prompt = |(i, n)| (0..n).map(|t| (t * t + 3 * i + 1) as u32 % V as u32).collect();
    lengths.into_iter().enumerate().map(prompt).zip(wanted).collect()
}

/// The likeliest tokens and drawn ones, without and with a penalty.
fn samplings() -> [Sampling; 4] {
    let drawn = Sampling { temperature: 1.3, top_k: 20, seed: 5, ..Sampling::default() };
    let penalty = 1.5;
    [
        Sampling::greedy(),
        Sampling { repetition_penalty: penalty, ..Sampling::greedy() },
        drawn,
        Sampling { repetition_penalty: penalty, ..drawn },
    ]
}

fn settings(sampling: Sampling) -> GenerateSettings {
    GenerateSettings { sampling, stop_ids: vec![11], slide: false, ..Default::default() }
}

/// Tokens and log-probabilities of each sequence.
type Texts = Vec<Vec<(u32, f32)>>;

/// What a generator continues, with all prompts side by side, each up to the number of tokens that is wanted.
fn expected(device: &Device, network: &Network, sampling: Sampling) -> Texts {
    let (prompts, wanted): (Vec<_>, Vec<usize>) = prompts().into_iter().unzip();
    let mut generator = Generator::new(device, network, prompts.len(), settings(sampling)).unwrap();
    generator.settings.max_tokens = 20;
    generator.start(&prompts).unwrap();
    let mut texts = vec![Vec::new(); prompts.len()];
    while let Some(tokens) = block_on(generator.next()).unwrap() {
        tokens.iter().for_each(|token| texts[token.sequence].push((token.id, token.log_prob)));
    }
    texts.iter_mut().zip(wanted).for_each(|(text, n)| text.truncate(n));
    texts
}

/// What a batcher continues, where `late` prompts are pushed one by one, each before the next tokens.
fn batched(batcher: &mut Batcher, late: usize) -> (Texts, BTreeMap<usize, Ended>) {
    let mut texts = vec![Vec::new(); prompts().len()];
    let mut waiting = prompts().into_iter();
    let mut push = |batcher: &mut Batcher, n| {
        for (prompt, wanted) in waiting.by_ref().take(n) {
            batcher.settings.max_tokens = wanted;
            batcher.push(prompt).unwrap();
        }
    };
    push(batcher, texts.len() - late);
    let mut ended = Vec::new();
    while let Some(tokens) = block_on(batcher.next()).unwrap() {
        assert!(!tokens.is_empty(), "a call that is not the last one yields something");
        for Token { sequence, id, log_prob } in tokens {
            texts[sequence].push((id, log_prob));
        }
        ended.extend(batcher.take_ended());
        push(batcher, 1);
    }
    assert!(batcher.take_ended().is_empty());
    let n = ended.len();
    let ended: BTreeMap<usize, Ended> = ended.into_iter().map(|ended| (ended.sequence, ended)).collect();
    assert_eq!((n, ended.len()), (texts.len(), texts.len()), "each ends once");
    (texts, ended)
}

/// In so many slots, where so many prompts come late.
fn a_sequence_is_the_same_with_any_neighbours(device: &Device, cases: &[[usize; 2]]) {
    for config in models() {
        let network = network(device, &config);
        for sampling in samplings() {
            let expected = expected(device, &network, sampling);
            for &[slots, late] in cases {
                let mut batcher = Batcher::new(device, &network, slots, settings(sampling)).unwrap();
                for _ in 0..2 {
                    let (texts, ended) = batched(&mut batcher, late);
                    let what = format!("{:?}, {slots} slots, {late} late, {sampling:?}", config.arch);
                    agree(&texts, &expected, &ended, &what);
                    batcher.clear();
                }
            }
        }
    }
}

fn agree(texts: &Texts, expected: &Texts, ended: &BTreeMap<usize, Ended>, what: &str) {
    for (sequence, ((text, want), (prompt, wanted))) in texts.iter().zip(expected).zip(prompts()).enumerate()
    {
        let what = format!("{what}, sequence {sequence}");
        let ids = |text: &[(u32, f32)]| text.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        assert_eq!(ids(text), ids(want), "{what}");
        let apart = text.iter().zip(want).map(|(a, b)| (a.1 - b.1).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-4, "{what}: log-probabilities {apart} apart");
        let Ended { tokens, n_prompt, finish, .. } = &ended[&sequence];
        assert_eq!((&tokens[..*n_prompt], &tokens[*n_prompt..]), (&prompt[..], &ids(text)[..]), "{what}");
        let stopped = text.last().unwrap().0 == 11;
        assert_eq!(*finish, if stopped { Finish::Stop } else { Finish::Length }, "{what}");
        assert!(stopped || text.len() == wanted || text.len() == (25 - n_prompt.min(&24)), "{what}");
    }
}

#[test]
fn a_sequence_is_the_same_with_any_neighbours_on_the_cpu() {
    // From alone to more slots than prompts, which may all be there at once or come later.
    let cases = [[1, 0], [2, 0], [3, 6], [4, 10], [7, 0], [16, 5]];
    a_sequence_is_the_same_with_any_neighbours(&Device::cpu(), &cases);
}

#[test]
fn a_sequence_is_the_same_with_any_neighbours_on_the_gpu() {
    adapter::on_the_gpu(|device| a_sequence_is_the_same_with_any_neighbours(device, &[[3, 6], [16, 5]]));
}

fn batcher(slots: usize, max_tokens: usize) -> Batcher {
    let device = Device::cpu();
    let settings =
        GenerateSettings { sampling: Sampling::greedy(), max_tokens, slide: false, ..Default::default() };
    Batcher::new(&device, &network(&device, &models()[0]), slots, settings).unwrap()
}

#[test]
fn a_slot_is_taken_as_soon_as_it_is_free() {
    // One long sequence beside many short ones, of which each takes one reading of a prompt and four more tokens.
    let mut batcher = batcher(2, 20);
    batcher.push(vec![1, 2]).unwrap();
    batcher.settings.max_tokens = 5;
    (0..4).for_each(|i| _ = batcher.push(vec![3 + i]).unwrap());
    let (mut calls, mut order) = (0, Vec::new());
    while block_on(batcher.next()).unwrap().is_some() {
        calls += 1;
        order.extend(batcher.take_ended().iter().map(|ended| ended.sequence));
    }
    assert_eq!(order, [1, 2, 3, 4, 0]);
    // Two prompts at once, three more prompts, and 19 further tokens of the long one, beside which all others are made.
    assert_eq!(calls, 1 + 3 + 19);
}

#[test]
fn sequences_end_when_they_are_told_to() {
    let mut batcher = batcher(1, 9);
    let numbers: Vec<usize> = (0..3).map(|i| batcher.push(vec![i]).unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2]);
    (0..3).for_each(|_| drop(block_on(batcher.next()).unwrap()));
    // One that runs and one that waits; what is unknown or has ended is left alone.
    [0, 1, 1, 7].into_iter().for_each(|sequence| batcher.end(sequence));
    let ended = batcher.take_ended();
    assert_eq!(ended.iter().map(|ended| ended.tokens.len()).collect::<Vec<_>>(), [1 + 3, 1]);
    assert!(ended.iter().all(|ended| ended.finish == Finish::Stop));
    let mut rest = Vec::new();
    while let Some(tokens) = block_on(batcher.next()).unwrap() {
        rest.extend(tokens.iter().map(|token| token.sequence));
    }
    assert_eq!(rest, [2; 9]);
    // Nothing is wanted: it ends without a slot.
    batcher.take_ended();
    batcher.settings.max_tokens = 0;
    assert_eq!(batcher.push(vec![4]).unwrap(), 3);
    assert!(block_on(batcher.next()).unwrap().is_none());
    let wanted = Ended { sequence: 3, tokens: vec![4], n_prompt: 1, finish: Finish::Length };
    assert_eq!(batcher.take_ended(), [wanted]);
}

#[test]
fn bad_prompts_are_refused_and_take_no_number() {
    let mut batcher = batcher(2, 3);
    batcher.push(vec![1]).unwrap();
    assert!(matches!(batcher.push(vec![]), Err(GenerateError::Empty(1))));
    let error = batcher.push(vec![0, V as u32]).unwrap_err();
    assert_eq!(error.to_string(), "prompt 1 has token 29, the model has 29");
    assert_eq!(batcher.push(vec![2]).unwrap(), 1);
}
