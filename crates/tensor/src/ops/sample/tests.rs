//! Draws against a reference that sorts, and frequencies against probabilities.

use super::*;
use crate::graph::Data;
use crate::ops::test_devices;
use crate::rng::Rng;
use crate::{Device, Graph, State};

const PLAIN: Settings =
    Settings { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, penalty: 1.0, seed: 1 };

/// Draws one token for each row, of which each is a sequence; `seen` is updated if given.
fn sample(
    device: &Device,
    logits: &[f32],
    b: usize,
    settings: Settings,
    seen: Option<&State>,
) -> (Vec<u32>, Vec<f32>) {
    let number: Vec<[u32; 2]> = (0..b as u32).map(|row| [row, 0]).collect();
    numbered(device, logits, &number, settings, seen)
}

/// The same for rows of any numbers.
fn numbered(
    device: &Device,
    logits: &[f32],
    number: &[[u32; 2]],
    settings: Settings,
    seen: Option<&State>,
) -> (Vec<u32>, Vec<f32>) {
    let (graph, b) = (Graph::new(), number.len());
    let x = graph.input("logits", (b, logits.len() / b), DType::F32);
    let (ids, log_probs) = record(&x, &graph.input("number", (b, 2), DType::U32), seen.is_some(), false);
    let states: Vec<(&str, &State)> = seen.map(|state| ("seen", state)).into_iter().collect();
    let mut program = device.compile(&graph, &[("ids", &ids), ("log_probs", &log_probs)], &states).unwrap();
    program.write("logits", logits);
    program.set("temperature", settings.temperature);
    program.set_u32("top_k", settings.top_k as u32);
    program.set("top_p", settings.top_p);
    program.set("min_p", settings.min_p);
    program.set("repetition_penalty", settings.penalty);
    program.set_u32("seed", settings.seed);
    program.write("number", number.as_flattened());
    program.run();
    let read = |name: &str| pollster::block_on(program.read(name)).unwrap();
    (read("ids").u32().to_vec(), read("log_probs").f32().to_vec())
}

fn random_logits(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed, 0);
    (0..n).map(|_| 2.0 * rng.normal()).collect()
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let max = scores.iter().copied().fold(f64::MIN, f64::max);
    let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
    scores.iter().map(|s| (s - max).exp() / sum).collect()
}

/// The distribution that the settings describe, by sorting, as the papers write it.
fn reference(logits: &[f32], settings: &Settings) -> Vec<f64> {
    let mut scores: Vec<f64> = logits.iter().map(|&x| (x / settings.temperature) as f64).collect();
    let mut sorted = scores.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    if settings.top_k > 0 {
        let last = sorted[settings.top_k.min(sorted.len()) - 1];
        scores.iter_mut().filter(|s| **s < last).for_each(|s| *s = f64::NEG_INFINITY);
    }
    let probs = softmax(&scores);
    let mut order: Vec<usize> = (0..probs.len()).collect();
    order.sort_by(|&a, &b| probs[b].total_cmp(&probs[a]));
    let mut mass = 0.0;
    for (rank, &token) in order.iter().enumerate() {
        // What comes before already holds the share, and this token equals none of it.
        if rank > 0 && mass >= settings.top_p as f64 && probs[token] < probs[order[rank - 1]] {
            order[rank..].iter().for_each(|&t| scores[t] = f64::NEG_INFINITY);
            break;
        }
        mass += probs[token];
    }
    let probs = softmax(&scores);
    let most = probs.iter().copied().fold(0.0, f64::max);
    let left = probs.iter().zip(&mut scores).filter(|(p, _)| **p < settings.min_p as f64 * most);
    left.for_each(|(_, score)| *score = f64::NEG_INFINITY);
    softmax(&scores)
}

#[test]
fn frequencies_are_the_probabilities_of_the_sorted_reference() {
    const DRAWS: usize = 10_000;
    for (k, settings) in [
        PLAIN,
        Settings { temperature: 0.6, ..PLAIN },
        Settings { top_k: 4, ..PLAIN },
        Settings { top_p: 0.8, temperature: 1.5, ..PLAIN },
        Settings { min_p: 0.15, ..PLAIN },
        Settings { top_k: 7, top_p: 0.9, min_p: 0.05, temperature: 2.0, ..PLAIN },
    ]
    .into_iter()
    .enumerate()
    {
        let row = random_logits(11, 100 + k as u64);
        let want = reference(&row, &settings);
        // On the CPU alone: that other devices draw the same tokens is a test of its own.
        let (ids, _) = sample(&Device::cpu(), &row.repeat(DRAWS), DRAWS, settings, None);
        for (token, p) in want.iter().enumerate() {
            let found = ids.iter().filter(|&&id| id == token as u32).count() as f64 / DRAWS as f64;
            let deviation = (p * (1.0 - p) / DRAWS as f64).sqrt();
            assert!(
                (found - p).abs() <= 4.5 * deviation,
                "{settings:?}, token {token}: {found}, expected {p}"
            );
        }
    }
}

#[test]
fn filters_leave_what_sorting_leaves() {
    let mut rng = Rng::new(9, 9);
    for trial in 0..300 {
        let v = 1 + rng.below(400) as usize;
        let mut row = random_logits(v, trial);
        if trial % 3 == 0 {
            row.iter_mut().for_each(|x| *x = x.round()); // many ties
        }
        let settings = Settings {
            top_k: rng.below(v as u64 + 2) as usize,
            top_p: 1.0 - 0.9 * rng.uniform(),
            min_p: if rng.below(2) == 0 { 0.0 } else { 0.3 * rng.uniform() },
            ..PLAIN
        };
        let top = row_max(&row);
        let threshold = settings.threshold(&row, top);
        for (token, p) in reference(&row, &settings).into_iter().enumerate() {
            let left = ordered(row[token]) >= threshold && (row[token] - top).exp() >= settings.min_p;
            assert_eq!(left, p > 0.0, "trial {trial}, token {token} of {v}, {settings:?}");
        }
    }
}

#[test]
fn the_strictest_settings_take_the_most_likely_token() {
    let (b, v) = (50, 130);
    let logits = random_logits(b * v, 5);
    let argmax = |row: &[f32]| (0..v).rev().max_by(|&i, &j| row[i].total_cmp(&row[j])).unwrap() as u32;
    let want: Vec<u32> = logits.chunks(v).map(argmax).collect();
    for device in test_devices() {
        for settings in [
            Settings { temperature: 0.0, ..PLAIN },
            Settings { top_k: 1, temperature: 5.0, ..PLAIN },
            Settings { top_p: 1e-6, ..PLAIN },
            Settings { top_p: 0.0, ..PLAIN },
            Settings { min_p: 1.0, ..PLAIN },
        ] {
            let (ids, log_probs) = sample(&device, &logits, b, settings, None);
            assert_eq!(ids, want, "{settings:?} on {}", device.describe());
            for ((row, id), log_prob) in logits.chunks(v).zip(ids).zip(log_probs) {
                let row: Vec<f64> = row.iter().map(|&x| x as f64).collect();
                assert!((softmax(&row)[id as usize].ln() - log_prob as f64).abs() < 1e-5);
            }
        }
        let (ids, _) =
            sample(&device, &[1.0, 3.0, 3.0, 2.0], 1, Settings { temperature: 0.0, ..PLAIN }, None);
        assert_eq!(ids, [1], "the first of equal ones");
    }
}

#[test]
fn every_device_draws_the_same_tokens() {
    let (b, v) = (400, 300);
    let logits = random_logits(b * v, 6);
    let devices = test_devices();
    for (settings, token) in
        [(PLAIN, 0), (Settings { temperature: 0.9, top_k: 50, top_p: 0.9, min_p: 0.02, ..PLAIN }, 3)]
    {
        let number: Vec<[u32; 2]> = (0..b as u32).map(|row| [row, token]).collect();
        let (want, _) = numbered(&devices[0], &logits, &number, settings, None);
        for device in &devices[1..] {
            let (ids, _) = numbered(device, &logits, &number, settings, None);
            let same = ids.iter().zip(&want).filter(|(a, b)| a == b).count();
            assert_eq!(same, b, "{settings:?} on {}", device.describe());
        }
    }
}

#[test]
fn a_row_draws_by_its_numbers_wherever_it_is() {
    let (b, v) = (60, 40);
    let row = random_logits(v, 8);
    let number: Vec<[u32; 2]> = (0..b).map(|i| [i % 12 * 1_000_003, i / 12]).collect();
    let backwards: Vec<[u32; 2]> = number.iter().rev().copied().collect();
    for device in test_devices() {
        let draw = |number| numbered(&device, &row.repeat(b as usize), number, PLAIN, None).0;
        let (ids, mut reversed) = (draw(&number), draw(&backwards));
        reversed.reverse();
        assert_eq!(ids, reversed, "on {}", device.describe());
        // Either number alone makes another draw.
        let by_token: Vec<u32> = ids.chunks(12).map(|ids| ids[0]).collect();
        assert!(ids[..12].iter().any(|id| *id != ids[0]) && by_token.iter().any(|id| *id != ids[0]));
    }
}

#[test]
fn what_was_drawn_is_remembered_and_penalised() {
    let settings = Settings { temperature: 0.0, penalty: 2.0, ..PLAIN };
    let logits = [4.0, 3.0, 2.5, -1.0, /* second row */ -1.0, -1.5, -3.0, -9.0];
    for device in test_devices() {
        let seen = device.state("seen", 8, DType::U32).unwrap();
        seen.write(&Data::U32(vec![0; 8]));
        let mut rows = Vec::new();
        for _ in 0..4 {
            rows.push(sample(&device, &logits, 2, settings, Some(&seen)).0);
        }
        // Row 0: 4 → 2, then 3 → 1.5, then 2.5 → 1.25, then 2 is the most. Row 1: −1 → −2, −1.5 → −3, then −2 again.
        assert_eq!(rows, [[0, 0], [1, 1], [2, 0], [0, 0]]);
        let marks = pollster::block_on(seen.read()).unwrap();
        assert_eq!(marks.u32(), [1, 1, 1, 0, 1, 1, 0, 0]);
    }
}
