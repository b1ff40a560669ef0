//! Distillation: a student comes to think as its teacher, resumes, and runs on both devices; and the best of n answers.

mod class;

use class::{VOCAB_SIZE, checkpoint, demonstrations, evaluations, finish, losses, network};
use cloche_models::config::{ModelConfig, preset};
use cloche_models::{Network, specs};
use cloche_nn::Weights;
use cloche_nn::loss::distill::Divergence;
use cloche_tensor::Device;
use cloche_train::checkpoint::open;
use cloche_train::distill::{Data, Run, Settings, best_of};
use cloche_train::events::TuneEvent;
use cloche_train::learner::Optimization;
use cloche_train::rollout::Answer;
use cloche_train::split::Split;
use pollster::block_on;

fn settings(steps: u64) -> Settings {
    let optimization = Optimization {
        steps,
        batch_size: 16,
        lr: 3e-3,
        min_lr: 3e-4,
        eval_every: 0,
        checkpoint_every: 10,
        ..Default::default()
    };
    Settings { optimization, stop_ids: vec![class::END], ..Default::default() }
}

fn data() -> Data {
    Data {
        train: demonstrations("copy", Split::Train, 2000, 1),
        held_out: demonstrations("copy", Split::HeldOut, 40, 1),
        exam: None,
    }
}

/// A model half as wide as its teacher.
fn student(device: &Device, seed: u64) -> Network {
    let tiny = preset("tiny").unwrap().model;
    let [d_model, d_head, d_ff] = [tiny.d_model, tiny.d_head, tiny.d_ff].map(|d| d / 2);
    let config = ModelConfig { vocab_size: VOCAB_SIZE, context_len: 32, d_model, d_head, d_ff, ..tiny };
    Network::new(config, Weights::init(device, &specs(&config), seed).unwrap())
}

fn run(
    device: &Device,
    student: Network,
    teacher: &Network,
    settings: Settings,
    data: Data,
) -> Vec<TuneEvent> {
    finish(Run::new(device, student, teacher.clone(), settings, data, None).unwrap().stage())
}

#[test]
fn a_student_comes_to_think_as_its_teacher() {
    let device = Device::cpu();
    let teacher = class::taught(&device, "copy", 300);
    let before = block_on(teacher.weights.read()).unwrap();
    // 1. The teacher's own twin has nothing to learn.
    let twin = block_on(teacher.merged(&device)).unwrap();
    let events = run(&device, twin, &teacher, settings(1), data());
    assert!(evaluations(&events, "held_out_divergence")[0].abs() < 1e-6);
    assert_eq!(evaluations(&events, "held_out_agreement")[0], 1.0);
    // 2. A smaller model has, whichever way the divergence is measured.
    for divergence in [Divergence::Forward, Divergence::Reverse] {
        let settings = Settings { divergence, temperature: 2.0, ..settings(200) };
        let events = run(&device, student(&device, 5), &teacher, settings, data());
        let [apart, agreement] =
            ["held_out_divergence", "held_out_agreement"].map(|name| evaluations(&events, name));
        assert!(apart[1] < 0.5 * apart[0], "{divergence:?}: {apart:?}");
        assert!(agreement[0] < 0.2 && agreement[1] > 0.4, "{divergence:?}: {agreement:?}");
    }
    assert_eq!(block_on(teacher.weights.read()).unwrap(), before);
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let device = Device::cpu();
    let (teacher, settings) = (network(&device, 1), Settings { targets: 0.3, ..settings(20) });
    let whole = run(&device, student(&device, 1), &teacher, settings.clone(), data());
    let saved = Some(open(checkpoint(&whole, 10)).unwrap());
    let rest = Run::new(&device, student(&device, 2), teacher, settings, data(), saved).unwrap();
    let rest = finish(rest.stage());
    assert_eq!(losses(&rest), losses(&whole)[10..]);
    assert_eq!(checkpoint(&rest, 20), checkpoint(&whole, 20));
}

#[test]
fn a_teacher_that_reads_other_tokens_is_named() {
    let device = Device::cpu();
    let message = |teacher, settings| {
        Run::new(&device, student(&device, 1), teacher, settings, data(), None).err().unwrap().to_string()
    };
    let mut other = network(&device, 1);
    other.config.vocab_size = 97;
    assert_eq!(
        message(other, settings(1)),
        "teacher: found a vocabulary of 97, a context of 32, expected the model's vocabulary, and at least its context"
    );
    let wrong = Settings { targets: 1.5, ..settings(1) };
    assert_eq!(message(network(&device, 1), wrong), "targets: found 1.5, expected a share, 0 to 1");
}

#[test]
fn both_devices_learn_the_same() {
    let Some(gpu) = class::gpu() else { return };
    let [cpu, gpu] = [Device::cpu(), gpu].map(|device| {
        let mut settings = settings(3);
        settings.optimization.batch_size = 4;
        let data = Data { held_out: demonstrations("copy", Split::HeldOut, 4, 1), ..data() };
        run(&device, student(&device, 1), &network(&device, 1), settings, data)
    });
    for (cpu, gpu) in losses(&cpu).into_iter().zip(losses(&gpu)) {
        assert!((cpu - gpu).abs() < 1e-3, "{cpu} {gpu}");
    }
    assert_eq!(losses(&gpu).len(), 3);
}

#[test]
fn the_best_of_n_is_a_demonstration() {
    let answer = |index, id| Answer {
        index,
        prompt: vec![7, 8],
        ids: vec![id, class::END],
        log_probs: vec![0.0; 2],
        ended: true,
    };
    let answers = [answer(0, 1), answer(0, 2), answer(0, 3), answer(1, 4), answer(1, 5), answer(1, 6)];
    let ids = |least| {
        let best = best_of(3, &answers, &[0.0, 1.0, 1.0, -1.0, -0.5, -2.0], least);
        let examples = best.into_iter().map(Answer::example);
        examples.map(|example| (example.ids, example.learn)).collect::<Vec<_>>()
    };
    let of = |id| (vec![7, 8, id, class::END], vec![false, false, true, true]);
    assert_eq!(ids(f32::NEG_INFINITY), [of(2), of(5)]);
    assert_eq!(ids(0.5), [of(2)]);
}
