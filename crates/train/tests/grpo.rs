//! GRPO: its first loss is what the formula says, it teaches, it resumes, and it stays near a reference.

mod class;

use std::cell::RefCell;
use std::rc::Rc;

use class::{checkpoint, demonstrations, evaluations, exam, finish, losses, network, prompts, verifier};
use cloche_models::{Adapter, LoraConfig, Network, forward_logits};
use cloche_tensor::Device;
use cloche_train::advantage::{Scale, group_advantages};
use cloche_train::checkpoint::open;
use cloche_train::events::{Metrics, TuneEvent, TuneStep};
use cloche_train::grpo::{Data, Run, Settings};
use cloche_train::learner::Optimization;
use cloche_train::remarks;
use cloche_train::rollout::{Answer, Verdict, Verifier};
use cloche_train::sft;
use cloche_train::split::Split;
use pollster::block_on;

fn settings(steps: u64) -> Settings {
    let optimization = Optimization {
        steps,
        batch_size: 4,
        lr: 1e-3,
        min_lr: 1e-4,
        warmup_steps: 0,
        eval_every: 0,
        checkpoint_every: 3,
        ..Default::default()
    };
    Settings { optimization, stop_ids: vec![class::END], max_tokens: 8, group: 6, ..Default::default() }
}

fn data(verifier: Verifier) -> Data {
    Data { prompts: prompts("copy", Split::Train, 200, 1), verifier, reference: None, exam: None }
}

/// Rewards that a model without training can already raise: the share of blanks.
fn blanks() -> Verifier {
    Box::new(|answers: &[Answer]| Ok(answers.iter().map(share_of_blanks).collect()))
}

fn share_of_blanks(answer: &Answer) -> Verdict {
    let n = answer.ids.iter().filter(|&&id| id == 0).count();
    Verdict { reward: n as f32 / answer.ids.len() as f32, correct: false }
}

fn steps(events: &[TuneEvent]) -> Vec<&TuneStep> {
    events
        .iter()
        .filter_map(|event| if let TuneEvent::Step(step) = event { Some(step) } else { None })
        .collect()
}

fn metric(events: &[TuneEvent], name: &str) -> Vec<f32> {
    let number = |event: &TuneEvent| match event {
        TuneEvent::Step(step) => step.metrics.get(name),
        _ => None,
    };
    events.iter().filter_map(number).collect()
}

#[test]
fn before_the_first_update_the_ratio_is_1_and_the_loss_minus_the_mean_advantage() {
    let device = Device::cpu();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let noted = seen.clone();
    let verifier: Verifier = Box::new(move |answers: &[Answer]| {
        noted.borrow_mut().extend_from_slice(answers);
        Ok(answers.iter().map(share_of_blanks).collect())
    });
    // 24 answers, of which 5 are learnt from at once.
    let settings = Settings { micro_batch: 5, ..settings(1) };
    let events =
        finish(Run::new(&device, network(&device, 1), settings, data(verifier), None).unwrap().stage());
    let answers = seen.borrow();
    assert_eq!(answers.len(), 24);

    let before = network(&device, 1);
    for answer in answers.iter() {
        let read = [&answer.prompt[..], &answer.ids].concat();
        let logits = block_on(forward_logits(&device, &before, &read)).unwrap();
        let rows = logits.chunks(class::VOCAB_SIZE).skip(answer.prompt.len() - 1);
        for ((row, &id), &drawn) in rows.zip(&answer.ids).zip(&answer.log_probs) {
            let sum: f64 = row.iter().map(|&x| (x as f64).exp()).sum();
            let log_prob = row[id as usize] as f64 - sum.ln();
            assert!((log_prob - drawn as f64).abs() < 1e-4, "{log_prob}, drawn with {drawn}");
        }
    }

    let rewards: Vec<f32> = answers.iter().map(|answer| share_of_blanks(answer).reward).collect();
    let advantages = group_advantages(&rewards, 6, Scale::Deviation);
    assert!(advantages.iter().any(|&advantage| advantage > 0.1));
    let lengths: Vec<f32> = answers.iter().map(|answer| answer.ids.len() as f32).collect();
    let sum: f32 = advantages.iter().zip(&lengths).map(|(a, n)| a * n).sum();
    let want = -sum / lengths.iter().sum::<f32>();
    assert!((losses(&events)[0] - want).abs() < 1e-5, "{:?}, expected {want}", losses(&events));
    assert_eq!(metric(&events, "clip_fraction"), [0.0]);
    assert!(metric(&events, "kl")[0].abs() < 1e-6);
    assert_eq!(metric(&events, "answer_tokens"), [lengths.iter().sum::<f32>() / 24.0]);
    // Every token is nearly as likely as any other.
    assert!((metric(&events, "entropy")[0] - (class::VOCAB_SIZE as f32).ln()).abs() < 0.05);
}

#[test]
fn what_is_rewarded_becomes_frequent() {
    let device = Device::cpu();
    let mut settings = settings(40);
    settings.epochs = 2;
    let events =
        finish(Run::new(&device, network(&device, 1), settings, data(blanks()), None).unwrap().stage());
    let rewards = metric(&events, "reward");
    assert!(rewards[0] < 0.05 && rewards[39] > 0.25, "{rewards:?}");
    // The second of two epochs has moved away from the policy that answered.
    assert!(metric(&events, "kl")[1] > 1e-6);
}

/// A model that has seen a few demonstrations, too few to be right more than now and then.
fn beginner(device: &Device, task: &str, steps: u64) -> Network {
    let optimization =
        Optimization { steps, batch_size: 32, lr: 3e-3, min_lr: 3e-3, eval_every: 0, ..Default::default() };
    let settings = sft::Settings { optimization, stop_ids: vec![class::END], ..Default::default() };
    let held_out = demonstrations(task, Split::HeldOut, 8, 1);
    let data =
        sft::Data { train: demonstrations(task, Split::Train, 2000, 1), held_out, ..Default::default() };
    let run = sft::Run::new(device, network(device, 1), settings, data, None).unwrap();
    let network = run.network();
    finish(run.stage());
    network
}

#[test]
fn a_beginner_learns_from_rewards_alone() {
    let device = Device::cpu();
    let network = beginner(&device, "copy", 150);
    let mut settings = Settings { group: 16, epochs: 2, ..settings(60) };
    settings.optimization = Optimization { batch_size: 8, lr: 2e-3, min_lr: 2e-3, ..settings.optimization };
    let data = Data { exam: Some(exam("copy", 64, 1)), ..data(verifier("copy", Split::Train, 1)) };
    let events = finish(Run::new(&device, network, settings, data, None).unwrap().stage());
    assert_eq!(evaluations(&events, "exam_correct").len(), 2);
    // The share of drawn answers that are correct: pass@1.
    let correct = metric(&events, "correct");
    let mean = |from: usize| correct[from..from + 10].iter().sum::<f32>() / 10.0;
    assert!(mean(0) < 0.3 && mean(50) > 0.6, "{correct:?}");
}

/// The same answers, and nearly the same loss.
#[test]
fn a_gpu_agrees_with_the_cpu() {
    let Some(gpu) = class::gpu() else { return };
    let run = |device: &Device| {
        let mut settings = Settings { group: 3, max_tokens: 4, ..settings(2) };
        settings.optimization.batch_size = 2;
        let events =
            finish(Run::new(device, network(device, 1), settings, data(blanks()), None).unwrap().stage());
        (losses(&events), metric(&events, "reward"))
    };
    let (found, expected) = (run(&gpu), run(&Device::cpu()));
    assert!((found.0[0] - expected.0[0]).abs() < 1e-3, "{found:?}, expected {expected:?}");
    assert_eq!(found.1[0], expected.1[0]);
    assert!(found.0.iter().all(|loss| loss.is_finite()) && found.1.len() == 2);
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let device = Device::cpu();
    let run = |seed, saved| {
        let settings = Settings { epochs: 2, ..settings(6) };
        finish(Run::new(&device, network(&device, seed), settings, data(blanks()), saved).unwrap().stage())
    };
    let whole = run(1, None);
    let rest = run(2, Some(open(checkpoint(&whole, 3)).unwrap()));
    assert_eq!(losses(&rest), losses(&whole)[3..]);
    assert_eq!(checkpoint(&rest, 6), checkpoint(&whole, 6));
}

#[test]
fn an_adapter_stays_near_its_base_which_does_not_move() {
    let device = Device::cpu();
    let base = network(&device, 1);
    let before = block_on(base.weights.read()).unwrap();
    let lora = LoraConfig { rank: 4, ..Default::default() };
    let far = |beta| {
        let adapter = Adapter::new(&device, &base.config, lora.clone(), 7).unwrap();
        let data = Data { reference: Some(base.clone()), ..data(blanks()) };
        let mut settings = Settings { beta, ..settings(20) };
        settings.optimization.lr = 1e-2;
        settings.optimization.min_lr = 1e-2;
        let run = Run::new(&device, base.with_adapter(adapter), settings, data, None).unwrap();
        let kl = metric(&finish(run.stage()), "kl_reference");
        assert!(kl[0].abs() < 1e-6, "{kl:?}");
        kl[19]
    };
    let (loose, tight) = (far(0.001), far(30.0));
    assert!(loose > 2.0 * tight, "{loose} {tight}");
    assert_eq!(block_on(base.weights.read()).unwrap(), before);
}

#[test]
fn groups_that_are_all_alike_are_counted_and_explained() {
    let device = Device::cpu();
    let same: Verifier =
        Box::new(|answers: &[Answer]| Ok(vec![Verdict { reward: 0.3, correct: false }; answers.len()]));
    let events =
        finish(Run::new(&device, network(&device, 1), settings(2), data(same), None).unwrap().stage());
    assert_eq!(losses(&events), [0.0, 0.0]);
    let [first, second] = steps(&events)[..] else { panic!() };
    assert_eq!([first.grad_norm, second.grad_norm], [0.0; 2]);
    assert_eq!(metric(&events, "zero_signal"), [1.0, 1.0]);
    let words = remarks::grpo(&first.metrics).concat();
    assert!(
        words.contains("too hard") && words.contains("max_tokens") && !words.contains("certain"),
        "{words}"
    );
    let good = [("kl", 0.0), ("zero_signal", 0.2), ("entropy", 1.0), ("truncated", 0.0)];
    let words = remarks::grpo(&Metrics(good.to_vec()));
    assert!(words.len() == 1 && words[0].starts_with("The loss is near 0"), "{words:?}");
}

#[test]
fn bad_settings_and_bad_rewards_are_named() {
    let device = Device::cpu();
    let message = |settings| {
        Run::new(&device, network(&device, 1), settings, data(blanks()), None).err().unwrap().to_string()
    };
    assert_eq!(message(Settings { group: 1, ..settings(1) }), "group: found 1, expected 2 to 1024");
    let cold = Settings { temperature: 0.0, ..settings(1) };
    assert_eq!(message(cold), "temperature: found 0, expected a finite number above 0");
    let alone = Settings { beta: 0.1, ..settings(1) };
    assert_eq!(message(alone), "beta: found 0.1, expected 0 where there is no reference model");

    let fails = |verifier: Verifier| {
        let mut stage =
            Run::new(&device, network(&device, 1), settings(1), data(verifier), None).unwrap().stage();
        loop {
            match block_on(stage.next()) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return error.to_string(),
                None => panic!("no error"),
            }
        }
    };
    let nan: Verifier =
        Box::new(|answers: &[Answer]| Ok(vec![Verdict { reward: f32::NAN, correct: false }; answers.len()]));
    assert!(fails(nan).ends_with("found reward NaN, expected a finite number"));
    let broken: Verifier = Box::new(|_: &[Answer]| Err("the judge is ill".into()));
    assert_eq!(fails(broken), "verifier: the judge is ill");
    let panics: Verifier = Box::new(|answers: &[Answer]| {
        let odd = answers.iter().find(|answer| answer.index % 2 == 1);
        assert!(odd.is_none(), "only even questions");
        Ok(answers.iter().map(share_of_blanks).collect())
    });
    let said = fails(panics);
    let (place, words) =
        said.strip_prefix("verifier: it panicked at answer ").unwrap().split_once(": ").unwrap();
    let (answer, question) = place.split_once(" to question ").unwrap();
    // Six answers to each question.
    assert!(answer.parse::<usize>().unwrap().is_multiple_of(6), "{said}");
    assert!(question.parse::<usize>().unwrap() % 2 == 1 && words == "only even questions", "{said}");
    let moody: Verifier = Box::new(|answers: &[Answer]| {
        assert!(answers.len() == 1, "too many");
        Ok(answers.iter().map(share_of_blanks).collect())
    });
    assert_eq!(fails(moody), "verifier: it panicked at 24 answers together: too many");
}
