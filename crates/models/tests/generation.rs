//! Generation: with cache = without cache, batches = single runs, seeds, ends.

use cloche_models::config::ModelConfig;
use cloche_models::{
    Finish, GenerateError, GenerateSettings, Generator, Network, Sampling, Token, forward_logits,
};
use cloche_tensor::{AdapterClass, Device, DeviceKind, Gpu, OpenOptions};
use pollster::block_on;

mod small;

use small::{V, models, network};

/// The most dispatches of a decoded token on a GPU, for each layer and besides.
const DISPATCHES: [u64; 2] = [5, 4];

fn greedy(max_tokens: usize) -> GenerateSettings {
    GenerateSettings { sampling: Sampling::greedy(), max_tokens, ..Default::default() }
}

fn generator(device: &Device, config: &ModelConfig, batch: usize, settings: GenerateSettings) -> Generator {
    Generator::new(device, &network(device, config), batch, settings).unwrap()
}

/// Everything that a generator yields for these prompts.
fn generate(generator: &mut Generator, prompts: &[Vec<u32>]) -> Vec<Token> {
    generator.start(prompts).unwrap();
    let mut all = Vec::new();
    while let Some(tokens) = block_on(generator.next()).unwrap() {
        assert!(!tokens.is_empty(), "a call that is not the last one yields something");
        all.extend(tokens);
    }
    all
}

fn prompt(n: usize) -> Vec<u32> {
    (0..n).map(|i| (i * i + 3) as u32 % V as u32).collect()
}

/// The likeliest token after each of `ids`, and its log-probability, without a cache.
fn likeliest(device: &Device, network: &Network, ids: &[u32]) -> Vec<(u32, f32)> {
    // Padding on the right changes nothing to the left of it, and lets all calls share one program's kernels.
    let mut padded = ids.to_vec();
    padded.resize(network.config.context_len, 0);
    let logits = block_on(forward_logits(device, network, &padded)).unwrap();
    let choose = |row: &[f32]| {
        let best = (0..V).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
        let sum: f64 = row.iter().map(|&x| ((x - row[best]) as f64).exp()).sum();
        (best as u32, -sum.ln() as f32)
    };
    logits.chunks(V).take(ids.len()).map(choose).collect()
}

fn with_cache_equals_without(device: &Device) {
    for config in models() {
        let (network, full, n_prompt) = (network(device, &config), config.context_len, 5);
        // Past the end of the context, so that its later half is read again, twice.
        let tokens = generate(&mut generator(device, &config, 1, greedy(45)), &[prompt(n_prompt)]);
        assert_eq!(tokens.len(), 45);
        let all: Vec<u32> = prompt(n_prompt).into_iter().chain(tokens.iter().map(|t| t.id)).collect();
        let (mut start, mut end) = (0, full);
        let mut expected = likeliest(device, &network, &all[..end]);
        for (token, i) in tokens.iter().zip(n_prompt..) {
            if i > end {
                start = i - full / 2;
                end = (start + full).min(all.len());
                expected = likeliest(device, &network, &all[start..end]);
            }
            let (id, log_prob) = expected[i - 1 - start];
            assert_eq!(token.id, id, "{:?}, token {i}", config.arch);
            assert!((token.log_prob - log_prob).abs() < 1e-5, "token {i}: {} {log_prob}", token.log_prob);
        }
    }
}

fn a_batch_equals_single_runs(device: &Device) {
    for config in models() {
        let prompts = [1, 9, 30].map(prompt);
        let together = generate(&mut generator(device, &config, prompts.len(), greedy(30)), &prompts);
        let mut alone = generator(device, &config, 1, greedy(30));
        for (sequence, prompt) in prompts.into_iter().enumerate() {
            let single = generate(&mut alone, &[prompt]);
            let found: Vec<&Token> = together.iter().filter(|t| t.sequence == sequence).collect();
            assert_eq!(found.len(), single.len());
            for (a, b) in found.iter().zip(&single) {
                assert_eq!(a.id, b.id, "{:?}, sequence {sequence}", config.arch);
                assert!((a.log_prob - b.log_prob).abs() < 1e-5);
            }
        }
    }
}

fn sampling_follows_the_seed(device: &Device) {
    for config in models() {
        let mut generator =
            generator(device, &config, 2, GenerateSettings { max_tokens: 40, ..Default::default() });
        let mut text = |seed| {
            generator.settings.sampling = Sampling { temperature: 2.0, seed, ..Default::default() };
            generate(&mut generator, &[prompt(3)])
        };
        let first = text(1);
        assert_ne!(first, text(2));
        assert_eq!(first, text(1));
        let ids =
            |sequence| first.iter().filter(|t| t.sequence == sequence).map(|t| t.id).collect::<Vec<_>>();
        assert_ne!(ids(0), ids(1), "sequences of one batch differ");
    }
}

fn sequences_end(device: &Device) {
    for config in models() {
        let mut generator = generator(device, &config, 1, greedy(12));
        let free = generate(&mut generator, &[prompt(3)]);
        assert_eq!((free.len(), generator.finish(0)), (12, Some(Finish::Length)));
        // 1. At a stop id, which is yielded.
        let stop = free[5].id;
        let end = free.iter().position(|t| t.id == stop).unwrap();
        generator.settings.stop_ids = vec![stop];
        assert_eq!(generate(&mut generator, &[prompt(3)]), free[..=end]);
        assert_eq!(generator.finish(0), Some(Finish::Stop));
        assert_eq!(generator.tokens(0).len(), 3 + end + 1);
        // 2. At once, where nothing was asked for.
        generator.settings = greedy(0);
        assert_eq!(generate(&mut generator, &[prompt(3)]), []);
        assert_eq!(generator.finish(0), Some(Finish::Length));
        // 3. At the end of the context, where it may not slide: 24 positions hold 21 tokens behind a prompt of 3, and
        //    the last position yields one more.
        generator.settings = GenerateSettings { slide: false, ..greedy(100) };
        assert_eq!(generate(&mut generator, &[prompt(3)]).len(), 22);
        assert_eq!(generator.finish(0), Some(Finish::Length));
    }
}

/// With any draft, however bad, the text and its probabilities are those of the model alone: from the likeliest tokens and
/// drawn, past the end of either context.
fn a_draft_changes_nothing(device: &Device) {
    let [large, other] = models();
    let good = network(device, &large);
    // The model itself, of which every guess is right; another one with a shorter context; one that knows nothing.
    let unlike = ModelConfig { context_len: 16, ..other };
    let blank = ModelConfig { init_std: 1e-3, ..unlike };
    let drawn = Sampling { top_k: 20, ..Sampling::default() };
    for (sampling, n_prompt) in [(Sampling::greedy(), 5), (drawn, 1), (drawn, 40)] {
        let settings = GenerateSettings { sampling, max_tokens: 60, ..Default::default() };
        let alone = generate(&mut generator(device, &large, 1, settings.clone()), &[prompt(n_prompt)]);
        for (draft, ahead) in
            [(&good, 1), (&good, 4), (&network(device, &unlike), 11), (&network(device, &blank), 4)]
        {
            let generator = generator(device, &large, 1, settings.clone());
            let mut generator = generator.with_draft(draft, ahead).unwrap();
            for _ in 0..2 {
                let tokens = generate(&mut generator, &[prompt(n_prompt)]);
                let ids = |tokens: &[Token]| tokens.iter().map(|t| t.id).collect::<Vec<_>>();
                assert_eq!(ids(&tokens), ids(&alone), "{ahead} guesses at once");
                let close = |(a, b): (&Token, &Token)| (a.log_prob - b.log_prob).abs() < 2e-4;
                assert!(tokens.iter().zip(&alone).all(close), "log-probabilities");
            }
            let [guessed, right] = generator.guessed();
            assert!(guessed > 10, "{guessed} guesses");
            match std::ptr::eq(draft, &good) {
                // Where the contexts forget at different times, even the model itself guesses from other words.
                true => assert!(right * 10 > guessed * 7, "{right} of {guessed} guesses of the model itself"),
                false => assert!(right < guessed, "{right} of {guessed} guesses"),
            }
        }
    }
    // A penalty looks at all tokens before, so nothing is guessed.
    let sampling = Sampling { repetition_penalty: 1.5, ..Sampling::default() };
    let settings = GenerateSettings { sampling, max_tokens: 40, ..Default::default() };
    let alone = generate(&mut generator(device, &large, 1, settings.clone()), &[prompt(5)]);
    let mut with_draft = generator(device, &large, 1, settings).with_draft(&good, 3).unwrap();
    assert_eq!(generate(&mut with_draft, &[prompt(5)]), alone);
    assert_eq!(with_draft.guessed(), [0, 0]);
}

#[test]
fn drafts_that_do_not_fit_are_refused() {
    let device = Device::cpu();
    let [config, _] = models();
    let refusal = |batch, draft: ModelConfig, ahead| {
        let large = generator(&device, &config, batch, greedy(5));
        large.with_draft(&network(&device, &draft), ahead).err().expect("an error").to_string()
    };
    assert_eq!(refusal(2, config, 3), "draft: found 2 sequences at once, expected 1");
    let words = ModelConfig { vocab_size: 30, ..config };
    assert_eq!(refusal(1, words, 3), "draft: found 30 tokens in its vocabulary, expected 29");
    let short = ModelConfig { context_len: 8, ..config };
    assert_eq!(refusal(1, short, 7), "draft: found 7 guesses at once, expected 1 to 6");
    assert_eq!(refusal(1, short, 0), "draft: found 0 guesses at once, expected 1 to 6");
    let long = ModelConfig { context_len: 64, ..config };
    let large = generator(&device, &long, 1, greedy(5));
    let refused = large.with_draft(&network(&device, &long), 32).err().expect("an error").to_string();
    assert_eq!(refused, "draft: found 32 guesses at once, expected 1 to 31");
}

#[test]
fn bad_prompts_are_refused() {
    let config = models()[0];
    let mut generator = generator(&Device::cpu(), &config, 2, greedy(1));
    assert!(matches!(generator.start(&[prompt(1), vec![]]), Err(GenerateError::Empty(1))));
    assert!(matches!(generator.start(&[prompt(1), prompt(1), prompt(1)]), Err(GenerateError::Batch(3, 2))));
    let error = generator.start(&[prompt(1), vec![0, 29]]).unwrap_err();
    assert_eq!(error.to_string(), "prompt 1 has token 29, the model has 29");
}

#[test]
fn generation_on_the_cpu() {
    let device = Device::cpu();
    with_cache_equals_without(&device);
    a_batch_equals_single_runs(&device);
    sampling_follows_the_seed(&device);
    sequences_end(&device);
    a_draft_changes_nothing(&device);
}

#[test]
fn generation_on_the_gpu() {
    let Some(device) = or_skip(block_on(Device::open(DeviceKind::Gpu))) else { return };
    with_cache_equals_without(&device);
    a_batch_equals_single_runs(&device);
    sampling_follows_the_seed(&device);
    sequences_end(&device);
    a_draft_changes_nothing(&device);
}

/// The kernels and the plan for GPUs, whatever the adapter is.
#[test]
fn generation_by_kernels_for_gpus() {
    let options =
        OpenOptions { allow_software: true, class: Some(AdapterClass::Hardware), ..Default::default() };
    let Some(gpu) = or_skip(block_on(Gpu::open(options))) else { return };
    let device = Device::from_gpu(gpu);
    with_cache_equals_without(&device);
    a_batch_equals_single_runs(&device);
    sampling_follows_the_seed(&device);
    for config in models() {
        expect_dispatches(&mut generator(&device, &config, 1, greedy(1)), &config);
    }
    many_keys_take_no_more_kernels(&device);
}

fn expect_dispatches(generator: &mut Generator, config: &ModelConfig) {
    let [each, more] = DISPATCHES;
    let program = generator.decode_program();
    let (found, steps) = (program.cost().dispatches, program.labels().join("\n"));
    println!("{:?}, {} layers: {found} dispatches a token", config.arch, config.n_layer);
    assert!(found <= each * config.n_layer as u64 + more, "{found} dispatches:\n{steps}");
}

/// Where the context is long, attention is in parts, and says the same.
fn many_keys_take_no_more_kernels(device: &Device) {
    for config in models() {
        let config = ModelConfig { context_len: 600, ..config };
        let mut generator = generator(device, &config, 1, greedy(4));
        expect_dispatches(&mut generator, &config);
        let labels = generator.decode_program().labels();
        assert_eq!(
            labels.iter().filter(|l| l.starts_with("parts_row")).count(),
            config.n_layer,
            "{labels:?}"
        );
        for keys in [3, 510] {
            let found = generate(&mut generator, &[prompt(keys)]);
            let mut on_cpu = self::generator(&Device::cpu(), &config, 1, greedy(4));
            let expected = generate(&mut on_cpu, &[prompt(keys)]);
            let close = |(a, b): (&Token, &Token)| a.id == b.id && (a.log_prob - b.log_prob).abs() < 1e-4;
            assert!(found.iter().zip(&expected).all(close), "{keys} keys: {found:?} {expected:?}");
        }
    }
}

fn or_skip<T, E: std::fmt::Display>(opened: Result<T, E>) -> Option<T> {
    if let Err(error) = &opened {
        assert!(std::env::var("CI").is_err(), "no adapter: {error}");
        eprintln!("SKIPPED: no adapter: {error}");
    }
    opened.ok()
}
