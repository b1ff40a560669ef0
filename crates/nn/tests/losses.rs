//! Losses and their gradients against PyTorch, and properties that follow from the formulas alone.
//!
//! The golden file and the program that made it are in `tests/golden`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cloche_nn::checkpoint::Checkpoint;
use cloche_nn::loss::distill::{Divergence, distillation};
use cloche_nn::loss::policy::{Actions, Clip, Surrogate, clipped_surrogate, kl_to_reference};
use cloche_nn::loss::preference::{
    Objective, PairLogProbs, RankedPairs, bradley_terry, centring, dpo, ranked,
};
use cloche_nn::loss::value::{ValueLoss, Values, clipped_value_loss};
use cloche_nn::loss::{self, IGNORE_INDEX, mean, mean_over};
use cloche_tensor::check::compare;
use cloche_tensor::{DType, Data, Device, DeviceKind, Graph, Tensor};
use pollster::block_on;

const TOLERANCE: f64 = 1e-5;

/// What a case computes, by name; the first is the loss.
type Outputs = Vec<(&'static str, Tensor)>;

/// The golden inputs, recorded into a graph as a case asks for them.
struct Inputs<'a> {
    graph: Graph,
    golden: &'a BTreeMap<String, (Vec<usize>, Data)>,
}

impl Inputs<'_> {
    fn get(&self, name: &str) -> Tensor {
        let (shape, data) = &self.golden[name];
        self.graph.input(name, shape.as_slice(), data.dtype())
    }

    /// 1 for each token of the answers.
    fn marks(&self) -> Tensor {
        loss::marks(&self.get("targets"))
    }

    fn log_probs(&self) -> Tensor {
        loss::token_log_probs(&self.get("logits"), &self.get("targets"))
    }

    /// The mean over the marked tokens of the step, however many are in this batch.
    fn over_tokens(&self, losses: &Tensor) -> Tensor {
        mean_over(losses, &self.graph.scalar("count"))
    }

    fn constant(&self, data: impl Into<Data>) -> Tensor {
        let data = data.into();
        self.graph.data((data.len(),), data)
    }
}

// ------------------------------------------------------------------------------------------------------ the cases

fn tokens(i: &Inputs) -> Outputs {
    let (logits, targets) = (i.get("logits"), i.get("targets"));
    vec![
        ("loss", i.over_tokens(&loss::token_losses(&logits, &targets))),
        ("log_probs", i.log_probs()),
        ("answers", loss::answer_log_probs(&logits, &targets)),
        ("mean_answers", loss::mean_answer_log_probs(&logits, &targets)),
        ("hits", loss::token_hits(&logits, &targets)),
        ("entropy", loss::token_entropy(&logits, &i.marks())),
    ]
}

fn entropy(i: &Inputs) -> Outputs {
    vec![("loss", i.over_tokens(&loss::token_entropy(&i.get("logits"), &i.marks())))]
}

fn answers(i: &Inputs) -> Outputs {
    let (logits, targets) = (i.get("logits"), i.get("targets"));
    let weights = |name| i.get(name).slice(0, 0, targets.dim(0));
    let sums = loss::answer_log_probs(&logits, &targets) * weights("chosen");
    let means = loss::mean_answer_log_probs(&logits, &targets) * weights("rejected");
    vec![("loss", (sums + means).sum_all())]
}

fn log_sigmoid(i: &Inputs) -> Outputs {
    let y = loss::log_sigmoid(&i.get("x"));
    vec![("loss", y.sum_all()), ("y", y)]
}

fn bradley_terry_plain(i: &Inputs) -> Outputs {
    let losses = bradley_terry(&i.get("chosen"), &i.get("rejected"), None);
    vec![("loss", mean(&losses)), ("losses", losses)]
}

fn bradley_terry_margin(i: &Inputs) -> Outputs {
    let losses = bradley_terry(&i.get("chosen"), &i.get("rejected"), Some(&i.get("margins")));
    vec![("loss", mean(&losses)), ("losses", losses)]
}

fn bradley_terry_centred(i: &Inputs) -> Outputs {
    let (chosen, rejected) = (i.get("chosen"), i.get("rejected"));
    let losses = bradley_terry(&chosen, &rejected, None) + centring(&chosen, &rejected) * 0.01;
    vec![("loss", mean(&losses))]
}

fn ranked_answers(i: &Inputs) -> Outputs {
    let pairs = RankedPairs::new(&[4, 2, 3]).padded(12);
    let index = |ids| i.constant(Data::U32(ids));
    let (better, worse) = (index(pairs.better), index(pairs.worse));
    let losses = ranked(&i.get("rewards"), &better, &worse, &i.constant(pairs.weights));
    vec![("loss", losses.sum_all() * (1.0 / 3.0))]
}

fn dpo_case(i: &Inputs, objective: Objective) -> Outputs {
    let pairs = PairLogProbs {
        chosen: &i.get("chosen_log_probs"),
        rejected: &i.get("rejected_log_probs"),
        reference_chosen: &i.get("reference_chosen"),
        reference_rejected: &i.get("reference_rejected"),
    };
    let found = dpo(pairs, 0.3, objective);
    vec![
        ("loss", mean(&found.losses)),
        ("losses", found.losses),
        ("chosen_rewards", found.chosen_rewards),
        ("rejected_rewards", found.rejected_rewards),
        ("margins", found.margins),
        ("hits", found.hits),
    ]
}

fn surrogate(i: &Inputs, advantages: &str, clip: Clip) -> Surrogate {
    let actions = Actions {
        log_probs: &i.log_probs(),
        old_log_probs: &i.get("old_log_probs"),
        advantages: &i.get(advantages),
        marks: &i.marks(),
    };
    clipped_surrogate(actions, clip)
}

fn ppo(i: &Inputs) -> Outputs {
    let found = surrogate(i, "advantages", Clip::both(0.2));
    let loss = i.over_tokens(&found.losses);
    vec![("loss", loss), ("losses", found.losses), ("clipped", found.clipped), ("kl", found.kl)]
}

fn value(i: &Inputs) -> Outputs {
    let values = Values {
        values: &i.get("values"),
        old_values: &i.get("old_values"),
        returns: &i.get("returns"),
        marks: &i.marks(),
    };
    let ValueLoss { losses, clipped } = clipped_value_loss(values, 0.2);
    vec![("loss", i.over_tokens(&losses)), ("losses", losses), ("clipped", clipped)]
}

fn ppo_ptx(i: &Inputs) -> Outputs {
    let pretraining = loss::token_losses(&i.get("mix_logits"), &i.get("mix_targets"));
    let pretraining = mean_over(&pretraining, &i.graph.scalar("mix_count"));
    vec![("loss", &ppo(i)[0].1 + &value(i)[0].1 * 0.1 + pretraining * 0.5)]
}

fn grpo(i: &Inputs) -> Outputs {
    let found = surrogate(i, "answer_advantages", Clip { low: 0.2, high: 0.28 });
    let reference_kl = kl_to_reference(&i.log_probs(), &i.get("reference_log_probs"), &i.marks());
    let loss = i.over_tokens(&(&found.losses + &reference_kl * 0.04));
    vec![
        ("loss", loss),
        ("losses", found.losses),
        ("clipped", found.clipped),
        ("kl", found.kl),
        ("reference_kl", reference_kl),
    ]
}

fn distill(i: &Inputs, divergence: Divergence) -> Outputs {
    let losses = distillation(&i.get("logits"), &i.get("teacher"), &i.marks(), 2.0, divergence);
    vec![("loss", i.over_tokens(&losses)), ("losses", losses)]
}

fn distill_mixed(i: &Inputs) -> Outputs {
    let (soft, hard) = (&distill(i, Divergence::Forward)[0].1, &tokens(i)[0].1);
    vec![("loss", soft * 0.7 + hard * 0.3)]
}

type Case = (&'static str, fn(&Inputs) -> Outputs, &'static [&'static str]);

/// Name, what is computed, and by which inputs the loss is differentiated.
const CASES: &[Case] = &[
    ("tokens", tokens, &["logits"]),
    ("entropy", entropy, &["logits"]),
    ("answers", answers, &["logits"]),
    ("log_sigmoid", log_sigmoid, &["x"]),
    ("bradley_terry", bradley_terry_plain, PAIR),
    ("bradley_terry_margin", bradley_terry_margin, PAIR),
    ("bradley_terry_centred", bradley_terry_centred, PAIR),
    ("ranked", ranked_answers, &["rewards"]),
    ("dpo_sigmoid", |i| dpo_case(i, Objective::Sigmoid { label_smoothing: 0.0 }), BOTH),
    ("dpo_smoothed", |i| dpo_case(i, Objective::Sigmoid { label_smoothing: 0.1 }), BOTH),
    ("dpo_ipo", |i| dpo_case(i, Objective::Ipo), BOTH),
    ("dpo_hinge", |i| dpo_case(i, Objective::Hinge), BOTH),
    ("ppo", ppo, &["logits"]),
    ("value", value, &["values"]),
    ("ppo_ptx", ppo_ptx, &["logits", "values", "mix_logits"]),
    ("grpo", grpo, &["logits"]),
    ("distill_forward", |i| distill(i, Divergence::Forward), &["logits"]),
    ("distill_reverse", |i| distill(i, Divergence::Reverse), &["logits"]),
    ("distill_mixed", distill_mixed, &["logits"]),
];
const PAIR: &[&str] = &["chosen", "rejected"];
const BOTH: &[&str] = &["chosen_log_probs", "rejected_log_probs"];

// ------------------------------------------------------------------------------------------------- against PyTorch

fn equals_pytorch(device: &Device) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/losses.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let mut file = Checkpoint::from_bytes(vec![("losses.safetensors".into(), bytes)]).unwrap();
    let golden = golden_inputs(&mut file);
    let marked: Vec<bool> = golden["targets"].1.u32().iter().map(|&t| t != IGNORE_INDEX).collect();
    for &(case, build, wrt) in CASES {
        let i = Inputs { graph: Graph::new(), golden: &golden };
        let outputs = build(&i);
        let by: Vec<Tensor> = wrt.iter().map(|name| i.get(name)).collect();
        let grads = i.graph.grad(&outputs[0].1, &by.iter().collect::<Vec<_>>());
        let outputs = outputs.into_iter().map(|(name, y)| (name.to_string(), y));
        let grads = wrt.iter().zip(grads).map(|(name, dx)| (format!("d_{name}"), dx));
        let named: Vec<(String, Tensor)> = outputs.chain(grads).collect();
        for (name, found) in run(device, &i, &named) {
            let what = format!("{case}/{name}");
            let (_, want) = file.tensor(&what).unwrap();
            compare(&wide(&want), &wide(&found), TOLERANCE).unwrap_or_else(|e| panic!("{what}: {e}"));
            // Whatever belongs to a token is exactly 0 where the token is not marked.
            if found.len().is_multiple_of(marked.len()) && name != "d_mix_logits" {
                let of_a_token = found.chunks(found.len() / marked.len()).zip(&marked);
                let leaks = of_a_token.filter(|(x, mark)| !**mark && x.iter().any(|&x| x != 0.0)).count();
                assert_eq!(leaks, 0, "{what}: tokens that are not marked, but have a value or a gradient");
            }
        }
    }
}

fn golden_inputs(file: &mut Checkpoint) -> BTreeMap<String, (Vec<usize>, Data)> {
    let names: Vec<String> =
        file.names().filter_map(|name| name.strip_prefix("inputs/").map(str::to_owned)).collect();
    let mut inputs = BTreeMap::new();
    for name in names {
        let path = format!("inputs/{name}");
        let input = if name.ends_with("targets") {
            let (shape, ids) = file.ids(&path).unwrap();
            let id = |id: i64| u32::try_from(id).unwrap_or(IGNORE_INDEX); // PyTorch's −100
            (shape, Data::U32(ids.into_iter().map(id).collect()))
        } else {
            let (shape, values) = file.tensor(&path).unwrap();
            (shape, Data::F32(values))
        };
        inputs.insert(name, input);
    }
    inputs
}

fn run(device: &Device, i: &Inputs, named: &[(String, Tensor)]) -> Vec<(String, Vec<f32>)> {
    let outputs: Vec<(&str, &Tensor)> = named.iter().map(|(name, y)| (name.as_str(), y)).collect();
    let mut program = device.compile(&i.graph, &outputs, &[]).unwrap();
    for (name, (_, data)) in i.golden.iter().filter(|(name, _)| program.has(name)).collect::<Vec<_>>() {
        program.write(name, data);
    }
    for (scalar, targets) in [("count", "targets"), ("mix_count", "mix_targets")] {
        if program.has(scalar) {
            let count = i.golden[targets].1.u32().iter().filter(|&&t| t != IGNORE_INDEX).count();
            program.set(scalar, count as f32);
        }
    }
    program.run();
    let read = |name: &str| block_on(program.read(name)).unwrap().f32().to_vec();
    named.iter().map(|(name, _)| (name.clone(), read(name))).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| x as f64).collect()
}

#[test]
fn losses_and_gradients_equal_pytorch_on_the_cpu() {
    equals_pytorch(&Device::cpu());
}

#[test]
fn losses_and_gradients_equal_pytorch_on_the_gpu() {
    on_the_gpu(equals_pytorch);
}

/// Runs a check on the adapter there is.
fn on_the_gpu(check: fn(&Device)) {
    match block_on(Device::open(DeviceKind::Gpu)) {
        Ok(device) => check(&device),
        Err(error) => {
            assert!(std::env::var("CI").is_err(), "no adapter: {error}");
            eprintln!("SKIPPED: no adapter: {error}");
        }
    }
}

// ------------------------------------------------------------------------------------------------------ properties

/// Runs a graph of constants: each output, and the gradient of the first by `x`.
fn evaluate(device: &Device, outputs: &[&Tensor], x: &Tensor, data: &[f32]) -> (Vec<Vec<f32>>, Vec<f32>) {
    let graph = x.graph();
    let dx = graph.grad(outputs[0], &[x]).remove(0);
    let names: Vec<String> = (0..outputs.len()).map(|k| format!("y{k}")).collect();
    let mut named: Vec<(&str, &Tensor)> =
        names.iter().map(String::as_str).zip(outputs.iter().copied()).collect();
    named.push(("dx", &dx));
    let mut program = device.compile(graph, &named, &[]).unwrap();
    program.write("x", data);
    program.run();
    let read = |name: &str| block_on(program.read(name)).unwrap().f32().to_vec();
    (names.iter().map(|name| read(name)).collect(), read("dx"))
}

fn input(shape: &[usize]) -> Tensor {
    Graph::new().input("x", shape, DType::F32)
}

#[test]
fn an_unmoved_policy_has_ratio_1_and_loses_minus_the_mean_advantage() {
    let (now, advantages) = ([-0.5, -2.0, -7.0, -1.0], vec![1.0, -2.0, 0.5, 100.0]);
    let x = input(&[4]);
    let table = |data: Vec<f32>| x.graph().data((4,), data);
    let actions = Actions {
        log_probs: &x,
        old_log_probs: &table(now.to_vec()),
        advantages: &table(advantages),
        marks: &table(vec![1.0, 1.0, 1.0, 0.0]),
    };
    let found = clipped_surrogate(actions, Clip::both(0.2));
    let loss = found.losses.sum_all() * (1.0 / 3.0);
    let (y, dx) = evaluate(&Device::cpu(), &[&loss, &found.clipped, &found.kl], &x, &now);
    assert!((y[0][0] - 0.5 / 3.0).abs() < 1e-7); // −(1 − 2 + 0.5)/3
    assert_eq!([&y[1], &y[2]], [&[0.0; 4], &[0.0; 4]]);
    assert!(
        dx.iter().zip([-1.0, 2.0, -0.5, 0.0]).all(|(dx, want): (&f32, f32)| (dx - want / 3.0).abs() < 1e-6)
    );
}

/// What stands at unmarked tokens may be anything, and a marked token may have moved as far as f32 goes.
fn nothing_is_infinite(device: &Device) {
    let x = input(&[5]);
    let table = |data: Vec<f32>| x.graph().data((5,), data);
    let marks = table(vec![0.0, 0.0, 0.0, 1.0, 1.0]);
    let far = table(vec![3e38, -3e38, 200.0, -500.0, 500.0]);
    let ones = table(vec![1.0; 5]);
    let actions = Actions { log_probs: &x, old_log_probs: &far, advantages: &ones, marks: &marks };
    let found = clipped_surrogate(actions, Clip::both(0.2));
    let kl = kl_to_reference(&x, &far, &marks);
    let values = Values { values: &x, old_values: &far, returns: &far, marks: &marks };
    let value = clipped_value_loss(values, 0.2).losses;
    let loss = (found.losses + &kl + value).sum_all();
    let (y, dx) = evaluate(device, &[&loss, &kl], &x, &[-3e38, 3e38, 1.0, -1.0, -2.0]);
    assert!(y.iter().flatten().chain(&dx).all(|x| x.is_finite()), "{y:?} {dx:?}");
    assert_eq!((&dx[..3], &y[1][..3]), (&[0.0; 3][..], &[0.0; 3][..]));
}

#[test]
fn nothing_is_infinite_on_the_cpu() {
    nothing_is_infinite(&Device::cpu());
}

#[test]
fn nothing_is_infinite_on_the_gpu() {
    on_the_gpu(nothing_is_infinite);
}

/// The rewards vanish with β, and with them what is known: ln 2. Its slope by a chosen log-probability is −β/2.
#[test]
fn dpo_without_beta_loses_ln_2() {
    let x = input(&[3]);
    let table = |data: [f32; 3]| x.graph().data((3,), data.to_vec());
    let pairs = PairLogProbs {
        chosen: &x,
        rejected: &table([-3.0, -90.0, -4.0]),
        reference_chosen: &table([-10.0, -40.0, -4.0]),
        reference_rejected: &table([-30.0, -5.0, -4.0]),
    };
    for label_smoothing in [0.0, 0.2] {
        let found = dpo(pairs, 1e-9, Objective::Sigmoid { label_smoothing });
        let (y, dx) = evaluate(&Device::cpu(), &[&mean(&found.losses)], &x, &[-12.0, -31.0, -4.0]);
        assert!((y[0][0] - std::f32::consts::LN_2).abs() < 1e-6);
        let want = -1e-9 / 3.0 * (0.5 - label_smoothing as f32);
        assert!(dx.iter().all(|dx| (dx / want - 1.0).abs() < 1e-5), "{dx:?}, expected {want}");
    }
}

#[test]
fn a_student_that_is_the_teacher_has_nothing_to_learn() {
    let logits = [0.3, -1.0, 2.0, 5.0, 0.0, -4.0];
    for divergence in [Divergence::Forward, Divergence::Reverse] {
        let x = input(&[2, 3]);
        let teacher = x.graph().data((2, 3), logits.to_vec());
        let marks = x.graph().full((2,), 1.0);
        let loss = distillation(&x, &teacher, &marks, 3.0, divergence).sum_all();
        let (y, dx) = evaluate(&Device::cpu(), &[&loss], &x, &logits);
        assert!(y[0][0].abs() < 1e-6 && dx.iter().all(|dx| dx.abs() < 1e-6));
    }
}
