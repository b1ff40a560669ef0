//! Texts and tokens chosen by what models say of them.

mod class;

use class::{demonstration, demonstrations, network, taught};
use cloche_tensor::Device;
use cloche_train::examples::Example;
use cloche_train::select::{perplexities, select_tokens};
use cloche_train::split::Split;
use pollster::block_on;

#[test]
fn what_a_model_has_learnt_is_less_perplexing_than_what_is_wrong() {
    let device = Device::cpu();
    let model = taught(&device, "copy", 300);
    let right = demonstrations("copy", Split::HeldOut, 20, 1);
    let wrong: Vec<Example> = right.iter().map(|_| demonstration("copy: a b c =", "z z z")).collect();
    let most =
        |texts| block_on(perplexities(&device, &model, texts)).unwrap().into_iter().fold(0.0, f32::max);
    let least = |texts| {
        let found = block_on(perplexities(&device, &model, texts)).unwrap();
        found.into_iter().fold(f32::INFINITY, f32::min)
    };
    assert!(most(&right) < least(&wrong), "{} and {}", most(&right), least(&wrong));
    // Before it has learnt, a model finds nearly all 96 tokens as likely.
    let new = block_on(perplexities(&device, &network(&device, 1), &right)).unwrap();
    assert!(new.iter().all(|x| (60.0..160.0).contains(x)), "{new:?}");
}

#[test]
fn tokens_that_the_reference_knows_stay_and_noise_goes() {
    let device = Device::cpu();
    let (model, reference) = (network(&device, 1), taught(&device, "copy", 300));
    // Half of each text is what the reference has learnt, the other half what nobody can know.
    let texts: Vec<Example> = demonstrations("copy", Split::HeldOut, 40, 1)
        .into_iter()
        .enumerate()
        .map(|(n, mut text)| {
            let noise = (0..4).map(|i| ((n * 37 + i * 11) % 90) as u32);
            text.ids.extend(noise);
            text.learn.resize(text.ids.len(), true);
            text
        })
        .collect();
    let known = |text: &Example| text.ids.len() - 4;
    let (chosen, selection) =
        block_on(select_tokens(&device, &model, &reference, texts.clone(), 0.5)).unwrap();
    assert_eq!(selection.tokens, texts.iter().map(Example::n_targets).sum::<usize>());
    assert_eq!(selection.kept, selection.tokens.div_ceil(2));
    assert_eq!(selection.kept, chosen.iter().map(Example::n_targets).sum::<usize>());
    assert!(selection.excess_kept > 1.0 && selection.excess_dropped < 0.5, "{selection:?}");
    let noise: usize =
        chosen.iter().map(|text| text.learn[known(text)..].iter().filter(|l| **l).count()).sum();
    assert!(noise * 10 < selection.kept, "{noise} of {}", selection.kept);
    // Only marks go, and nothing that was not marked becomes a target.
    for (before, after) in texts.iter().zip(&chosen) {
        assert_eq!(before.ids, after.ids);
        assert!(before.learn.iter().zip(&after.learn).all(|(before, after)| *before || !*after));
    }
    let (all, whole) = block_on(select_tokens(&device, &model, &reference, texts.clone(), 1.0)).unwrap();
    assert_eq!((all, whole.kept, whole.lost), (texts.clone(), whole.tokens, 0));
    let wrong = block_on(select_tokens(&device, &model, &reference, texts, 0.0)).unwrap_err().to_string();
    assert_eq!(wrong, "select_tokens: found 0, expected a share above 0, at most 1");
}

#[test]
fn a_text_of_which_nothing_stays_is_left_out() {
    let device = Device::cpu();
    let (model, reference) = (network(&device, 1), taught(&device, "copy", 300));
    let mut texts = demonstrations("copy", Split::HeldOut, 9, 1);
    texts.push(demonstration("copy: a b c =", "%#$^&"));
    let (chosen, selection) =
        block_on(select_tokens(&device, &model, &reference, texts.clone(), 0.3)).unwrap();
    assert_eq!(selection.lost, texts.len() - chosen.len());
    assert!(selection.lost >= 1 && chosen.iter().all(|text| text.ids != texts[9].ids), "{selection:?}");
}
