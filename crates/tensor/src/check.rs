//! The harness that every operation passes, on every device.
//!
//! A sample is a little graph. It runs in f64 on the CPU (the truth), in f32 on the CPU, and on the device under test; the
//! outputs and the gradients must agree, the f64 gradients must agree with central differences, and a second run must give
//! the same bits. The outputs are weighted by a random cotangent before they are summed to the loss, so that a gradient
//! which ignores what flows into it is found out.

use crate::device::{Device, State};
use crate::dtype::DType;
use crate::error::Error;
use crate::graph::{Data, Graph};
use crate::plan::{Plan, Target};
use crate::rng::{Rng, stream_id};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Which numbers a sample's input holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// Standard normal.
    Normal,
    /// Between 0.1 and 2.
    Positive,
    /// Normal, with 0.3 added to the magnitude.
    AwayFromZero,
    /// Token ids below this number; a u32 tensor without gradient.
    Ids(u32),
}

type Build = Box<dyn Fn(&[Tensor]) -> Vec<Tensor>>;

/// One case of the harness.
pub struct Sample {
    /// What is special about it.
    pub name: String,
    inputs: Vec<(Shape, Range)>,
    build: Build,
    gradients: bool,
    tolerance: f64,
    scalars: Vec<(&'static str, u32)>,
}

impl Sample {
    /// A sample whose graph is `build`, on inputs of the given shapes and ranges.
    pub fn new(
        name: impl Into<String>,
        inputs: &[(&[usize], Range)],
        build: impl Fn(&[Tensor]) -> Vec<Tensor> + 'static,
    ) -> Sample {
        let inputs = inputs.iter().map(|&(shape, range)| (Shape::from(shape), range)).collect();
        Sample {
            name: name.into(),
            inputs,
            build: Box::new(build),
            gradients: true,
            tolerance: 2e-5,
            scalars: Vec::new(),
        }
    }

    /// Without gradients: for operations that have none, and for sizes that would take too long.
    pub fn forward_only(mut self) -> Sample {
        self.gradients = false;
        self
    }

    /// The largest error allowed, relative to |y| + the root mean square of y. The default is 2·10⁻⁵.
    pub fn tolerance(mut self, tolerance: f64) -> Sample {
        self.tolerance = tolerance;
        self
    }

    /// The value of a per-run scalar that the graph asks for by name (as bits; see `f32::to_bits`).
    pub fn scalar(mut self, name: &'static str, bits: u32) -> Sample {
        self.scalars.push((name, bits));
        self
    }
}

/// Outputs and gradients of one run, in f64 or widened to it; u32 outputs as they are.
struct Outcome {
    values: Vec<(String, Vec<f64>)>,
    bits: Vec<Vec<u32>>,
}

/// Runs a sample on `device` against f64, twice.
///
/// # Errors
/// What differs, and by how much.
pub async fn check(op: &str, sample: &Sample, device: &Device) -> Result<(), String> {
    let fail = |what: String| format!("{op}, {}: {what}", sample.name);
    let data: Vec<Data> =
        sample.inputs.iter().enumerate().map(|(i, (s, r))| generate(sample, i, s, *r)).collect();
    let truth = run(sample, &data, &Device::cpu64()).await.map_err(|e| fail(e.to_string()))?;
    let found = run(sample, &data, device).await.map_err(|e| fail(e.to_string()))?;
    for ((name, want), (_, got)) in truth.values.iter().zip(&found.values) {
        compare(want, got, sample.tolerance).map_err(|e| fail(format!("{name}: {e}")))?;
    }
    let again = run(sample, &data, device).await.map_err(|e| fail(e.to_string()))?;
    if again.bits != found.bits {
        return Err(fail("two runs differ".into()));
    }
    Ok(())
}

/// The steps of a sample, its outputs without gradients, where the planner merges whatever it can.
pub fn merged_steps(sample: &Sample) -> Vec<String> {
    let Recorded { graph, outputs, .. } = record(sample);
    let named: Vec<(&str, &Tensor)> = outputs.iter().map(|y| ("y", y)).collect();
    Plan::new(&graph, &named, Target::GPU).describe()
}

/// Compares the f64 gradients of a sample with central differences along a random direction of each input.
///
/// # Errors
/// Which input's gradient is off, and by how much.
pub async fn check_gradient(op: &str, sample: &Sample) -> Result<(), String> {
    if record(sample).loss.is_none() {
        return Ok(());
    }
    let device = Device::cpu64();
    let data: Vec<Data> =
        sample.inputs.iter().enumerate().map(|(i, (s, r))| generate(sample, i, s, *r)).collect();
    let values = run(sample, &data, &device).await.map_err(|e| format!("{op}, {}: {e}", sample.name))?.values;
    for (i, x) in data.iter().enumerate() {
        let Data::F32(x) = x else { continue };
        let mut rng = Rng::new(7, stream_id(&format!("direction {i} of {}", sample.name)));
        // Steps that f32 inputs hold exactly: ±2⁻¹⁰ of a whole number between −8 and 8.
        let direction: Vec<f32> = x.iter().map(|_| (rng.below(17) as f32 - 8.0) / 1024.0 / 8.0).collect();
        let mut losses = [0.0; 2];
        for (loss, sign) in losses.iter_mut().zip([1.0, -1.0]) {
            let mut moved = data.clone();
            moved[i] = Data::F32(x.iter().zip(&direction).map(|(x, d)| x + sign * d).collect());
            *loss = loss_of(sample, &moved, &device).await.map_err(|e| e.to_string())?;
        }
        // What was added is not what arrived, after rounding: measure it.
        let arrived =
            |s: f32| x.iter().zip(&direction).map(move |(&x, &d)| (x + s * d) as f64).collect::<Vec<_>>();
        let (plus, minus) = (arrived(1.0), arrived(-1.0));
        let (_, dx) =
            values.iter().find(|(n, _)| *n == format!("dx{i}")).expect("a gradient for each float input");
        let expected: f64 = dx.iter().zip(plus.iter().zip(&minus)).map(|(g, (p, m))| g * (p - m)).sum();
        let scale: f64 = dx
            .iter()
            .zip(plus.iter().zip(&minus))
            .map(|(g, (p, m))| (g * (p - m)).powi(2))
            .sum::<f64>()
            .sqrt();
        let error = (losses[0] - losses[1] - expected).abs();
        if error.is_nan() || error > 2e-4 * scale + 1e-9 {
            return Err(format!(
                "{op}, {}: dx{i} along a direction is {expected:e}, central differences say {:e}",
                sample.name,
                losses[0] - losses[1]
            ));
        }
    }
    Ok(())
}

/// Requires `|got − want| ≤ tolerance · (|want| + rms(want))` everywhere.
///
/// # Errors
/// The worst element.
pub fn compare(want: &[f64], got: &[f64], tolerance: f64) -> Result<(), String> {
    if want.len() != got.len() {
        return Err(format!("{} elements, expected {}", got.len(), want.len()));
    }
    match worst(want, got) {
        Some((i, error)) if error.is_nan() || error > tolerance => Err(format!(
            "element {i} is {:e}, expected {:e}: off by {error:.1e}, allowed {tolerance:.1e}",
            got[i], want[i],
        )),
        _ => Ok(()),
    }
}

/// The element that is off the most, and by how much of |want| + rms(want); `None` where there are no elements.
pub(crate) fn worst(want: &[f64], got: &[f64]) -> Option<(usize, f64)> {
    let rms = (want.iter().map(|w| w * w).sum::<f64>() / want.len().max(1) as f64).sqrt();
    let error = |i: usize| (got[i] - want[i]).abs() / (want[i].abs() + rms + 1e-30);
    (0..want.len()).map(|i| (i, error(i))).max_by(|a, b| a.1.total_cmp(&b.1))
}

fn generate(sample: &Sample, i: usize, shape: &Shape, range: Range) -> Data {
    let mut rng = Rng::new(42, stream_id(&format!("input {i} of {}", sample.name)));
    let mut float =
        |f: &mut dyn FnMut(&mut Rng) -> f32| Data::F32((0..shape.numel()).map(|_| f(&mut rng)).collect());
    match range {
        Range::Normal => float(&mut |r| r.normal()),
        Range::Positive => float(&mut |r| 0.1 + 1.9 * r.uniform()),
        Range::AwayFromZero => float(&mut |r| {
            let x = r.normal();
            x + 0.3f32.copysign(x)
        }),
        Range::Ids(n) => Data::U32((0..shape.numel()).map(|_| rng.below(n as u64) as u32).collect()),
    }
}

/// A sample's graph.
struct Recorded {
    graph: Graph,
    outputs: Vec<Tensor>,
    /// The weighted sum of the float outputs, for samples with gradients.
    loss: Option<Tensor>,
    /// The inputs that can have a gradient, with their numbers.
    floats: Vec<(usize, Tensor)>,
}

fn record(sample: &Sample) -> Recorded {
    let graph = Graph::new();
    let dtype = |r: Range| if matches!(r, Range::Ids(_)) { DType::U32 } else { DType::F32 };
    let inputs: Vec<Tensor> = (sample.inputs.iter().enumerate())
        .map(|(i, (shape, range))| graph.input(&format!("x{i}"), shape, dtype(*range)))
        .collect();
    let outputs = (sample.build)(&inputs);
    let float = |y: &&Tensor| y.dtype() == DType::F32;
    let loss = outputs.iter().filter(float).enumerate().map(|(k, y)| {
        let mut rng = Rng::new(1, stream_id(&format!("cotangent {k} of {}", sample.name)));
        let c = graph.data(y.shape(), (0..y.shape().numel()).map(|_| rng.normal()).collect::<Vec<f32>>());
        (y * c).sum_all()
    });
    let loss = loss.reduce(|a, b| a + b).filter(|_| sample.gradients);
    let floats = inputs.into_iter().enumerate().filter(|(_, x)| x.dtype() == DType::F32).collect();
    Recorded { graph, outputs, loss, floats }
}

async fn run(sample: &Sample, data: &[Data], device: &Device) -> Result<Outcome, Error> {
    let Recorded { graph, outputs, loss, floats } = record(sample);
    let mut named: Vec<(String, Tensor)> =
        outputs.into_iter().enumerate().map(|(k, y)| (format!("y{k}"), y)).collect();
    if let Some(loss) = loss {
        let wrt: Vec<&Tensor> = floats.iter().map(|(_, x)| x).collect();
        let grads = graph.grad(&loss, &wrt);
        named.extend(floats.iter().zip(grads).map(|((i, _), dx)| (format!("dx{i}"), dx)));
    }
    let mut program = compile(&graph, &named, device)?;
    feed(&mut program, sample, data);
    program.run();
    let mut outcome = Outcome { values: Vec::new(), bits: Vec::new() };
    for (name, y) in &named {
        let data = program.read(name).await?;
        let values = match (&data, y.dtype()) {
            (Data::U32(v), _) => v.iter().map(|&x| x as f64).collect(),
            (Data::F32(_), _) => program.read_f64(name).await?,
        };
        outcome.values.push((name.clone(), values));
        outcome.bits.push(match data {
            Data::U32(v) => v,
            Data::F32(v) => v.into_iter().map(f32::to_bits).collect(),
        });
    }
    Ok(outcome)
}

async fn loss_of(sample: &Sample, data: &[Data], device: &Device) -> Result<f64, Error> {
    let Recorded { graph, loss, .. } = record(sample);
    let loss = loss.expect("a sample with gradients has a loss");
    let mut program = compile(&graph, &[("loss".to_string(), loss)], device)?;
    feed(&mut program, sample, data);
    program.run();
    Ok(program.read_f64("loss").await?[0])
}

fn compile(graph: &Graph, named: &[(String, Tensor)], device: &Device) -> Result<crate::Program, Error> {
    let outputs: Vec<(&str, &Tensor)> = named.iter().map(|(n, y)| (n.as_str(), y)).collect();
    let plan = device.plan(graph, &outputs);
    // Operations that update in place get zeroed states of their own.
    let states: Vec<(String, State)> = plan
        .states
        .iter()
        .map(|p| Ok((p.name.clone(), device.state(&p.name, p.shape.numel(), p.dtype)?)))
        .collect::<Result<_, Error>>()?;
    let bound: Vec<(&str, &State)> = states.iter().map(|(n, s)| (n.as_str(), s)).collect();
    device.load(plan, &bound)
}

fn feed(program: &mut crate::Program, sample: &Sample, data: &[Data]) {
    for (i, x) in data.iter().enumerate() {
        let name = format!("x{i}");
        if program.has(&name) {
            program.write(&name, x);
        }
    }
    sample.scalars.iter().for_each(|&(name, bits)| program.set_u32(name, bits));
}
