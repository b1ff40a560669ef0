//! Which of several kernels for one piece of work a graphics device runs fastest, and which it runs wrongly.
//!
//! Where an operation knows several kernels for what it is asked, it takes the one that suited the devices it was written on
//! ([`GpuIo::choose`](crate::ops::GpuIo::choose)). [`Device::tune`] runs all of them, drops those that do not compile or whose
//! result is not the CPU's, times the others in turns, and remembers the fastest as the device's [`Choices`].

use std::cell::RefCell;
use std::rc::Rc;

use cloche_gpu::{Gpu, GpuError};
use web_time::Instant;

use crate::check::worst;
use crate::device::{Device, Engine};
use crate::dtype::DType;
use crate::error::Error;
use crate::graph::Data;
use crate::ops::Dispatch;
use crate::plan::{Plan, Step};
use crate::program::Program;
use crate::program::gpu::asked;
use crate::rng::{Rng, stream_id};

/// Twice what the harness allows, relative to |y| + the root mean square of y: the CPU rounds as well.
const TOLERANCE: f64 = 4e-5;

/// Beyond so many operations the CPU would take too long, and the plainest kernel, which is the last, stands for the truth.
const CPU_FLOPS: u64 = 4_000_000_000;

/// Operations of one sample: a product runs so often in a row that it has at least so many, up to [`MOST_RUNS`] times.
const SAMPLE_FLOPS: u64 = 200_000_000;
const MOST_RUNS: u64 = 16;

/// Rounds in which all kernels have their turn: at least the first, at most the second number, until so many seconds are over.
const ROUNDS: [usize; 2] = [3, 12];
const ROUNDS_SECONDS: f64 = 0.15;

/// Another kernel than the usual one must be faster by so much, because clocks and machines are not steady.
const WORTH: f64 = 0.97;

/// For pieces of work that several kernels can do, which of them a device runs: the [fingerprint](Dispatch::fingerprint) of each
/// piece, and the number of the kernel among those that can.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices(Vec<(u64, usize)>);

impl Choices {
    /// What [`numbers`](Self::numbers) gave once. A piece of work or a kernel that is not known, as another version's, counts for
    /// nothing.
    pub fn of(numbers: &[f64]) -> Choices {
        Choices(numbers.chunks_exact(2).map(|pair| (pair[0] as u64, pair[1] as usize)).collect())
    }

    /// Fingerprints and numbers of kernels in turns, to be kept.
    pub fn numbers(&self) -> Vec<f64> {
        self.0.iter().flat_map(|&(work, place)| [work as f64, place as f64]).collect()
    }

    /// How many pieces of work have another kernel than the usual one.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether all is as usual.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The usual kernel, or the one that was chosen in its place.
    pub(crate) fn pick(&self, usual: Dispatch, others: &dyn Fn() -> Vec<Dispatch>) -> Dispatch {
        if self.is_empty() {
            return usual;
        }
        let work = usual.fingerprint();
        let place = self.0.iter().find(|(known, _)| *known == work).map_or(0, |(_, place)| *place);
        if place == 0 {
            return usual;
        }
        let mut others = others();
        if place > others.len() { usual } else { others.swap_remove(place - 1) }
    }

    fn set(&mut self, work: u64, place: usize) {
        self.0.retain(|(known, _)| *known != work);
        if place > 0 {
            self.0.push((work, place));
        }
    }
}

/// What several kernels were asked to do, and how they did.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuned {
    /// The piece of work: the usual kernel, its extents and strides.
    pub work: String,
    /// All kernels that can do it, the usual one first.
    pub kernels: Vec<Candidate>,
    /// Which of them does it from now on.
    pub chosen: usize,
}

/// A kernel that was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its file, entry point and workgroups.
    pub kernel: String,
    /// Seconds of its best run, or why it was dropped.
    pub outcome: Result<f64, String>,
}

impl Tuned {
    /// How many times as fast the chosen kernel is as the usual one; 1 where that is the chosen one, or where it was dropped.
    pub fn gain(&self) -> f64 {
        match (&self.kernels[0].outcome, &self.kernels[self.chosen].outcome) {
            (Ok(usual), Ok(chosen)) => usual / chosen,
            _ => 1.0,
        }
    }

    /// The kernels that were dropped, each in a sentence.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let instead = &self.kernels[self.chosen].kernel;
        self.kernels.iter().filter_map(move |Candidate { kernel, outcome }| {
            let reason = outcome.as_ref().err()?;
            Some(format!("kernel {kernel} is not used here, {instead} is: {reason}"))
        })
    }
}

impl Device {
    /// The kernels that this device and its clones use from now on where there are several, in programs that are loaded from
    /// now on. Such as no longer exist are ignored.
    pub fn choose(&self, choices: Choices) {
        *self.choices.borrow_mut() = choices;
    }

    /// What was last given to [`choose`](Self::choose), with what [`tune`](Self::tune) has found since.
    pub fn choices(&self) -> Choices {
        self.choices.borrow().clone()
    }

    /// Measures all kernels that can do what the plans, which are this device's own, consist of, and chooses the fastest that
    /// are right. `progress` is told how many pieces of work are done, and of how many; where it says no, what has been found
    /// until then is all. On the CPU there is nothing to choose.
    ///
    /// # Cost
    /// Some 0.2 s for a piece of work, and what its kernels take to compile.
    ///
    /// # Errors
    /// A lost device, not enough memory, or a piece of work that none of its kernels does as it should.
    pub async fn tune(
        &self,
        plans: &[&Plan],
        mut progress: impl FnMut(usize, usize) -> bool,
    ) -> Result<Vec<Tuned>, Error> {
        let Engine::Gpu(gpu) = &self.engine else { return Ok(Vec::new()) };
        let mut questions: Vec<(Asked, &Step)> = Vec::new();
        for step in plans.iter().flat_map(|plan| &plan.steps) {
            for question in asked(gpu, step) {
                if !questions.iter().any(|(known, _)| known.fingerprint == question.fingerprint) {
                    questions.push((question, step));
                }
            }
        }
        let (total, mut found) = (questions.len(), Vec::new());
        for (done, (question, step)) in questions.into_iter().enumerate() {
            if !progress(done, total) {
                return Ok(found);
            }
            let fingerprint = question.fingerprint;
            let tuned = self.try_all(question, step).await?;
            self.choices.borrow_mut().set(fingerprint, tuned.chosen);
            found.push(tuned);
        }
        progress(total, total);
        Ok(found)
    }

    async fn try_all(
        &self,
        Asked { work, fingerprint, kernels }: Asked,
        step: &Step,
    ) -> Result<Tuned, Error> {
        let Engine::Gpu(gpu) = &self.engine else { unreachable!("only graphics devices are asked") };
        let runs = (SAMPLE_FLOPS / step.flops().max(1)).clamp(1, MOST_RUNS) as usize;
        let (inputs, count) = (numbers(step), Plan::of_step(step, 1).outputs.len());
        let mut truth = match step.flops() <= CPU_FLOPS {
            true => {
                Some(outputs(&mut Device::cpu().load(Plan::of_step(step, 1), &[])?, &inputs, count).await?)
            }
            false => None,
        };
        // 1. Is it right? From the last on, since where the CPU would take too long the last one says what is.
        let mut programs: Vec<Result<Program, String>> = Vec::new();
        for place in (0..kernels.len()).rev() {
            let only = Choices(vec![(fingerprint, place)]);
            let device = Device { choices: Rc::new(RefCell::new(only)), ..self.clone() };
            let mut program = device.load(Plan::of_step(step, runs), &[])?;
            programs.push(match outputs(&mut program, &inputs, count).await {
                Ok(found) => {
                    let wanted = truth.get_or_insert_with(|| found.clone());
                    let wrong = wanted.iter().zip(&found).find_map(|(want, got)| wrong_element(want, got));
                    wrong.map_or(Ok(program), |i| Err(format!("element {i} is not what it should be")))
                }
                Err(Error::Gpu(GpuError::Shader { text, .. } | GpuError::Validation { text, .. })) => {
                    Err(text)
                }
                Err(error) => return Err(error),
            });
        }
        programs.reverse();
        // 2. How long does it take?
        let best: Vec<f64> =
            race(gpu, &mut programs).await.iter().map(|seconds| seconds / runs as f64).collect();
        gpu.check().await?;
        // 3. The fastest, unless the usual one is nearly as fast.
        let fastest = (0..best.len()).min_by(|&i, &j| best[i].total_cmp(&best[j])).unwrap_or_default();
        let chosen = if best[fastest] < WORTH * best[0] { fastest } else { 0 };
        let outcome = |(program, best): (Result<Program, String>, f64)| program.map(|_| best);
        let outcomes = programs.into_iter().zip(best).map(outcome);
        let kernels: Vec<Candidate> = kernels
            .into_iter()
            .zip(outcomes)
            .map(|(kernel, outcome)| Candidate { kernel, outcome })
            .collect();
        if let Err(text) = &kernels[chosen].outcome {
            let text = format!("no kernel does this as it should here: {text}");
            return Err(GpuError::Shader { label: work, text }.into());
        }
        Ok(Tuned { work, kernels, chosen })
    }
}

/// Seconds of each program's best run, infinite where there is none. In turns, so that all meet the same load.
async fn race(gpu: &Gpu, programs: &mut [Result<Program, String>]) -> Vec<f64> {
    let mut best = vec![f64::INFINITY; programs.len()];
    let began = Instant::now();
    for round in 0..ROUNDS[1] {
        if round >= ROUNDS[0] && began.elapsed().as_secs_f64() > ROUNDS_SECONDS {
            break;
        }
        for (best, program) in best.iter_mut().zip(&mut *programs) {
            let Ok(program) = program else { continue };
            let start = Instant::now();
            program.run();
            gpu.wait().await;
            *best = best.min(start.elapsed().as_secs_f64());
        }
    }
    best
}

/// A piece of work that several kernels can do.
pub(crate) struct Asked {
    pub work: String,
    pub fingerprint: u64,
    pub kernels: Vec<String>,
}

/// The element that differs the most, where that is more than what rounding explains. Nothing here says by how much: a module that
/// can be downloaded writes no fractions.
fn wrong_element(want: &[f64], got: &[f64]) -> Option<usize> {
    worst(want, got).filter(|(_, error)| error.is_nan() || *error > TOLERANCE).map(|(i, _)| i)
}

/// Numbers for the inputs of a step: normal ones, the same each time, and zeros where ids are wanted.
fn numbers(step: &Step) -> Vec<(String, Data)> {
    let plan = Plan::of_step(step, 1);
    let mut rng = Rng::new(0, stream_id("tune"));
    let mut data = |numel: usize, dtype| match dtype {
        DType::F32 => Data::F32((0..numel).map(|_| rng.normal()).collect()),
        DType::U32 => Data::U32(vec![0; numel]),
    };
    plan.inputs.iter().map(|port| (port.name.clone(), data(port.shape.numel(), port.dtype))).collect()
}

/// Runs once; every output.
async fn outputs(
    program: &mut Program,
    inputs: &[(String, Data)],
    count: usize,
) -> Result<Vec<Vec<f64>>, Error> {
    inputs.iter().for_each(|(name, data)| program.write(name, data));
    program.run();
    let mut all = Vec::new();
    for k in 0..count {
        all.push(program.read_f64(&k.to_string()).await?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::Vjp;
    use crate::check::compare;
    use crate::cpu::{CpuIo, Real};
    use crate::cpu_kernel;
    use crate::graph::Graph;
    use crate::ops::{Bind, GpuIo, Op, Shader, test_devices};
    use crate::tensor::Tensor;
    use cloche_gpu::{AdapterClass, OpenOptions};

    fn graphics_devices() -> impl Iterator<Item = Device> {
        test_devices().into_iter().filter(|device| device.gpu().is_some())
    }

    fn open(class: AdapterClass) -> Device {
        let options = OpenOptions { allow_software: true, class: Some(class), ..Default::default() };
        Device::from_gpu(pollster::block_on(Gpu::open(options)).unwrap())
    }

    /// y = 2x by three kernels: one that is no WGSL, one that is wrong, and one that is right.
    struct Twice;

    const fn kernel(source: &'static str) -> Shader {
        Shader { stem: "twice", source }
    }

    const NO_WGSL: Shader = kernel("fn twice(");
    const WRONG: Shader = kernel(
        "@group(0) @binding(1) var<storage, read> x: array<f32>;
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(1) fn main(@builtin(workgroup_id) w: vec3<u32>) { y[w.x] = 3.0 * x[w.x]; }",
    );
    const RIGHT: Shader = kernel(
        "@group(0) @binding(1) var<storage, read> x: array<f32>;
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(1) fn main(@builtin(workgroup_id) w: vec3<u32>) { y[w.x] = 2.0 * x[w.x]; }",
    );

    impl Op for Twice {
        fn name(&self) -> &'static str {
            "twice"
        }
        fn grad(&self, _: &Vjp) -> Vec<Option<Tensor>> {
            vec![None]
        }
        cpu_kernel!(run);
        fn gpu(&self, io: &GpuIo) -> Vec<Dispatch> {
            let n = io.outputs[0].layout.numel();
            let by = |shader| Dispatch {
                shader,
                entry: "main",
                constants: Vec::new(),
                bindings: vec![Bind::Input(0), Bind::Output(0)],
                workgroups: n as u64,
            };
            vec![io.choose(by(NO_WGSL), &|| vec![by(WRONG), by(RIGHT)])]
        }
    }

    impl Twice {
        fn run<F: Real>(&self, mut io: CpuIo<F>) {
            let x = io.x(0);
            io.take(0).iter_mut().zip(x).for_each(|(y, &x)| *y = x + x);
        }
    }

    fn twice(graph: &Graph) -> Tensor {
        let x = graph.input("x", (100,), DType::F32);
        graph.record(Twice, &[&x], &[(x.shape().clone(), DType::F32)]).remove(0)
    }

    #[test]
    fn what_does_not_compile_or_is_wrong_is_dropped_and_the_next_is_used() {
        for device in graphics_devices() {
            let graph = Graph::new();
            let y = twice(&graph);
            let plan = device.plan(&graph, &[("y", &y)]);
            let mut told = Vec::new();
            let found = pollster::block_on(device.tune(&[&plan, &plan], |done, of| {
                told.push((done, of));
                true
            }))
            .unwrap();
            assert_eq!((told, found.len()), (vec![(0, 1), (1, 1)], 1), "the same work is measured once");
            let (tuned, warnings) = (&found[0], found[0].warnings().collect::<Vec<_>>());
            assert_eq!((tuned.chosen, tuned.gain(), warnings.len()), (2, 1.0, 2));
            assert!(
                warnings[0].starts_with("kernel twice.main in 100 workgroups is not used here"),
                "{warnings:?}"
            );
            assert!(warnings[1].ends_with("is not what it should be"), "{warnings:?}");
            // Programs from now on use what is right, on every handle of the device.
            let mut program = device.clone().load(plan, &[]).unwrap();
            program.write("x", &[1.5f32; 100][..]);
            program.run();
            assert_eq!(pollster::block_on(program.read("y")).unwrap().f32(), [3.0; 100]);
            assert_eq!(Choices::of(&device.choices().numbers()), device.choices());
            // And without, on a device that has not seen it yet: an error that names the kernel.
            let fresh = device.gpu().map(|gpu| gpu.info().class).map(open).expect("a graphics device");
            let mut program = fresh.compile(&graph, &[("y", &y)], &[]).unwrap();
            program.run();
            let error = pollster::block_on(program.read("y")).err().unwrap().to_string();
            assert!(error.starts_with("kernel \"twice.main\""), "{error}");
        }
    }

    #[test]
    fn every_kernel_of_a_product_is_right_and_a_tuned_device_agrees_with_the_cpu() {
        for device in graphics_devices() {
            for (m, k, n) in [(64, 96, 72), (130, 40, 132), (1, 512, 520), (33, 17, 65)] {
                let graph = Graph::new();
                let a = graph.input("a", (m, k), DType::F32);
                let (b, c) = (graph.input("b", (k, n), DType::F32), graph.input("c", (n, k), DType::F32));
                let y = (a.matmul(&b) + 1.0).relu();
                let z = a.matmul(&c.t());
                let plan = device.plan(&graph, &[("y", &y), ("z", &z)]);
                let found = pollster::block_on(device.tune(&[&plan], |_, _| true)).unwrap();
                assert_eq!(found.iter().map(|tuned| tuned.kernels.len() > 1).collect::<Vec<_>>(), [true; 2]);
                let warnings: Vec<String> = found.iter().flat_map(Tuned::warnings).collect();
                assert!(warnings.is_empty(), "{m}x{k}x{n}: {warnings:?}");
                let values = |device: &Device| {
                    let mut program = device.compile(&graph, &[("y", &y), ("z", &z)], &[]).unwrap();
                    let mut rng = Rng::new(1, 0);
                    for (name, numel) in [("a", m * k), ("b", k * n), ("c", n * k)] {
                        program.write(name, &(0..numel).map(|_| rng.normal()).collect::<Vec<f32>>());
                    }
                    program.run();
                    ["y", "z"].map(|name| pollster::block_on(program.read_f64(name)).unwrap())
                };
                for (want, got) in values(&Device::cpu()).iter().zip(values(&device)) {
                    compare(want, &got, TOLERANCE).unwrap();
                }
            }
        }
    }

    #[test]
    fn choices_of_another_version_are_ignored() {
        for device in graphics_devices() {
            let graph = Graph::new();
            let y = twice(&graph);
            let plan = device.plan(&graph, &[("y", &y)]);
            let work = asked(device.gpu().unwrap(), &plan.steps[0]).remove(0).fingerprint;
            device.choose(Choices(vec![(work, 7)]));
            // There is no seventh kernel, so it is the usual one, which is no WGSL.
            let mut program = device.compile(&graph, &[("y", &y)], &[]).unwrap();
            program.run();
            assert!(pollster::block_on(program.read("y")).is_err());
        }
        assert!(Device::cpu().choices().is_empty());
    }
}
